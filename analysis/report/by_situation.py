"""The losses by situation: mean Dice scores with 95% intervals, and the advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures import style
from analysis.recommendation import SUITE, YES
from analysis.scores.metrics import select

if TYPE_CHECKING:
    from experiments.plan.study import Study

BEST, AS_GOOD = "best", "may be as good"
SIGNS = {BEST: "*", AS_GOOD: "="}
"""Mark -> sign after a mean."""
COLUMNS = ("situation", "loss", "score", "low", "high", "mark")
CELL = ("situation", "scope", "threshold", "setting", "loss")
"""Columns that identify a loss in a situation."""


def scopes(study: Study, table: pd.DataFrame) -> list[str]:
    """Return the scopes that have a table: the mean of several public datasets, else each one."""
    found = list(table["scope"].unique())
    pooled = SUITE in found
    single = (name for name in study.datasets if name in found)
    return [SUITE] * pooled + [n for n in single if not pooled or study.datasets[n].controlled]


def by_situation(
    study: Study,
    advice: pd.DataFrame,
    compared: pd.DataFrame,
    scope: str,
    threshold: str = "0.5",
) -> pd.DataFrame:
    """Return a row of COLUMNS per situation and loss, at the reference setting.

    advice, compared: ``recommendation.csv`` and ``comparisons.csv``. mark: BEST for the loss of
    least expected regret, AS_GOOD for those that may be as good.
    """
    at = {"scope": scope, "threshold": threshold, "setting": study.settings[0].label}
    rows = select(advice, **at)[[*CELL, "score", "advised", "may_be_as_good"]]
    own = select(compared, **at, against="")[[*CELL, "low", "high"]]
    rows = rows.merge(own, how="left", on=list(CELL))
    as_good = rows["may_be_as_good"].map({YES: AS_GOOD}).fillna("")
    mark = as_good.where(rows["advised"] != YES, BEST)
    return rows.assign(loss=rows["loss"].map(style.name), mark=mark)[list(COLUMNS)]


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Return two rows of text per loss, mean and interval, and a column per situation.

    A sign of SIGNS follows a mean with a mark.
    """
    losses, situations = rows["loss"].unique(), rows["situation"].unique()
    found = {(row.loss, row.situation): row for row in rows.itertuples()}
    lines = []
    for loss in losses:
        cells = [found.get((loss, situation)) for situation in situations]
        lines += [[loss, *map(_mean, cells)], ["", *map(_interval, cells)]]
    return pd.DataFrame(lines, columns=["loss", *situations])


def _mean(row: Any) -> str:
    if row is None or np.isnan(row.score):
        return "–"
    return f"{row.score:.3f}{SIGNS.get(row.mark, '')}"


def _interval(row: Any) -> str:
    if row is None or np.isnan(row.low):
        return ""
    return f"{row.low:.2f} to {row.high:.2f}"
