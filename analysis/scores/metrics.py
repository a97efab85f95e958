"""Scores from counts: one score per test image, NaN if it is not defined.

METRICS is the one table of metrics: to add a metric, add its row.

Several classes: each class is scored against the rest. The score of an image is the mean over the
classes that it shows (over all classes if it shows none), so every loss is scored on the same
classes.

Empty masks: the Dice score of an image without foreground is 0 if anything is predicted, and NaN
(not 1) if nothing is. Means ignore NaN, and the report counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.runs.table import key_columns

if TYPE_CHECKING:
    from experiments.plan.study import Study


def share(part: pd.Series, whole: pd.Series) -> pd.Series:
    """Return part / whole, NaN for 0 / 0.

    >>> share(pd.Series([1, 0]), pd.Series([4, 0])).tolist()
    [0.25, nan]
    """
    part, whole = part.astype(float), whole.astype(float)
    return (part / whole).where(whole > 0)


def dice(table: pd.DataFrame, prefix: str = "") -> pd.Series:
    """2 TP / (2 TP + FP + FN)

    >>> dice(pd.DataFrame({"tp": [6, 0], "fp": [2, 0], "fn": [4, 0]})).round(3).tolist()
    [0.667, nan]
    """
    tp, fp, fn = (table[f"{prefix}{c}"] for c in ("tp", "fp", "fn"))
    return share(2 * tp, 2 * tp + fp + fn)


def iou(table: pd.DataFrame) -> pd.Series:
    """TP / (TP + FP + FN)"""
    return share(table["tp"], table["tp"] + table["fp"] + table["fn"])


def precision(table: pd.DataFrame) -> pd.Series:
    """TP / (TP + FP); NaN if nothing is predicted."""
    return share(table["tp"], table["tp"] + table["fp"])


def sensitivity(table: pd.DataFrame) -> pd.Series:
    """TP / (TP + FN); NaN if there is no true foreground."""
    return share(table["tp"], table["tp"] + table["fn"])


def specificity(table: pd.DataFrame) -> pd.Series:
    """TN / (TN + FP)"""
    return share(table["tn"], table["tn"] + table["fp"])


def recall(table: pd.DataFrame, size: str) -> pd.Series:
    """Share of the true objects of a size bin that were hit; NaN if there are none."""
    return share(table[f"hits_{size}"], table[f"objects_{size}"])


def object_precision(table: pd.DataFrame) -> pd.Series:
    """Share of the predicted objects that touch a true one; NaN if none is predicted."""
    predicted = table["predicted_objects"]
    return share(predicted - table["false_objects"], predicted)


def area_ratio(table: pd.DataFrame) -> pd.Series:
    """Predicted foreground pixels over true ones; NaN if there are no true ones."""
    return share(table["tp"] + table["fp"], table["tp"] + table["fn"])


def size_error(table: pd.DataFrame) -> pd.Series:
    """(P - T) / (P + T) for P predicted, T true foreground pixels: -1 for none predicted.

    NaN if both are 0.

    >>> size_error(pd.DataFrame({"tp": [4, 0], "fp": [4, 0], "fn": [0, 9]})).round(3).tolist()
    [0.333, -1.0]
    """
    return share(table["fp"] - table["fn"], 2 * table["tp"] + table["fp"] + table["fn"])


def surface_dice(table: pd.DataFrame) -> pd.Series:
    """Share of both surfaces within 1 px of the other one (normalised surface Dice)."""
    near = table["surface_true_near"] + table["surface_predicted_near"]
    return share(near, table["surface_true"] + table["surface_predicted"])


def boundary_iou(table: pd.DataFrame) -> pd.Series:
    """IoU of the pixels within 2 px inside of either surface.

    Source: Cheng et al., Boundary IoU, 2021.
    """
    return share(table["inner_both"], table["inner_either"])


def hd95(table: pd.DataFrame) -> pd.Series:
    """95th percentile of the surface distances, px; the image's diagonal if one mask is empty.

    NaN if both masks are empty, so predicting nothing is not rewarded.
    """
    true, predicted = table["surface_true"] > 0, table["surface_predicted"] > 0
    pixels = (table["tp"] + table["fp"] + table["fn"] + table["tn"]).astype(float)
    return table["hd95"].astype(float).where(true == predicted, np.sqrt(2 * pixels))


def brier(table: pd.DataFrame) -> pd.Series:
    """Mean over pixels of (probability - truth)^2"""
    pixels = table["tp"] + table["fp"] + table["fn"] + table["tn"]
    return share(table["squared_error"], pixels)


@dataclass(frozen=True)
class Metric:
    """A score of an image.

    label: axis label. function: the score of each row of a table. bounds: range of the score.
    column: heading in the tables of scores; None: not shown. by_class: shown in the tables of
    classes too. ratio: a ratio of two positive quantities, best at 1. worst: score of a run that
    diverged; None: it has no score.
    """

    label: str
    function: Callable[[pd.DataFrame], pd.Series]
    bounds: tuple[float, float] = (0.0, 1.0)
    column: str | None = None
    by_class: bool = False
    ratio: bool = False
    worst: float | None = 0.0


UNBOUNDED = (0.0, float("inf"))

METRICS = {
    "dice": Metric("Dice score (DSC)", dice, column="DSC", by_class=True),
    "iou": Metric("IoU", iou, column="IoU", by_class=True),
    "precision": Metric("Precision", precision, column="precision", by_class=True),
    "sensitivity": Metric("Recall", sensitivity, column="recall", by_class=True),
    "specificity": Metric("Specificity", specificity),
    "band_dice": Metric(
        "Dice score within 2 px\nof the boundary", lambda t: dice(t, "band_"), column="band DSC"
    ),
    "surface_dice": Metric("Surface Dice at 1 px", surface_dice, column="surface Dice"),
    "boundary_iou": Metric(
        "Boundary IoU at 2 px", boundary_iou, column="boundary IoU", by_class=True
    ),
    "hd95": Metric("HD95 (px)", hd95, UNBOUNDED, column="HD95, px", by_class=True, worst=None),
    "recall_small": Metric(
        "Recall of small objects\n(< 32 px)",
        lambda t: recall(t, "small"),
        column="small objects hit",
    ),
    "recall_large": Metric(
        "Recall of large objects\n(≥ 128 px)",
        lambda t: recall(t, "large"),
        column="large objects hit",
    ),
    "size_gap": Metric(
        "Recall gap,\nlarge − small objects",
        lambda t: recall(t, "large") - recall(t, "small"),
        (-1.0, 1.0),
        worst=None,
    ),
    "object_precision": Metric("Precision of objects", object_precision, column="object precision"),
    "area_ratio": Metric(
        "Predicted / true area", area_ratio, UNBOUNDED, column="area ratio", ratio=True, worst=None
    ),
    "dice_with_empty": Metric(
        "Dice score,\n1 if both masks are empty", lambda t: dice(t).fillna(1)
    ),
    "false_objects": Metric(
        "False objects of an image",
        lambda t: t["false_objects"].astype(float),
        UNBOUNDED,
        worst=None,
    ),
    "size_error": Metric("Error of the predicted size", size_error, (-1.0, 1.0), worst=None),
    "size_departure": Metric(
        "Departure from the true size", lambda t: size_error(t).abs(), worst=None
    ),
    "brier": Metric("Brier score", brier, column="Brier", worst=None),
}
"""Name -> metric; the order of the tables' columns."""


def scores(table: pd.DataFrame, *, by_class: bool = False) -> pd.DataFrame:
    """Return the rows of runs with a column ``score_NAME`` for each metric.

    A row per run, threshold and image; with `by_class` a row per class too, counts included. A run
    that diverged has the `worst` score on every image, and no counts: a user gets no more from it.
    A run that failed is left out.
    """
    ok = table[table["status"] == "ok"]
    columns = {f"score_{name}": metric.function(ok) for name, metric in METRICS.items()}
    scored = _with_diverged(table, ok.assign(**columns))
    if by_class or scored["class"].nunique() < 2:
        return scored
    image = [*key_columns(table), "threshold", "image"]
    shown = (scored["tp"] + scored["fn"] > 0).astype(bool)
    none = ~shown.groupby([scored[c] for c in image], dropna=False).transform("any")
    images = scored[shown | none].groupby(image, sort=False, dropna=False)
    return images[["threshold_value", *columns]].mean().reset_index()


def _with_diverged(table: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    """Add the rows of the runs that diverged; their images are those of other runs of the cell.

    A run that diverged has a row for each threshold, or for its own if it has one.
    """
    lost = table[table["status"] == "diverged"]
    if not len(lost):
        return scored
    lost = lost[[*key_columns(table), "threshold"]].drop_duplicates()
    cell = ["dataset", "stress", "seed"]
    images = scored[[*cell, "threshold", "image", "class"]].drop_duplicates()
    rows = lost.merge(images, on=cell, suffixes=("_own", "")).assign(status="diverged")
    own = rows["threshold_own"]
    rows = rows[own.isna() | (own == rows["threshold"])]
    worst = {f"score_{name}": metric.worst for name, metric in METRICS.items()}
    rows = rows.assign(
        **{name: np.nan if value is None else value for name, value in worst.items()}
    )
    return pd.concat([scored, rows.reindex(columns=scored.columns).astype(scored.dtypes)])


def select(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Return the rows with these values in these columns.

    >>> select(pd.DataFrame({"loss": ["dice", "focal"], "seed": [0, 0]}), loss="focal", seed=0)
        loss  seed
    1  focal     0
    """
    chosen = np.ones(len(frame), bool)
    for column, value in where.items():
        chosen &= (frame[column] == value).to_numpy(bool, na_value=False)
    return frame[chosen]


def per_seed(scored: pd.DataFrame, metric: str, where: Mapping[str, Any]) -> dict[int, np.ndarray]:
    """Return seed -> one value per test image, in the order of the images' names.

    where: columns that select one cell of `scored`: dataset, stress, axes, loss, threshold.
    """
    rows = select(scored, **where).sort_values("image")
    return {seed: group[f"score_{metric}"].to_numpy(float) for seed, group in rows.groupby("seed")}


def paired(
    scored: pd.DataFrame, metric: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[int, np.ndarray]:
    """Return seed -> differences per image, first minus second cell, for seeds in both."""
    ours, theirs = (per_seed(scored, metric, where) for where in (first, second))
    return {seed: ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))}


def sources(
    study: Study, scored: pd.DataFrame, image_sources: pd.DataFrame
) -> dict[tuple[str, str], list[str]]:
    """Return (dataset, stress) -> the source of each test image, in the order of their names.

    image_sources: dataset, stress, image, source. An image without a row is its own source.
    Generated images are left out: every seed has its own.
    """
    cell = ["dataset", "stress"]
    real = [dataset.name for dataset in study.datasets.values() if not dataset.controlled]
    images = scored.loc[scored["dataset"].isin(real), [*cell, "image"]].drop_duplicates()
    found = images.sort_values("image").merge(image_sources, how="left", on=[*cell, "image"])
    found["source"] = found["source"].fillna(found["image"])
    return {key: list(group) for key, group in found.groupby(cell)["source"]}


DETECTED = 0.1
"""Validation Dice score (pooled, 0.5) from which a model is taken to detect the foreground."""


def of_runs(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return scores of whole runs: a row per successful run, with its key columns.

    ece: expected calibration error, sum over 15 bins of |sum p - sum y| / pixels. first_step:
    first step of the learning curve with a validation Dice score of at least DETECTED, or NaN.
    noise_background, noise_foreground: share of the noisy training labels on true background
    (foreground) that the model predicts, minus the share of clean pixels of the same class that
    it gets wrong in the same way. At 0 the model has not memorised the noise.
    """
    return pd.DataFrame([_of_run(record) for record in records if record["status"] == "ok"])


def _of_run(record: Mapping[str, Any]) -> dict[str, Any]:
    bins = {k: np.array(v) for k, v in record["calibration"].items()}
    steps = [point["step"] for point in record["curve"] if point["val_dice"] >= DETECTED]
    return {
        **record["key"],
        "ece": np.abs(bins["predicted"] - bins["true"]).sum() / bins["pixels"].sum(),
        "first_step": steps[0] if steps else np.nan,
        **_memorised(record.get("noise") or {}),
    }


def _memorised(noise: Mapping[str, Any]) -> dict[str, float]:
    """Return the columns noise_background and noise_foreground of `of_runs`."""
    result = {}
    for kind in ("background", "foreground"):
        counts = noise.get(kind) or {}
        if counts.get("noisy") and counts.get("clean"):
            learned = counts["noisy_reproduced"] / counts["noisy"]
            result[f"noise_{kind}"] = learned - counts["clean_wrong"] / counts["clean"]
        else:
            result[f"noise_{kind}"] = np.nan
    return result


def collapsed(table: pd.DataFrame) -> pd.DataFrame:
    """Return two booleans per run: at 0.5 on the test images it predicts `nothing`, `everything`.

    A row per run, with its key columns.
    """
    key = key_columns(table)
    runs = select(table, status="ok", threshold="0.5").groupby(key, sort=False)
    sums = runs[["tp", "fp", "fn", "tn"]].sum()
    predicted, pixels = sums["tp"] + sums["fp"], sums.sum(axis=1)
    # Every class counts every pixel. Of classes without a threshold at 0.5, the most probable one
    # is predicted: a pixel has at most one.
    exclusive = runs["threshold_value"].count() == 0
    pixels = pixels.where(~exclusive, pixels / runs["class"].nunique())
    return pd.DataFrame(
        {"nothing": predicted == 0, "everything": predicted == pixels}
    ).reset_index()
