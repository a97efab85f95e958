"""Description of an archive as an RO-Crate: ``ro-crate-metadata.json``.

It follows RO-Crate 1.1, Workflow RO-Crate 1.0 and Workflow Run Crate 0.5. Nothing in it depends
on the time of archiving. Names of people are unknown: the author is the project.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from experiments.layout import CONFIG, CONTACT, FIGURES, ORIGIN, PAPER, RECORDS, REPORT, RUNS
from experiments.origin import calls, datasets
from experiments.origin.repository import release
from experiments.plan import versions
from experiments.plan.looks import LOOKS

if TYPE_CHECKING:
    from experiments.plan.study import Study

METADATA, README, LICENCE, WORKFLOW = "ro-crate-metadata.json", "README.md", "LICENSE", "workflow"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
"""Profiles that the description follows: address -> name and version."""
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
MIT = "https://spdx.org/licenses/MIT"
SNAKEMAKE = "https://snakemake.github.io"
PROJECT, ACTION, SNAKEFILE = "#dicebench", "#study", f"{WORKFLOW}/Snakefile"
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".npz": "application/zip",
}
"""Suffix of a file -> its media type; ``text/plain`` for others."""
PARTS = {
    README: "how to read and repeat the study",
    LICENCE: "licence of the source code",
    CONFIG: "configuration of the study",
    RUNS: "counts of each run, test image, class and threshold",
    RECORDS: "records of all runs",
    REPORT: "report with verdicts, figures, tables and provenance",
    "runs/": "record, counts and pictures of each run",
    f"{LOOKS}/": "decisions of the looks: verdicts, and runs that got more seeds",
    f"{FIGURES}/": "figures as SVG, PDF and PNG, with captions",
    f"{CONTACT}/": "contact sheets of the stressed images",
    f"{ORIGIN}/": "calls, uncommitted code, packages, custom losses and sources of the datasets",
    f"{PAPER}/": "figures, tables and captions for a manuscript",
    f"{WORKFLOW}/": "source code of the workflow",
    SNAKEFILE: "the workflow; run it with snakemake",
}
"""File or folder (with a slash) of an archive -> its description."""


def describe(study: Study, names: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """Return the description of an archive as text.

    names: the files of the archive. records: those of the study's runs.
    """
    written = sorted(record["written"] for record in records)
    history = calls.read(study)
    tops = {name.partition("/")[0] + "/" * ("/" in name) for name in names}
    parts = sorted(tops | {SNAKEFILE})
    sources = datasets.read(study)
    graph = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": _to("./"),
            "conformsTo": _to(SPECIFICATION, WORKFLOW_CRATE),
        },
        _root(study, parts, sources, written[-1]),
        *(_part(name) for name in parts if name != SNAKEFILE),
        _workflow(study, history),
        _action(study, [name for name in parts if name in (RUNS, REPORT)], history, written),
        *_software(study, history),
        *(_source(name, entry) for name, entry in sources.items()),
        *_context(),
    ]
    crate = {"@context": f"{SPECIFICATION}/context", "@graph": graph}
    return json.dumps(crate, indent=1) + "\n"


def _to(*ids: str) -> Any:
    """Return a reference to one entity, or a list of references.

    >>> _to("./"), _to("a", "b")
    ({'@id': './'}, [{'@id': 'a'}, {'@id': 'b'}])
    """
    references = [{"@id": quote(i, safe=":/#@%~+")} for i in ids]
    return references[0] if len(references) == 1 else references


def _root(study: Study, parts: Sequence[str], sources: Mapping, written: str) -> dict[str, Any]:
    pictures = [
        f"{name}: {entry['licence']}" for name, entry in sources.items() if "licence" in entry
    ]
    also = f" Pictures show images of datasets with other licences ({'; '.join(pictures)})."
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"dicebench study {study.name}",
        "description": (
            f"Comparison of the segmentation losses {', '.join(study.losses)} in the experiments "
            f"{', '.join(study.experiments)} on {', '.join(study.datasets)}: "
            f"{len(study.runs)} trained models.{also if pictures else ''}"
        ),
        "datePublished": written,
        "license": _to(MIT),
        "author": _to(PROJECT),
        "publisher": _to(PROJECT),
        "conformsTo": _to(*PROFILES),
        "mainEntity": _to(SNAKEFILE),
        "mentions": _to(ACTION),
        "hasPart": _to(*parts),
        "isBasedOn": _to(*map(_dataset_id, sources)),
    }


def _part(name: str) -> dict[str, Any]:
    entity = {**_to(name), "@type": "Dataset" if name.endswith("/") else "File", "name": name}
    if name in PARTS:
        entity["description"] = PARTS[name]
    if entity["@type"] == "File":
        entity["encodingFormat"] = MEDIA_TYPES.get(PurePosixPath(name).suffix, "text/plain")
    return entity | ({"about": _to("./")} if name == README else {})


def _workflow(study: Study, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = history[-1] if history else {}
    changed = "" if last.get("clean") else " with changes, see origin/"
    return {
        "@id": SNAKEFILE,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "dicebench",
        "description": PARTS[SNAKEFILE],
        "url": _to(f"{WORKFLOW}/"),
        "encodingFormat": "text/plain",
        "version": f"{last['commit']}{changed}" if last.get("commit") else release() or "unknown",
        "license": _to(MIT),
        "programmingLanguage": _to(SNAKEMAKE),
        "conformsTo": _to(BIOSCHEMAS),
        "softwareRequirements": _to(*_packages(study, history).values()),
    }


def _action(
    study: Study, results: Sequence[str], history: Sequence[Mapping[str, Any]], written: list[str]
) -> dict[str, Any]:
    commands = dict.fromkeys(call["command"] for call in history)
    machines = dict.fromkeys(call["machine"].get("cpu") for call in history)
    return {
        "@id": ACTION,
        "@type": "CreateAction",
        "name": f"Computation of the study {study.name}",
        "description": f"Commands: {'; '.join(commands)}. CPU: {', '.join(map(str, machines))}.",
        "instrument": _to(SNAKEFILE),
        "agent": _to(PROJECT),
        "startTime": min([written[0], *(call["time"] for call in history)]),
        "endTime": written[-1],
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "object": _to(CONFIG),
        "result": _to(*results),
    }


def _packages(study: Study, history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the packages that numbers depend on -> their package URL."""
    stored = calls.stored_packages(study, history[-1]) if history else {}
    return {
        name: f"pkg:pypi/{name}@{version.partition(' ')[0]}"
        for name, version in stored.items()
        if name in ("snakemake", *versions.PACKAGES)
    }


def _software(study: Study, history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    packages = _packages(study, history)
    return [
        {
            "@id": url,
            "@type": "SoftwareApplication",
            "name": name,
            "url": _to(url),
            "softwareVersion": url.rpartition("@")[2],
        }
        for name, url in packages.items()
    ]


def _source(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a dataset that the study's images are made from."""
    taken = {
        "name": entry.get("title", name),
        "url": entry.get("homepage"),
        "license": entry.get("licence"),
        "citation": entry.get("citation"),
        "identifier": f"sha256:{entry['hashed']['sha256']}" if entry.get("hashed") else None,
    }
    entity = {key: value for key, value in taken.items() if value}
    return {**_to(_dataset_id(name)), "@type": "CreativeWork", **entity}


def _dataset_id(name: str) -> str:
    return f"#dataset-{name}"


def _context() -> list[dict[str, Any]]:
    """Return the entities that others refer to and that are the same for every study."""
    return [
        {"@id": address, "@type": "CreativeWork", "name": name, "version": version}
        for address, (name, version) in PROFILES.items()
    ] + [
        {
            "@id": PROJECT,
            "@type": "Organization",
            "name": "the dicebench authors",
            "url": _to(PROJECT),
        },
        {
            "@id": SNAKEMAKE,
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "identifier": _to(SNAKEMAKE),
            "url": _to(SNAKEMAKE),
        },
        {"@id": MIT, "@type": "CreativeWork", "name": "MIT License", "identifier": _to(MIT)},
    ]
