"""Learning rates: the fixed one, and each cell's best of the grid on validation images."""

import pandas as pd

CELL = ["dataset", "stress", "loss", "threshold"]


def grid(table):
    """A row per cell, threshold and learning rate: validation and test Dice score, runs that count.

    `best` marks the rate that is chosen: of the greatest mean validation score over seeds, the
    lower rate of equals. A rate at which a run diverged is not chosen while another has none.
    """
    ok = table[table["status"] == "ok"]
    size = 2 * ok["tp"] + ok["fp"] + ok["fn"]
    run = [*CELL, "learning_rate", "seed"]
    classes = (
        ok.assign(dice=(2 * ok["tp"] / size).where(size > 0).astype(float))
        .groupby([*run, "class"], sort=False)
        .agg(val_dice=("val_dice", "first"), test_dice=("dice", "mean"))
    )
    runs = classes.groupby(run, sort=False).mean().reset_index()
    rows = (
        runs.groupby([*CELL, "learning_rate"], sort=False)
        .agg(
            val_dice=("val_dice", "mean"), test_dice=("test_dice", "mean"), runs=("seed", "nunique")
        )
        .reset_index()
    )
    ordered = rows.sort_values(
        ["runs", "val_dice", "learning_rate"], ascending=[False, False, True], kind="stable"
    )
    rows["best"] = rows.index.isin(ordered.groupby(CELL, sort=False).head(1).index)
    return rows


def fixed(study, table):
    """The rows at the study's fixed learning rate."""
    return table[table["learning_rate"] == study.training.learning_rate]


def tuned(study, table):
    """The rows of each cell at its best learning rate; what has no run at all stays as it is."""
    best = grid(table)
    best = best.loc[best["best"], [*CELL, "learning_rate"]]
    chosen = table.merge(best, on=[*CELL, "learning_rate"])
    failed = fixed(study, table)
    lost = failed[failed["status"] != "ok"].merge(
        best[CELL[:-1]].drop_duplicates(), how="left", indicator=True, on=CELL[:-1]
    )
    lost = lost[lost["_merge"] == "left_only"].drop(columns="_merge")
    return pd.concat([chosen, lost], ignore_index=True) if len(lost) else chosen


def rates(study, table):
    """Name -> the table at those learning rates; `tuned` only where there is a grid."""
    found = {"fixed": fixed(study, table)}
    return found | {"tuned": tuned(study, table)} if len(study.rates) > 1 else found
