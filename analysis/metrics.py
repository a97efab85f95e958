"""Scores from counts. A score is taken per test image; where it has no meaning it is missing.

Several classes: a score is taken of each class against the rest. An image's is the mean over the
classes that it shows (over all, where it shows none), which is the same for every loss.

Empty masks: the Dice score of an image without foreground is 0 when anything is predicted and
missing (not 1) when nothing is; missing scores are left out of means and counted in the report.
"""

import numpy as np
import pandas as pd

from experiments.plan import stress_name


def share(part, whole):
    """part / whole; missing for 0 / 0."""
    part, whole = part.astype(float), whole.astype(float)
    return (part / whole).where(whole > 0)


def dice(table, prefix=""):
    """2 TP / (2 TP + FP + FN)"""
    tp, fp, fn = (table[f"{prefix}{c}"] for c in ("tp", "fp", "fn"))
    return share(2 * tp, 2 * tp + fp + fn)


def iou(table):
    """TP / (TP + FP + FN)"""
    return share(table["tp"], table["tp"] + table["fp"] + table["fn"])


def precision(table):
    """TP / (TP + FP); missing where nothing is predicted."""
    return share(table["tp"], table["tp"] + table["fp"])


def sensitivity(table):
    """TP / (TP + FN); missing where there is no true foreground."""
    return share(table["tp"], table["tp"] + table["fn"])


def specificity(table):
    """TN / (TN + FP)"""
    return share(table["tn"], table["tn"] + table["fp"])


def recall(table, size):
    """Share of the true objects of a size bin that were hit; missing where there are none."""
    return share(table[f"hits_{size}"], table[f"objects_{size}"])


def object_precision(table):
    """Share of the predicted objects that touch a true one; missing where none is predicted."""
    predicted = table["predicted_objects"]
    return share(predicted - table["false_objects"], predicted)


def area_ratio(table):
    """Predicted foreground pixels over true ones; missing where there are no true ones."""
    return share(table["tp"] + table["fp"], table["tp"] + table["fn"])


def surface_dice(table):
    """Share of both surfaces that lies within 1 px of the other (normalised surface Dice)."""
    near = table["surface_true_near"] + table["surface_predicted_near"]
    return share(near, table["surface_true"] + table["surface_predicted"])


def boundary_iou(table):
    """IoU of the pixels within 2 px inside of either surface.

    Source: Cheng et al., Boundary IoU, 2021.
    """
    return share(table["inner_both"], table["inner_either"])


def hd95(table):
    """95th percentile of the surface distances, px; the image's diagonal where one mask is empty.

    Missing where both are: a model that predicts nothing does not come off well by it.
    """
    true, predicted = table["surface_true"] > 0, table["surface_predicted"] > 0
    pixels = (table["tp"] + table["fp"] + table["fn"] + table["tn"]).astype(float)
    return table["hd95"].astype(float).where(true == predicted, np.sqrt(2 * pixels))


def brier(table):
    """Mean over pixels of (probability - truth)^2"""
    pixels = table["tp"] + table["fp"] + table["fn"] + table["tn"]
    return share(table["squared_error"], pixels)


METRICS = {
    "dice": ("Dice score (DSC)", dice),
    "iou": ("IoU", iou),
    "precision": ("Precision", precision),
    "sensitivity": ("Recall", sensitivity),
    "specificity": ("Specificity", specificity),
    "band_dice": ("Dice score within 2 px\nof the boundary", lambda t: dice(t, "band_")),
    "surface_dice": ("Surface Dice at 1 px", surface_dice),
    "boundary_iou": ("Boundary IoU at 2 px", boundary_iou),
    "hd95": ("HD95 (px)", hd95),
    "recall_small": ("Recall of small objects\n(< 32 px)", lambda t: recall(t, "small")),
    "recall_large": ("Recall of large objects\n(≥ 128 px)", lambda t: recall(t, "large")),
    "size_gap": (
        "Recall gap,\nlarge − small objects",
        lambda t: recall(t, "large") - recall(t, "small"),
    ),
    "object_precision": ("Precision of objects", object_precision),
    "area_ratio": ("Predicted / true area", area_ratio),
    "brier": ("Brier score", brier),
}
"""Name -> (axis label, function of the table)."""


RUN = ["dataset", "stress", "loss", "learning_rate", "seed"]
"""Columns that tell runs apart."""


def scores(table, *, by_class=False):
    """The runs that are ok, with a column for each metric; a row per image and threshold.

    by_class: a row for each class of these, the counts beside.
    """
    ok = table[table["status"] == "ok"]
    scored = ok.assign(**{f"score_{name}": function(ok) for name, (_, function) in METRICS.items()})
    if by_class or scored["class"].nunique() < 2:
        return scored
    image = [*RUN, "threshold", "image"]
    shown = (scored["tp"] + scored["fn"] > 0).astype(bool)
    none = ~shown.groupby([scored[c] for c in image], dropna=False).transform("any")
    means = ["threshold_value", *(f"score_{name}" for name in METRICS)]
    images = scored[shown | none].groupby(image, sort=False, dropna=False)
    return images[means].mean().reset_index()


def per_seed(scored, metric, *, dataset, stress, loss, threshold):
    """seed -> one value per test image, in the order of the images' names."""
    rows = scored[
        (scored["dataset"] == dataset)
        & (scored["stress"] == stress)
        & (scored["loss"] == loss)
        & (scored["threshold"] == threshold)
    ].sort_values("image")
    return {seed: group[f"score_{metric}"].to_numpy(float) for seed, group in rows.groupby("seed")}


def paired(scored, metric, *, loss, against, threshold, against_threshold, **where):
    """seed -> differences, loss minus `against`, image by image; seeds that both have."""
    ours = per_seed(scored, metric, loss=loss, threshold=threshold, **where)
    theirs = per_seed(scored, metric, loss=against, threshold=against_threshold, **where)
    return {seed: ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))}


FOUND = 0.1
"""Validation Dice score (pooled, 0.5) from which a model counts as having found the foreground."""


def of_runs(records):
    """What only a run as a whole can tell: a row per run that is ok.

    ece: sum over 15 bins of |sum p - sum y| / pixels, the expected calibration error. found: the
    first step of the learning curve with a validation Dice score of at least FOUND, missing where
    none has. noise_background, noise_foreground: share of the noisy training labels on true
    background (foreground) that the model predicts, less the share of clean pixels of the same
    class that it gets wrong alike: 0 is a model that has not learned the noise by heart.
    """
    rows = []
    for record in records:
        run = record["run"]
        if record["status"] != "ok":
            continue
        bins = {k: np.array(v) for k, v in record["calibration"].items()}
        found = [p["step"] for p in record["curve"] if p["val_dice"] >= FOUND]
        rows.append(
            {
                "dataset": run["dataset"],
                "stress": stress_name(sorted(run["stress"].items())),
                "loss": run["loss"],
                "learning_rate": run["learning_rate"],
                "seed": run["seed"],
                "ece": np.abs(bins["predicted"] - bins["true"]).sum() / bins["pixels"].sum(),
                "found": found[0] if found else np.nan,
                **_reproduced(record.get("noise")),
            }
        )
    return pd.DataFrame(rows)


def _reproduced(noise):
    result = {}
    for kind in ("background", "foreground"):
        counts = (noise or {}).get(kind) or {}
        if counts.get("noisy") and counts.get("clean"):
            learned = counts["noisy_reproduced"] / counts["noisy"]
            result[f"noise_{kind}"] = learned - counts["clean_wrong"] / counts["clean"]
        else:
            result[f"noise_{kind}"] = np.nan
    return result


def collapsed(table):
    """Runs (dataset, stress, loss, learning rate, seed) by what they predict at 0.5 on the test
    images: `nothing`, `everything`, as booleans."""
    ok = table[(table["status"] == "ok") & (table["threshold"] == "0.5")]
    sums = ok.groupby(RUN, sort=False)[["tp", "fp", "fn", "tn"]].sum()
    predicted = sums["tp"] + sums["fp"]
    # Every class counts every pixel, and at 0.5 a pixel is predicted to be of one at most.
    pixels = sums.sum(axis=1) / ok.groupby(RUN, sort=False)["class"].nunique()
    return pd.DataFrame(
        {"nothing": predicted == 0, "everything": predicted == pixels}
    ).reset_index()
