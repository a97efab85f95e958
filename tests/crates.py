"""The RO-Crate validator without a network."""

import io
import json

import pytest
import requests
from urllib3 import HTTPResponse

ADDRESS = "https://w3id.org/ro/crate/1.1/context"
SCHEMA = (
    "ComputerLanguage CreateAction CreativeWork Dataset Organization SoftwareApplication "
    "SoftwareSourceCode about actionStatus agent author citation datePublished description "
    "encodingFormat endTime hasPart identifier instrument isBasedOn license mainEntity mentions "
    "name object programmingLanguage publisher result softwareRequirements softwareVersion "
    "startTime url version"
)
OTHERS = {
    "File": "http://schema.org/MediaObject",
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
}
CONTEXT = {name: f"http://schema.org/{name}" for name in SCHEMA.split()} | OTHERS
"""The terms of RO-Crate 1.1 that an archive uses; a term that is not here is an issue."""


def problems(archive, profile, severity, monkeypatch):
    """Issues of an archive: (severity, message) of each. Any request but for the context fails."""
    services = pytest.importorskip("rocrate_validator.services")
    from rocrate_validator.models import Severity, ValidationSettings

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
    settings = ValidationSettings(
        rocrate_uri=str(archive),
        profile_identifier=profile,
        requirement_severity=Severity[severity],
        no_cache=True,
    )
    issues = services.validate(settings).get_issues()
    return [(issue.severity.name, issue.message) for issue in issues]


def answer(adapter, request, **options):
    """The response to a request for the context."""
    if request.url != ADDRESS:
        raise requests.ConnectionError(f"the test has no network: {request.url}")
    response = requests.Response()
    response.status_code, response.request, response.url = 200, request, request.url
    response.headers["Content-Type"] = "application/ld+json"
    data = json.dumps({"@context": CONTEXT}).encode()
    response._content = data
    response.raw = HTTPResponse(io.BytesIO(data), preload_content=False, status=200)
    return response
