"""The study's table ``runs.csv``: columns, collect, check, read. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.layout import COUNTS_FILE
from experiments.runs.records import COUNTS, DISTANCES, SIZE_BINS, RecordError
from experiments.runs.validity import State, Validity, validity

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

COLUMNS = {
    "dataset": "dataset of the study",
    "stress": "stress of the dataset: knob-value pairs, or none",
    "loss": "name of the loss in the configuration",
    "learning_rate": "learning rate of the optimizer",
    "seed": "seed of images, label noise, weights and order",
    "status": "ok; diverged (loss or weights not finite); failed (reason in run.json)",
    "threshold_value": "threshold of the row's counts; empty for the most probable of several "
    "classes that cannot overlap",
    "val_dice": "pooled Dice score of the class on the validation images at that threshold",
    **COUNTS,
    **DISTANCES,
}
"""Columns of ``runs.csv`` without axes: one row per run, test image, class and threshold.

A run without counts (diverged, failed) is one row with its status and empty counts. The axes of a
study come after `learning_rate`: text columns with the labels of the run's setting."""

NAMED = ("image", "class", "threshold")
"""Columns that identify the rows of a run."""
TEXT = ("dataset", "stress", "loss", "status", *NAMED)
"""Columns of text, besides the axes."""
SHOWN = 5
"""Number of invalid runs that a message lists."""
NUMERIC = [c for c in COUNTS if c not in NAMED]


def columns(axes: Sequence[str] = ()) -> list[str]:
    """Return the columns of the table of a study with these axes.

    >>> columns(["steps"])[3:6]
    ['learning_rate', 'steps', 'seed']
    """
    names = list(COLUMNS)
    at = names.index("seed")
    return names[:at] + list(axes) + names[at:]


def key_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a run, axes included: from `dataset` to `seed`."""
    names = list(table.columns)
    return names[names.index("dataset") : names.index("seed") + 1]


def collect(study: Study) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the study's table and the records of its runs, in the order of the plan.

    Each record gets "key", the run's key. InvalidRuns if a run is not valid; a failed run is a
    result. RecordError if runs that are compared were trained on different kinds of device.
    """
    found = {run: validity(study.workspace, run) for run in study.runs}
    refuse_invalid(found)
    refuse_mixtures({run: validity.record for run, validity in found.items()})
    records = [found[run].record | {"key": run.key} for run in study.runs]
    rows = [_rows(study.run_folder(run), run, found[run].record) for run in study.runs]
    table = pd.concat(rows, ignore_index=True).reindex(columns=columns(study.axes))
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return check_table(table, "collected table"), records


def refuse_invalid(found: dict[RunSpec, Validity]) -> None:
    """Raise InvalidRuns if a run is neither valid nor failed."""
    usable = State.VALID, State.FAILED
    if invalid := {run: v.reason for run, v in found.items() if v.state not in usable}:
        raise InvalidRuns(invalid)


class InvalidRuns(RecordError):
    """Runs that are not valid. runs: each with its reason."""

    def __init__(self, runs: dict[RunSpec, str]) -> None:
        self.runs = runs
        lines = [f"  {run.path}: {reason}" for run, reason in list(runs.items())[:SHOWN]]
        more = [f"  and {len(runs) - SHOWN} more"] if len(runs) > SHOWN else []
        super().__init__("\n".join([f"{len(runs)} runs are not valid:", *lines, *more]))


def refuse_mixtures(records: Mapping[RunSpec, dict[str, Any]]) -> None:
    """Raise RecordError if runs of a cell were trained on a CPU and others on a GPU.

    Failed runs have no results. The report names cells with different models of a device.
    """
    cells: dict[tuple, list[str]] = {}
    for run, record in records.items():
        if record["status"] != "failed":
            cells.setdefault((run.cell, run.setting.name), []).append(record["device"])
    used = Counter(device for devices in cells.values() if "cpu" in devices for device in devices)
    if used.keys() > {"cpu"}:
        counts = ", ".join(f"{count} on {device}" for device, count in used.most_common())
        raise RecordError(
            f"the runs of a cell are compared, but were trained on different kinds of device: "
            f"{counts}; run the same command with --config device=cpu or --config device=cuda"
        )


def _rows(folder: Path, run: RunSpec, record: dict[str, Any]) -> pd.DataFrame:
    key = run.key | {"status": record["status"]}
    if record["status"] != "ok":
        return pd.DataFrame([key])
    counts = read_csv(folder / COUNTS_FILE, lambda column: column not in NAMED)
    tuned, scores = record["threshold"], record["val_dice"]
    at_half = 0.5 if len(tuned) == 1 or run.data["multilabel"] else np.nan
    pairs = list(zip(counts["class"], counts["threshold"], strict=True))
    return counts.assign(
        **key,
        threshold_value=[tuned[c] if t == "tuned" else at_half for c, t in pairs],
        val_dice=[scores[c][t] for c, t in pairs],
    )


def check_table(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table if its columns, statuses and counts are valid; else raise RecordError."""
    if not {"dataset", "learning_rate", "seed"} <= set(table.columns):
        raise RecordError(f"{name}: not a table of runs; its columns: {list(table.columns)}")
    key = key_columns(table)
    expected = columns(key[key.index("learning_rate") + 1 : -1])
    if list(table.columns) != expected:
        wrong = sorted(set(table.columns) ^ set(expected)) or "their order"
        raise RecordError(f"{name}: the columns differ from the documented ones: {wrong}")
    unknown = set(table["status"]) - {"ok", "diverged", "failed"}
    if unknown:
        raise RecordError(f"{name}: unknown status {sorted(unknown)}")
    ok = table[table["status"] == "ok"]
    if ok[NUMERIC].isna().any(axis=None) or (ok[NUMERIC] < 0).any(axis=None):
        raise RecordError(f"{name}: a count is missing or negative in a run that is ok")
    if not set(ok["threshold"]) <= {"0.5", "tuned"}:
        raise RecordError(f"{name}: unknown threshold {sorted(set(ok['threshold']))}")
    if table.duplicated([*key, *NAMED]).any():
        raise RecordError(f"{name}: duplicate rows of a run's image")
    if ok["squared_error"].isna().any() or (ok["hd95"] < 0).any():
        raise RecordError(f"{name}: a distance or an error is missing or negative")
    for size in SIZE_BINS:
        if (ok[f"hits_{size}"] > ok[f"objects_{size}"]).any():
            raise RecordError(f"{name}: more {size} objects hit than exist")
    return table


def read_csv(
    path: str | Path, is_number: Callable[[str], bool], missing: Collection[str] = ()
) -> pd.DataFrame:
    """Read a table with columns of text, in which ``2018``, ``007``, ``NA`` and ``true`` stay so.

    is_number: tells the columns of numbers; their empty cells are NaN. missing: columns of text
    with NaN for empty cells too.
    """
    header = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(
        path,
        dtype={name: str for name in header if not is_number(name)},
        keep_default_na=False,
        na_values={name: [""] for name in header if is_number(name) or name in missing},
    )


def read_rows(path: str | Path) -> pd.DataFrame:
    """Read a table with the columns of ``runs.csv``, axes included."""
    rows = read_csv(path, lambda column: column in COLUMNS and column not in TEXT, missing=NAMED)
    return rows.astype({name: "Int64" for name in NUMERIC if name in rows})


def read_table(path: str | Path) -> pd.DataFrame:
    """Read ``runs.csv`` and check it."""
    return check_table(read_rows(path), str(path))
