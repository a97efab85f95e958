"""Learning rates: the fixed one, and the best of the grid on validation images, for each cell.

The best rate is chosen and scored with the same seeds, so its scores are slightly optimistic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis.scores import metrics
from experiments.runs.table import key_columns

if TYPE_CHECKING:
    from experiments.plan.study import Study

RATE = "learning_rate"
"""The axis that is tuned."""


def cell_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of a cell that gets a learning rate of its own.

    >>> cell_columns(pd.DataFrame(columns=["dataset", "loss", "learning_rate", "steps", "seed"]))
    ['dataset', 'loss', 'steps', 'threshold']
    """
    return [c for c in key_columns(table) if c not in (RATE, "seed")] + ["threshold"]


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell, threshold and learning rate: mean Dice scores and number of runs.

    val_dice, test_dice: means over seeds. best: the chosen rate, with the most successful runs,
    then the greatest validation score, then the lowest rate.
    """
    cell = cell_columns(table)
    run = [*cell, RATE, "seed"]
    ok = metrics.select(table, status="ok")
    classes = (
        ok.assign(dice=metrics.dice(ok))
        .groupby([*run, "class"], sort=False)
        .agg(val_dice=("val_dice", "first"), test_dice=("dice", "mean"))
    )
    runs = classes.groupby(run, sort=False).mean().reset_index()
    means = {name: (name, "mean") for name in ("val_dice", "test_dice")}
    rows = runs.groupby([*cell, RATE], sort=False).agg(**means, runs=("seed", "nunique"))
    rows = rows.reset_index()
    ordered = rows.sort_values(
        ["runs", "val_dice", RATE], ascending=[False, False, True], kind="stable"
    )
    rows["best"] = rows.index.isin(ordered.groupby(cell, sort=False).head(1).index)
    return rows


def fixed(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at the study's fixed learning rate."""
    return metrics.select(table, **{RATE: study.training.learning_rate})


def tuned(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each cell at its best learning rate.

    A run without counts gets the threshold for which its rate is the best. Cells without any
    successful run are kept at the fixed rate.
    """
    cell = cell_columns(table)
    best = grid(table)
    best = best.loc[best["best"], [*cell, RATE]]
    chosen = table.merge(best, on=[*cell, RATE])
    without = table[table["status"] != "ok"].drop(columns="threshold")
    without = without.merge(best, on=[*cell[:-1], RATE])[table.columns]
    at_rate = fixed(study, table)
    lost = at_rate[at_rate["status"] != "ok"].merge(
        best[cell[:-1]].drop_duplicates(), how="left", indicator=True, on=cell[:-1]
    )
    lost = metrics.select(lost, _merge="left_only").drop(columns="_merge")
    parts = [part for part in (chosen, without, lost) if len(part)]
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else chosen


def rates(study: Study, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the table at the `fixed` rate and, if there is a grid, at the `tuned` rates."""
    result = {"fixed": fixed(study, table)}
    return result | {"tuned": tuned(study, table)} if len(study.rates) > 1 else result
