"""The study's tables as frames: what the report shows and what a paper prints are the same."""

import numpy as np
import pandas as pd

from analysis import claims, metrics, statistics, style, theory, tuning
from analysis.verdicts import headline
from experiments.plan import CONTROLLED_FRACTION

NUMBERS = {"p": "{:.3f}", "HD95, px": "{:.1f}", "first foreground, step": "{:.0f}"}
"""Columns whose numbers are not written with three decimals."""


def signed(value):
    # Adding 0.0 turns a minus zero into a zero.
    return "–" if np.isnan(value) else f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def interval(row):
    return f"{signed(row['low'])} to {signed(row['high'])}"


def verdicts(found, *, every=True):
    """A line per verdict; the claims' own loss at threshold 0.5 alone where not `every`."""
    found = found if every else headline(found)
    titles = {name: claim.title for name, (claim, _) in claims.load().items()}
    return pd.DataFrame(
        {
            "claim": found["claim"].map(titles),
            "level": found["level"],
            "dataset": found["dataset"],
            "loss": found["loss"].map(style.name),
            "verdict": found["verdict"],
            "estimate": found["estimate"].map(signed),
            "95% interval": [
                "exact" if row["level"] == "mechanism" else interval(row)
                for _, row in found.iterrows()
            ],
            "threshold": found["threshold"],
            "learning rate": found["rate"],
            "smallest": found["smallest"].map("{:+g}".format),
            "p": found["p_corrected"],
            "n": [
                f"{n} of {planned}" for n, planned in zip(found["n"], found["planned"], strict=True)
            ],
        }
    )


MEANS = {
    "DSC": "dice",
    "IoU": "iou",
    "precision": "precision",
    "recall": "sensitivity",
    "band DSC": "band_dice",
    "surface Dice": "surface_dice",
    "boundary IoU": "boundary_iou",
    "HD95, px": "hd95",
    "small objects hit": "recall_small",
    "large objects hit": "recall_large",
    "object precision": "object_precision",
    "area ratio": "area_ratio",
    "Brier": "brier",
}
"""Column -> the metric whose mean it is."""
CLASS_MEANS = ("DSC", "IoU", "precision", "recall", "boundary IoU", "HD95, px")
"""Those that are told of each class by itself."""


def scores(study, table, controls):
    """Means over seeds and test images, per cell and loss, at both thresholds; controls beside."""
    both = pd.concat([tuning.fixed(study, table), controls], ignore_index=True)
    scored = metrics.scores(both)
    keys = ["dataset", "stress", "loss", "threshold"]
    planned = both.groupby(keys[:3], sort=False)["seed"].nunique()
    rows = []
    for key, group in scored.groupby(keys, sort=False):
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"runs": f"{group['seed'].nunique()} of {planned[key[:3]]}"}
            | {"at": group["threshold_value"].median()}
            | {column: group[f"score_{metric}"].mean() for column, metric in MEANS.items()}
        )
    frame = pd.DataFrame(rows)
    order = {name: k for k, name in enumerate([*study.losses, *controls["loss"].unique()])}
    cells = {
        (dataset, stress): k
        for k, (dataset, stress) in enumerate(
            (d, s) for d in study.datasets for s in study.stresses(d)
        )
    }
    frame["cell"] = [cells[c] for c in zip(frame["dataset"], frame["stress"], strict=True)]
    frame["place"] = frame["loss"].map(order)
    frame = frame.sort_values(["cell", "place", "threshold"], kind="stable")
    return frame.drop(columns=["cell", "place"]).assign(loss=frame["loss"].map(style.name))


def classes(study, table):
    """Datasets of several classes: each class's scores against the rest, per cell and loss."""
    several = [d.name for d in study.datasets.values() if len(d.class_names) > 1]
    scored = metrics.scores(tuning.fixed(study, table), by_class=True)
    scored = scored[scored["dataset"].isin(several)]
    keys = ["dataset", "stress", "class", "loss", "threshold"]
    rows = []
    for key, group in scored.groupby(keys, sort=False):
        sums = group.groupby("seed")[["tp", "fp", "fn", "tn"]].sum()
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "loss": style.name(group["loss"].iloc[0]),
                "share of pixels": metrics.share(sums["tp"] + sums["fn"], sums.sum(axis=1)).mean(),
                "runs": f"{len(sums)} of {len(study.seeds)}",
                "never predicted": int((sums["tp"] + sums["fp"] == 0).sum()),
                "DSC of all pixels": metrics.dice(sums).mean(),
            }
            | {column: group[f"score_{MEANS[column]}"].mean() for column in CLASS_MEANS}
        )
    return pd.DataFrame(rows)


def runs(study, table, records):
    """What only whole runs can tell, per cell and loss, at threshold 0.5."""
    keys = ["dataset", "stress", "loss"]
    table = tuning.fixed(study, table)
    status = table.groupby([*keys, "seed"], sort=False)["status"].first().reset_index()
    status = status.groupby(keys, sort=False)["status"].value_counts().unstack(fill_value=0)
    empty = metrics.collapsed(table).groupby(keys, sort=False)[["nothing", "everything"]].sum()
    whole = tuning.fixed(study, metrics.of_runs(records)).groupby(keys, sort=False)
    mean = whole[["ece", "noise_background", "noise_foreground"]].mean()
    found = whole["found"].agg(["median", "count"])
    planned = len(study.seeds)
    rows = []
    for key, counts in status.iterrows():
        ok = int(counts.get("ok", 0))
        row = dict(zip(keys, key, strict=True)) | {
            "ok": f"{ok} of {planned}",
            "diverged": int(counts.get("diverged", 0)),
            "failed": int(counts.get("failed", 0)),
        }
        if ok:
            row |= {
                "predict nothing": int(empty.loc[key, "nothing"]),
                "predict everything": int(empty.loc[key, "everything"]),
                "found the foreground": int(found.loc[key, "count"]),
                "first foreground, step": found.loc[key, "median"],
                "ECE": mean.loc[key, "ece"],
                "noise learned, background": mean.loc[key, "noise_background"],
                "noise learned, foreground": mean.loc[key, "noise_foreground"],
            }
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.assign(loss=frame["loss"].map(style.name))


def learning_rates(table):
    """The whole grid: validation and test Dice score of each rate at threshold 0.5, and the best.

    sensitivity: test Dice score lost off the best rate, the worst rate of the grid.
    """
    grid = tuning.grid(table)
    grid = grid[grid["threshold"] == "0.5"]
    if grid["learning_rate"].nunique() < 2:
        return pd.DataFrame()
    keys = ["dataset", "stress", "loss"]
    wide = grid.pivot(index=keys, columns="learning_rate", values=["val_dice", "test_dice"])
    wide.columns = [
        f"{'validation' if kind == 'val_dice' else 'test'} at {rate:g}"
        for kind, rate in wide.columns
    ]
    best = grid[grid["best"]].set_index(keys)
    wide.insert(0, "best rate", best["learning_rate"].map("{:g}".format))
    worst = grid.groupby(keys)["test_dice"].min()
    wide["sensitivity"] = best["test_dice"] - worst
    order = grid[keys].drop_duplicates()
    wide = order.merge(wide.reset_index(), on=keys)
    return wide.assign(loss=wide["loss"].map(style.name))


def flips(study, table):
    """Share of the test pixels predicted foreground after training on flipped labels, controlled
    images: what minimises the loss in expectation beside what the trained models did."""
    fixed = tuning.fixed(study, table)
    fixed = fixed[(fixed["status"] == "ok") & (fixed["threshold"] == "0.5")]
    rows = []
    for dataset in (d for d in study.datasets.values() if d.controlled):
        for stress, knobs in study.stresses(dataset.name).items():
            rate, f = dict(knobs).get("flips", 0), dict(knobs).get("fraction", CONTROLLED_FRACTION)
            if set(dict(knobs)) - {"flips"}:
                continue
            for loss in (loss for loss in study.losses if loss in theory.MINIMISERS):
                cell = fixed[
                    (fixed["dataset"] == dataset.name)
                    & (fixed["stress"] == stress)
                    & (fixed["loss"] == loss)
                ]
                sums = cell.groupby("seed")[["tp", "fp", "fn", "tn"]].sum().astype(float)
                shares = (sums["tp"] + sums["fp"]) / sums.sum(axis=1)
                found = statistics.estimate(
                    [(1, {s: np.array([v]) for s, v in shares.items()})], draws=1000
                )
                rows.append(
                    {
                        "dataset": dataset.name,
                        "flips": f"{rate:g}",
                        "loss": style.name(loss),
                        "true share": f,
                        "by theory": theory.predicted_share(loss, f, rate),
                        "measured": found.value,
                        "least run": shares.min(),
                        "greatest run": shares.max(),
                        "runs": f"{found.n} of {len(study.seeds)}",
                    }
                )
    return pd.DataFrame(rows)


def ranking(ranks):
    """Ranks with their intervals, a line per dataset, experiment and loss."""
    return pd.DataFrame(
        {
            "dataset": ranks["dataset"],
            "experiment": ranks["experiment"].str.replace("_", " "),
            "loss": ranks["loss"].map(style.name),
            "DSC": ranks["score"],
            "rank": ranks["rank"],
            "95% interval": [
                f"{row.low:.0f} to {row.high:.0f}" for row in ranks.itertuples(index=False)
            ],
            "share of draws first": ranks["first"],
        }
    )


def stressed(study, measured):
    """What each stress turned, as `analysis.stresses` measured it, of the first seed."""
    return measured[measured["seed"] == study.seeds[0]].drop(columns="seed")


def written(frame):
    """The frame with its numbers as text, ready to print."""

    def cell(column, value):
        if isinstance(value, str):
            return value
        if value is None or np.isnan(value):
            return "–"
        if isinstance(value, int | np.integer):
            return str(value)
        return NUMBERS.get(column, "{:.3f}").format(value)

    return pd.DataFrame(
        {column: [cell(column, v) for v in frame[column]] for column in frame.columns},
        index=frame.index,
    )
