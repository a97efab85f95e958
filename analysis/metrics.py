"""Scores from counts. A score is taken per test image; where it has no meaning it is missing.

Empty masks: the Dice score of an image without foreground is 0 when anything is predicted and
missing (not 1) when nothing is; missing scores are left out of means and counted in the report.
"""

import numpy as np


def dice(table, prefix=""):
    """2 TP / (2 TP + FP + FN); missing for 0 / 0."""
    tp, fp, fn = (table[f"{prefix}{c}"].astype(float) for c in ("tp", "fp", "fn"))
    size = 2 * tp + fp + fn
    return (2 * tp / size).where(size > 0)


def recall(table, size):
    """Share of the true objects of a size bin that were hit; missing where there are none."""
    objects = table[f"objects_{size}"].astype(float)
    return (table[f"hits_{size}"].astype(float) / objects).where(objects > 0)


def area_ratio(table):
    """Predicted foreground pixels over true ones; missing where there are no true ones."""
    true = (table["tp"] + table["fn"]).astype(float)
    return ((table["tp"] + table["fp"]).astype(float) / true).where(true > 0)


METRICS = {
    "dice": ("Dice score (DSC)", dice),
    "band_dice": ("Dice score within 2 px\nof the boundary", lambda t: dice(t, "band_")),
    "recall_small": ("Recall of small objects\n(< 32 px)", lambda t: recall(t, "small")),
    "recall_large": ("Recall of large objects\n(≥ 128 px)", lambda t: recall(t, "large")),
    "size_gap": (
        "Recall gap,\nlarge − small objects",
        lambda t: recall(t, "large") - recall(t, "small"),
    ),
    "area_ratio": ("Predicted / true area", area_ratio),
}
"""Name -> (axis label, function of the table)."""


def scores(table):
    """The runs that are ok, with a column for each metric."""
    ok = table[table["status"] == "ok"]
    return ok.assign(**{name: function(ok) for name, (_, function) in METRICS.items()})


def per_seed(scored, metric, *, dataset, stress, loss, threshold):
    """seed -> one value per test image, in the order of the images' names."""
    rows = scored[
        (scored["dataset"] == dataset)
        & (scored["stress"] == stress)
        & (scored["loss"] == loss)
        & (scored["threshold"] == threshold)
    ].sort_values("image")
    return {seed: group[metric].to_numpy(float) for seed, group in rows.groupby("seed")}


def paired(scored, metric, *, loss, against, **where):
    """seed -> differences, loss minus `against`, image by image; seeds that both have."""
    ours = per_seed(scored, metric, loss=loss, **where)
    theirs = per_seed(scored, metric, loss=against, **where)
    return {seed: ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))}


def present(values):
    """The values without the missing ones."""
    return values[~np.isnan(values)]
