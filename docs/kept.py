"""Keep the tables of finished studies in ``docs/results/``, for the page of results.

``python -m docs.kept results/STUDY ...`` writes ``docs/results/STUDY*.csv``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import claims
from analysis.calibration import SMALLEST
from analysis.comparisons import SUITE
from analysis.steps import ANSWER, COMPARISONS, RECOMMENDATION
from analysis.verdicts import POOLED
from experiments.layout import CALIBRATION, RECORDS, VERDICTS

KEPT = Path(__file__).parent / "results"
ANSWERS = "reference"
"""The study that README answers from."""
TEXTS = dict.fromkeys(("threshold", "setting", "looks", "fails_on", "claim", "family"), str)
"""Columns that are text even if they are empty or hold numbers."""


def keep(folder: Path) -> None:
    """Copy the tables of a finished study that the page needs to ``docs/results/STUDY*.csv``.

    Verdicts only on the losses that the claims are about, and the number of pooled ones that are
    decided; recommendations as they are; differences of the mean and of generated images; the runs
    as a row per dataset with their number, status and hours.
    """
    name = json.loads((folder / "config.json").read_text())["study"]
    tables = {
        "": headlines(read(folder / VERDICTS)),
        "_pooled": pooled(read(folder / VERDICTS)),
        "_runs": runs(json.loads((folder / RECORDS).read_text())),
        "_looks": looks(folder / "looks"),
        "_recommendation": read(folder / RECOMMENDATION),
        "_comparisons": compared(read(folder / COMPARISONS)),
        "_rates": rates_at(read(folder / CALIBRATION)),
    }
    for part, table in tables.items():
        if len(table):
            table.to_csv(KEPT / f"{name}{part}.csv", index=False)
    if name == ANSWERS:
        shutil.copy(folder / ANSWER, KEPT / f"{name}_answer.txt")


def headlines(table: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on the losses that the claims are about."""
    if table.empty:
        return table
    about = table["claim"].map({name: claim.about for name, claim in claims.load().items()})
    return table[table["loss"] == about]


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of pooled verdicts, and of decided ones: per claim, family, threshold."""
    if table.empty:
        return table
    rows = table[table["dataset"] == POOLED]
    rows = rows.assign(decided=rows["verdict"] != "undecided")
    grouped = rows.groupby(["claim", "family", "threshold"], sort=False)["decided"]
    return grouped.agg(verdicts="size", decided="sum").reset_index()


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Return the differences on the mean of the public datasets and on generated images."""
    if table.empty:
        return table
    rows = table[table["scope"].isin([SUITE, "controlled"]) & table["against"].notna()]
    return rows.round(4)


def runs(records: Sequence[dict]) -> pd.DataFrame:
    """Return number, status and hours of one process, per dataset and loss."""
    rows = pd.DataFrame(
        {
            "dataset": [record["run"]["dataset"] for record in records],
            "loss": [record["run"]["loss"] for record in records],
            "status": [record["status"] for record in records],
            "hours": [sum(record["seconds"].values()) / 3600 for record in records],
        }
    )
    grouped = rows.groupby(["dataset", "loss", "status"], sort=False)["hours"]
    return grouped.agg(runs="size", hours="sum").reset_index().round(3)


def rates_at(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rates at the smallest differences and .1 above them."""
    return table[table["effect"].isin([*SMALLEST, "+0.1"])] if len(table) else table


def looks(folder: Path) -> pd.DataFrame:
    """Return a row per look of a study with adaptive seeds: decided verdicts, next runs, stop."""
    decisions = [json.loads(path.read_text()) for path in sorted(folder.glob("look-*.json"))]
    return pd.DataFrame(
        {
            "look": decision["look"],
            "decided": len(decision["decided"]),
            "primary": len(decision["decided"]) + len(decision["undecided"]),
            "next_runs": decision["cost"]["runs"],
            "stop": decision["stop"],
        }
        for decision in decisions
    )


def read(path: Path) -> pd.DataFrame:
    """Return a table, empty if there is no such file."""
    return pd.read_csv(path, dtype=TEXTS) if path.is_file() else pd.DataFrame()


def kept(name: str) -> pd.DataFrame:
    """Return a kept table with empty texts as ''; FileNotFoundError if it is not there."""
    table = pd.read_csv(KEPT / f"{name}.csv", dtype=TEXTS)
    texts = table.select_dtypes(exclude="number").columns
    return table.fillna(dict.fromkeys(texts, ""))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        keep(Path(argument))
