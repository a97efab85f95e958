"""Tables of measured values: scores, whole runs, learning rates, flipped labels, stresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import theory
from analysis.figures import style
from analysis.scores import metrics, tuning
from analysis.scores.metrics import METRICS
from experiments.plan.knobs import CONTROLLED_FRACTION
from experiments.plan.training import words
from experiments.runs.table import COLUMNS, key_columns

if TYPE_CHECKING:
    from experiments.plan.levels import Experiment, Level
    from experiments.plan.study import Study

FIRST_STEP = "first foreground, step"
LEVEL = ["experiment", "level"]
"""Columns that replace a stress in printed tables."""
MEANS = {metric.column: f"score_{name}" for name, metric in METRICS.items() if metric.column}
CLASS_MEANS = {m.column: f"score_{name}" for name, m in METRICS.items() if m.column and m.by_class}
"""Column of a table -> column of the scores with the values that it averages."""
PIXELS = ["tp", "fp", "fn", "tn"]


def axes_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of a study's table that are axes of its training grid.

    >>> axes_of(pd.DataFrame(columns=["dataset", "loss", "learning_rate", "steps", "seed"]))
    ['steps']
    """
    return [column for column in key_columns(table) if column not in COLUMNS]


def row_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a printed row: a cell, its setting and a loss."""
    return ["dataset", "stress", *axes_of(table), "loss"]


def with_setting(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Join the columns of the axes to one column `setting`, at the first one's position.

    >>> frame = pd.DataFrame({"stress": ["none"], "batch_size": ["4"], "steps": ["160"]})
    >>> with_setting(frame, ["batch_size", "steps"]).to_dict("records")
    [{'stress': 'none', 'setting': 'batch size 4, steps 160'}]
    """
    if not axes or not len(frame):
        return frame
    settings = [
        words({axis: label for axis, label in row.items() if label})
        for row in frame[axes].to_dict("records")
    ]
    position = frame.columns.get_loc(axes[0])
    frame = frame.drop(columns=axes)
    frame.insert(position, "setting", settings)
    return frame


def with_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Replace the names of losses by their labels."""
    return frame.assign(loss=frame["loss"].map(style.name)) if len(frame) else frame


def level_words(experiment: Experiment, level: Level) -> str:
    """Return a level's label with the knob of its experiment: ``fraction 0.3``."""
    return f"{style.title(experiment.knob)} {level.label}" if experiment.knob else level.label


def with_levels(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Replace the column `stress` by `experiment` and `level`, a row for each level that has it.

    Levels of several experiments can share their models, and so have equal rows.
    """
    rows = [
        study.where(dataset, level, setting)
        | {"experiment": style.title(name), "level": level_words(experiment, level)}
        for dataset in study.datasets
        for name, experiment in study.experiments.items()
        for level in experiment.levels[dataset]
        for setting in study.settings_of(name)
    ]
    known = pd.DataFrame(rows)
    known["order"] = known.groupby(["dataset", "experiment", "level"], sort=False).ngroup()
    controls = known.assign(**dict.fromkeys(study.axes, ""))
    keys = [column for column in ("dataset", "stress", *study.axes) if column in frame]
    labels = pd.concat([known, controls])[[*keys, *LEVEL, "order"]].drop_duplicates()
    merged = frame.merge(labels, on=keys).sort_values("order", kind="stable")
    position = frame.columns.get_loc("stress")
    columns = [c for c in frame if c != "stress"]
    return merged[[*columns[:position], *LEVEL, *columns[position:]]].reset_index(drop=True)


def finished(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of cells with the labels of losses, levels and settings."""
    if not len(frame):
        return frame
    return with_names(with_setting(with_levels(study, frame), study.axes))


def scores(study: Study, table: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds and test images, per cell, loss and threshold, with controls."""
    axes = axes_of(table)
    controls = controls.assign(**dict.fromkeys(axes, ""))
    both = pd.concat([tuning.fixed(study, table), controls], ignore_index=True)
    keys = row_columns(table)
    planned = both.groupby(keys, sort=False)["seed"].nunique()
    rows = []
    for key, group in metrics.scores(both).groupby([*keys, "threshold"], sort=False):
        rows.append(
            dict(zip([*keys, "threshold"], key, strict=True))
            | {"runs": f"{group['seed'].nunique()} of {planned[key[:-1]]}"}
            | {"at": group["threshold_value"].median()}
            | {column: group[score].mean() for column, score in MEANS.items()}
        )
    losses = [*study.losses, *controls["loss"].unique()]
    settings = list(both[axes].drop_duplicates().itertuples(index=False, name=None))
    rows.sort(
        key=lambda row: (
            settings.index(tuple(row[axis] for axis in axes)),
            losses.index(row["loss"]),
            row["threshold"],
        )
    )
    return finished(study, pd.DataFrame(rows))


def classes(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each class against the rest, for datasets with several classes."""
    several = [d.name for d in study.datasets.values() if len(d.class_names) > 1]
    fixed = tuning.fixed(study, table)
    planned = fixed.groupby(row_columns(table))["seed"].nunique()
    scored = metrics.scores(fixed[fixed["dataset"].isin(several)], by_class=True)
    keys = ["dataset", "stress", *axes_of(table), "class", "loss", "threshold"]
    rows = []
    for key, group in scored.groupby(keys, sort=False):
        sums = group.groupby("seed")[PIXELS].sum()
        row = dict(zip(keys, key, strict=True))
        cell = tuple(row[name] for name in row_columns(table))
        rows.append(
            row
            | {
                "share of pixels": metrics.share(sums["tp"] + sums["fn"], sums.sum(axis=1)).mean(),
                "runs": f"{len(sums)} of {planned[cell]}",
                "never predicted": int((sums["tp"] + sums["fp"] == 0).sum()),
                "DSC of all pixels": metrics.dice(sums).mean(),
            }
            | {column: group[score].mean() for column, score in CLASS_MEANS.items()}
        )
    return finished(study, pd.DataFrame(rows))


def runs(study: Study, table: pd.DataFrame, records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return properties of whole runs per cell and loss, at threshold 0.5."""
    keys = row_columns(table)
    table = tuning.fixed(study, table)
    status = table.groupby([*keys, "seed"], sort=False)["status"].first().reset_index()
    status = status.groupby(keys, sort=False)["status"].value_counts().unstack(fill_value=0)
    empty = metrics.collapsed(table).groupby(keys, sort=False)[["nothing", "everything"]].sum()
    whole = tuning.fixed(study, metrics.of_runs(records)).groupby(keys, sort=False)
    mean = whole[["ece", "noise_background", "noise_foreground"]].mean()
    first = whole["first_step"].agg(["median", "count"])
    rows = []
    for key, counts in status.iterrows():
        ok = int(counts.get("ok", 0))
        row = dict(zip(keys, key, strict=True)) | {
            "ok": f"{ok} of {counts.sum()}",
            "diverged": int(counts.get("diverged", 0)),
            "failed": int(counts.get("failed", 0)),
        }
        if ok:
            row |= {
                "predict nothing": int(empty.loc[key, "nothing"]),
                "predict everything": int(empty.loc[key, "everything"]),
                "detect the foreground": int(first.loc[key, "count"]),
                FIRST_STEP: first.loc[key, "median"],
                "ECE": mean.loc[key, "ece"],
                "noise memorised, background": mean.loc[key, "noise_background"],
                "noise memorised, foreground": mean.loc[key, "noise_foreground"],
            }
        rows.append(row)
    return finished(study, pd.DataFrame(rows))


def learning_rates(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return validation and test Dice score at each learning rate of the grid, and the best rate.

    sensitivity: test Dice score lost from the best rate to the worst. Empty for a single rate.
    """
    grid = tuning.grid(table)
    grid = grid[grid["threshold"] == "0.5"]
    if grid["learning_rate"].nunique() < 2:
        return pd.DataFrame()
    keys = row_columns(table)
    wide = grid.pivot(index=keys, columns="learning_rate", values=["val_dice", "test_dice"])
    wide.columns = [
        f"{'validation' if kind == 'val_dice' else 'test'} at {rate:g}"
        for kind, rate in wide.columns
    ]
    best = grid[grid["best"]].set_index(keys)
    wide.insert(0, "best rate", best["learning_rate"].map("{:g}".format))
    wide["sensitivity"] = best["test_dice"] - grid.groupby(keys)["test_dice"].min()
    wide = grid[keys].drop_duplicates().merge(wide.reset_index(), on=keys)
    return finished(study, wide)


def flips(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the predicted share of foreground after training on flipped labels.

    Controlled images only: the minimiser of each loss in expectation, and the trained models.
    """
    keys = row_columns(table)
    rows = []
    for key, group in tuning.fixed(study, table).groupby(keys, sort=False):
        cell = dict(zip(keys, key, strict=True))
        stress = study.stresses(cell["dataset"])[cell["stress"]]
        controlled = study.datasets[cell["dataset"]].controlled
        if not controlled or set(stress) - {"flips"} or cell["loss"] not in theory.MINIMISERS:
            continue
        rate, share = stress.get("flips", 0), CONTROLLED_FRACTION
        ok = metrics.select(group, status="ok", threshold="0.5")
        sums = ok.groupby("seed")[PIXELS].sum().astype(float)
        shares = (sums["tp"] + sums["fp"]) / sums.sum(axis=1)
        del cell["stress"]
        rows.append(
            {"dataset": cell.pop("dataset"), "flips": f"{rate:g}"}
            | cell
            | {
                "true share": share,
                "by theory": theory.predicted_share(cell["loss"], share, rate),
                "measured": shares.mean(),
                "smallest run": shares.min(),
                "largest run": shares.max(),
                "runs": f"{len(shares)} of {group['seed'].nunique()}",
            }
        )
    return with_names(with_setting(pd.DataFrame(rows), axes_of(table)))


def stressed(study: Study, stresses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``stresses.csv`` of the first seed."""
    rows = metrics.select(stresses, seed=study.seeds[0]).drop(columns="seed")
    return with_levels(study, rows) if len(rows) else rows
