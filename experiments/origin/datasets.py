"""Sources of a study's datasets: ``origin/datasets.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import ConfigError
from experiments.files import file_sha256, sha256, write_whole
from experiments.layout import DESCRIPTION, SOURCES_FILE

if TYPE_CHECKING:
    from experiments.plan.dataset import Dataset
    from experiments.plan.study import Study

DESCRIBED = (
    "title",
    "homepage",
    "licence",
    "citation",
    "notes",
    "masks",
    "classes",
    "files",
    "content",
)
"""Entries of a dataset's description that are copied."""


def write(study: Study) -> None:
    """Write source, licence, addresses, checksums and content hash of each dataset."""
    entries = {name: describe(study, dataset) for name, dataset in study.datasets.items()}
    write_whole(study.file(SOURCES_FILE), json.dumps(entries, indent=1) + "\n")


def read(study: Study) -> dict[str, dict[str, Any]]:
    """Return the entries of `write`; ConfigError if the file is missing or damaged."""
    path = study.file(SOURCES_FILE)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; run: snakemake --cores N") from None


def describe(study: Study, dataset: Dataset) -> dict[str, Any]:
    """Return the source of a dataset.

    hashed: number, bytes and SHA-256 of the files that stressed images are made from. The hash is
    that of the text ``DIGEST  FILE`` of each file, sorted by name (``sha256sum``).
    """
    if dataset.controlled:
        return {"source": dataset.source, "title": "images that dicebench generates"}
    folder = Path(dataset.folder)
    about = _description(folder / DESCRIPTION)
    return {
        "source": dataset.source,
        "folder": dataset.folder,
        "fetched": dataset.fetched,
        **{key: about[key] for key in DESCRIBED if about.get(key)},
        "hashed": _hashed(folder, dataset.input_files(study.observers(dataset.name))),
    }


def _description(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _hashed(folder: Path, paths: list[Path]) -> dict[str, Any] | None:
    if not paths:
        return None
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    lines = []
    for name, path in sorted(names.items()):
        lines.append(f"{file_sha256(path)}  {name}\n")
    return {
        "files": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "sha256": sha256(os.fsencode("".join(lines))),
    }
