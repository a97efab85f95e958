"""Records of runs: a run's folder, written whole and checked when read. Loads no torch.

A run's folder holds ``counts.csv`` (pixel and object counts per test image, class and threshold),
``probabilities.png`` (of EXAMPLES test images, 8 bit), the files that `keep` names, and, written
last, ``run.json``: status, configuration, provenance, the hashes of all other files, and its own
hash. Scores are not stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.files import file_sha256, sha256, write_whole
from experiments.layout import COUNTS_FILE, EXAMPLES_FILE, PREDICTIONS, RECORD, WEIGHTS

FORMAT = 5
"""Version of the records; a record of another version is not valid."""
BAND = 2.0
"""Half width in pixels of the band around the true boundary in which `band_*` count."""
TOLERANCE = 1.0
"""Distance in pixels up to which a surface pixel is `near` the other surface."""
SIZE_BINS = {"small": (0, 32), "medium": (32, 128), "large": (128, float("inf"))}
"""True objects by area in pixels: from, to below."""
EXAMPLES = 4
"""Number of test images, the first ones, with probabilities stored as a picture."""
HIT = 0.5
"""A true object is hit if at least this share of its pixels is predicted foreground."""

COUNTS = {
    "image": "stem of the test image",
    "class": "class counted as foreground in this row; all other pixels are background",
    "threshold": "0.5 (of several classes that cannot overlap: the most probable one), or tuned: "
    "chosen for each class alone on the validation images",
    "tp": "pixels: true foreground, predicted foreground",
    "fp": "pixels: true background, predicted foreground",
    "fn": "pixels: true foreground, predicted background",
    "tn": "pixels: true background, predicted background",
    **{
        f"band_{c}": f"{c} within {BAND:g} px of the true boundary"
        for c in ("tp", "fp", "fn", "tn")
    },
    **{
        f"{name}_{size}": f"{text} of {low} to below {high} px"
        for size, (low, high) in SIZE_BINS.items()
        for name, text in (
            ("objects", "true objects"),
            ("hits", f"true objects at least {HIT:.0%} predicted,"),
        )
    },
    "predicted_objects": "predicted objects",
    "false_objects": "predicted objects that touch no true object",
    **{
        f"surface_{side}{near}": f"pixels on the {side} surface{text}"
        for side in ("true", "predicted")
        for near, text in (("", ""), ("_near", f" within {TOLERANCE:g} px of the other surface"))
    },
    "inner_both": f"pixels inside and within {BAND:g} px of the surface, of both masks",
    "inner_either": f"pixels inside and within {BAND:g} px of the surface, of either mask",
}
"""Columns of ``counts.csv`` that are names or counts, and their meaning."""

DISTANCES = {
    "hd95": "px; 95th percentile of the distances between the surfaces, the greater of both "
    "directions; empty if either mask is empty",
    "squared_error": "sum over pixels of (probability - truth)^2, at any threshold",
}
"""Columns of ``counts.csv`` that are not counts."""


class RecordError(ValueError):
    """A record or table that is missing, damaged or of another configuration."""


def encode_counts(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows of counts as the bytes of ``counts.csv``."""
    return pd.DataFrame(rows, columns=[*COUNTS, *DISTANCES]).to_csv(index=False).encode()


def write_record(
    folder: str | Path,
    record: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
    kept: Mapping[str, str] | None = None,
) -> None:
    """Write a run's files and, last, ``run.json``; remove the other files of an earlier record.

    kept: files of the earlier record that stay, with their hashes.
    """
    folder, files = Path(folder), files or {}
    for name, data in files.items():
        write_whole(folder / name, data)
    hashes = {**(kept or {}), **{name: sha256(data) for name, data in files.items()}}
    record = {"format": FORMAT, **record, "files": hashes}
    write_whole(folder / RECORD, _text(record | {"sha256": sha256(_text(record))}))
    for name in {COUNTS_FILE, EXAMPLES_FILE, PREDICTIONS, WEIGHTS} - hashes.keys():
        (folder / name).unlink(missing_ok=True)


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def read_record(folder: str | Path, *, files: bool = True) -> dict[str, Any]:
    """Return a run's record after a check of its own hash.

    files: also check the hashes of all files. RecordError names the missing or damaged file.
    """
    folder = Path(folder)
    path = folder / RECORD
    try:
        record = json.loads(path.read_text())
        digest, version = record.pop("sha256", None), record["format"]
    except FileNotFoundError:
        raise RecordError(f"{folder}: no {RECORD}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"{path}: damaged: {error}") from None
    if version != FORMAT:
        raise RecordError(f"{path}: format {version}, expected {FORMAT}")
    if digest != sha256(_text(record)):
        raise RecordError(f"{path}: changed since it was written")
    for name in damaged(folder, record) if files else ():
        raise RecordError(f"{folder / name}: missing, or changed since {RECORD} was written")
    return record


def damaged(folder: Path, record: Mapping[str, Any]) -> set[str]:
    """Return the names of a record's files that are missing or have another hash."""
    return {
        name
        for name, expected in record["files"].items()
        if not (folder / name).is_file() or file_sha256(folder / name) != expected
    }
