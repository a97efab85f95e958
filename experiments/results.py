"""Records of runs and the study's table: columns, write, read, check.

A run's folder holds ``counts.csv`` (pixel and object counts per test image and threshold),
``probabilities.png`` (of EXAMPLES test images, 8 bit) and, written last, ``run.json``: status,
configuration, provenance, and the hashes of the other two. Scores are not stored.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.files import write_whole
from experiments.plan import stress_name

FORMAT = 3
BAND = 2.0
"""Half width in pixels of the band round the true boundary in which `band_*` count."""
TOLERANCE = 1.0
"""Pixels by which a surface pixel may miss the other surface and still be `near` it."""
SIZE_BINS = {"small": (0, 32), "medium": (32, 128), "large": (128, float("inf"))}
"""True objects by area in pixels: from, below."""
EXAMPLES = 4
"""Test images, the first ones, whose probabilities are kept."""
HIT = 0.5
"""A true object is hit when at least this share of its pixels is predicted foreground."""

COUNTS = {
    "image": "stem of the test image",
    "class": "whose pixels are foreground in this row; of several, all others are background",
    "threshold": "0.5 (of several classes: the most probable one), or tuned: chosen for each class "
    "by itself on the validation images",
    "tp": "pixels: true foreground, predicted foreground",
    "fp": "pixels: true background, predicted foreground",
    "fn": "pixels: true foreground, predicted background",
    "tn": "pixels: true background, predicted background",
    **{
        f"band_{c}": f"{c} within {BAND:g} px of the true boundary"
        for c in ("tp", "fp", "fn", "tn")
    },
    **{
        f"{what}_{size}": f"{text} of {low} to below {high} px"
        for size, (low, high) in SIZE_BINS.items()
        for what, text in (
            ("objects", "true objects"),
            ("hits", f"true objects at least {HIT:.0%} found,"),
        )
    },
    "predicted_objects": "predicted objects",
    "false_objects": "predicted objects that touch no true one",
    **{
        f"surface_{side}{near}": f"pixels on the {side} surface{text}"
        for side in ("true", "predicted")
        for near, text in (("", ""), ("_near", f" within {TOLERANCE:g} px of the other surface"))
    },
    "inner_both": f"pixels inside and within {BAND:g} px of the surface, of both masks",
    "inner_either": f"pixels inside and within {BAND:g} px of the surface, of either mask",
}
"""Columns of ``counts.csv`` that are counts, and what they mean."""

DISTANCES = {
    "hd95": "px; 95th percentile of the distances between the surfaces, the greater of both ways; "
    "empty where either mask is empty",
    "squared_error": "sum over pixels of (probability - truth)^2, whatever the threshold",
}
"""Columns of ``counts.csv`` that are not counts."""

COLUMNS = {
    "dataset": "dataset of the study",
    "stress": "stress of the dataset: knob-value pairs, or none",
    "loss": "loss as the configuration names it",
    "learning_rate": "of Adam",
    "seed": "seed of images, label noise, weights and order",
    "status": "ok; diverged (loss or gradient not finite); failed (reason in run.json)",
    "threshold_value": "the threshold that the row's counts were taken at; empty for the most "
    "probable of several classes",
    "val_dice": "pooled Dice score of the class on the validation images at that threshold",
    **COUNTS,
    **DISTANCES,
}
"""Columns of ``runs.csv``: one row per run, test image, class and threshold; a run without counts
(diverged, failed) is one row with its status and empty counts."""

NAMED = dict.fromkeys(("image", "class", "threshold"), str)
"""Columns that tell the rows of a run apart, and their kind."""
NUMERIC = [c for c in COUNTS if c not in NAMED]


def most_probable(prob):
    """Whether a class is its pixel's most probable, background among them: (N, K, H, W) booleans.

    prob: (N, K, H, W). With one class: p > 0.5.
    """
    background = 1 - prob.sum(1, keepdims=True)
    best = np.concatenate([background, prob], axis=1).argmax(1)
    return np.stack([best == k for k in range(1, prob.shape[1] + 1)], axis=1)


class RecordError(ValueError):
    """A record or table that is not what it says."""


def sha256(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def write_record(folder, record, counts=None, probabilities=None):
    """Write a run: `counts` as rows of COUNTS, `probabilities` as PNG bytes; run.json last."""
    folder = Path(folder)
    files = {}
    if counts is not None:
        files["counts.csv"] = (
            pd.DataFrame(counts, columns=[*COUNTS, *DISTANCES]).to_csv(index=False).encode()
        )
        files["probabilities.png"] = probabilities
    for name, data in files.items():
        write_whole(folder / name, data)
    record = {"format": FORMAT, **record, "files": {n: sha256(d) for n, d in files.items()}}
    write_whole(folder / "run.json", json.dumps(record, indent=1, sort_keys=True) + "\n")


def read_record(folder, *, files=True):
    """A run's record, checked to be whole; RecordError says what is amiss."""
    folder = Path(folder)
    try:
        record = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        raise RecordError(f"{folder}: no run.json") from None
    except json.JSONDecodeError as error:
        raise RecordError(f"{folder}/run.json: not JSON: {error}") from None
    if record.get("format") != FORMAT:
        raise RecordError(f"{folder}/run.json: format {record.get('format')}, expected {FORMAT}")
    for name, digest in (record["files"] if files else {}).items():
        path = folder / name
        if not path.exists() or sha256(path.read_bytes()) != digest:
            raise RecordError(f"{path}: missing, or not the file that run.json was written with")
    return record


def collect(study):
    """The study's table and the runs' records, in the order of the plan.

    A run whose record is missing, broken or of another configuration raises RecordError.
    """
    rows, records = [], []
    for run in study.runs:
        folder = Path(study.folder, run.path)
        record = read_record(folder)
        if record["fingerprint"] != run.fingerprint:
            raise RecordError(f"{folder}: the record is of another configuration")
        records.append(record)
        key = {
            "dataset": run.dataset,
            "stress": stress_name(run.stress),
            "loss": run.loss,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "status": record["status"],
        }
        if record["status"] == "ok":
            counts = pd.read_csv(folder / "counts.csv", dtype=NAMED)
            tuned, scores = record["threshold"], record["val_dice"]
            at_half = 0.5 if len(tuned) == 1 else np.nan
            at = list(zip(counts["class"], counts["threshold"], strict=True))
            rows.append(
                counts.assign(
                    **key,
                    threshold_value=[tuned[c] if t == "tuned" else at_half for c, t in at],
                    val_dice=[scores[c][t] for c, t in at],
                )
            )
        else:
            rows.append(pd.DataFrame([key]))
    table = pd.concat(rows, ignore_index=True).reindex(columns=list(COLUMNS))
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return check_table(table, "collected table"), records


def check_table(table, name):
    """The table itself, if its columns, statuses and counts hold; RecordError otherwise."""
    if list(table.columns) != list(COLUMNS):
        wrong = sorted(set(table.columns) ^ set(COLUMNS)) or "their order"
        raise RecordError(f"{name}: the columns differ from the documented ones: {wrong}")
    unknown = set(table["status"]) - {"ok", "diverged", "failed"}
    if unknown:
        raise RecordError(f"{name}: unknown status {sorted(unknown)}")
    ok = table[table["status"] == "ok"]
    if ok[NUMERIC].isna().any(axis=None) or (ok[NUMERIC] < 0).any(axis=None):
        raise RecordError(f"{name}: a count is missing or negative in a run that is ok")
    if not set(ok["threshold"]) <= {"0.5", "tuned"}:
        raise RecordError(f"{name}: unknown threshold {sorted(set(ok['threshold']))}")
    key = ["dataset", "stress", "loss", "learning_rate", "seed", *NAMED]
    if table.duplicated(key).any():
        raise RecordError(f"{name}: a run's image stands there twice")
    if ok["squared_error"].isna().any() or (ok["hd95"] < 0).any():
        raise RecordError(f"{name}: a distance or an error is missing or negative")
    for size in SIZE_BINS:
        if (ok[f"hits_{size}"] > ok[f"objects_{size}"]).any():
            raise RecordError(f"{name}: more {size} objects hit than there are")
    return table


def read_table(path):
    """``runs.csv``, checked."""
    kinds = {**NAMED, **dict.fromkeys(NUMERIC, "Int64")}
    return check_table(pd.read_csv(path, dtype=kinds), str(path))


def describe(run):
    """A run's configuration as its record holds it."""
    spec = asdict(run)
    spec["stress"] = dict(run.stress)
    spec["loss_spec"] = json.loads(run.loss_spec)
    spec["training"]["model_options"] = json.loads(run.training.model_options)
    return spec
