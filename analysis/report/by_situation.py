"""The losses by situation, from ``recommendation.csv``: mean Dice scores with 95% intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures import style
from analysis.recommendation import SUITE, YES

if TYPE_CHECKING:
    from experiments.plan.study import Study

BEST, AS_GOOD = "best", "may be as good"
SIGNS = {BEST: "*", AS_GOOD: "="}
"""Mark -> sign after a mean."""
COLUMNS = ("situation", "loss", "score", "score_low", "score_high", "mark")


def scopes(study: Study, table: pd.DataFrame) -> list[str]:
    """Return the scopes that have a table: the mean of several public datasets, else each one."""
    found = list(table["scope"].unique())
    pooled = SUITE in found
    single = (name for name in study.datasets if name in found)
    return [SUITE] * pooled + [n for n in single if not pooled or study.datasets[n].controlled]


def by_situation(
    study: Study, table: pd.DataFrame, scope: str, threshold: str = "0.5"
) -> pd.DataFrame:
    """Return a row of COLUMNS per situation and loss, at the reference setting.

    mark: BEST for the loss of least expected regret, AS_GOOD for those that may be as good.
    """
    chosen = table[
        (table["scope"] == scope)
        & (table["threshold"] == threshold)
        & (table["setting"] == study.settings[0].label)
    ]
    as_good = chosen["may_be_as_good"].map({YES: AS_GOOD}).fillna("")
    mark = as_good.where(chosen["advised"] != YES, BEST)
    return chosen.assign(loss=chosen["loss"].map(style.name), mark=mark)[list(COLUMNS)]


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
    if row is None or np.isnan(row.score_low):
        return ""
    return f"{row.score_low:.2f} to {row.score_high:.2f}"
