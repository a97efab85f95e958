"""From a run's predictions to its counts; the threshold is tuned on the validation images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Integer, Shaped

from experiments.runs.overlap import at_half, dice_by_class, pooled_dice, regions
from experiments.runs.predictions import THRESHOLDS, Predictions
from experiments.runs.truth import Truth, truths

if TYPE_CHECKING:
    from experiments.runs.batches import Cell

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Results of a run's predictions, as its record and ``counts.csv`` hold them.

    threshold: class -> tuned threshold. val_dice: class -> score at "0.5" and "tuned".
    counts: rows of ``counts.csv``. noise: None unless the training labels are noisy.
    """

    threshold: dict[str, float]
    val_dice: dict[str, dict[str, float]]
    counts: list[dict[str, str | int | float]]
    calibration: dict[str, list[float]]
    noise: dict[str, dict[str, int]] | None = None


def evaluate(predictions: Predictions, cell: Cell) -> Evaluation:
    """Tune the thresholds of a run on the validation images and count its test predictions."""
    test = _truths(cell)
    threshold, val_dice = tune(predictions.val, cell.val_masks, cell.classes)
    return Evaluation(
        threshold,
        val_dice,
        count(predictions.test, test, threshold, multilabel=cell.multilabel),
        calibration(predictions.test, test),
        None if cell.clean is None else _noise(predictions.train, cell),
    )


@lru_cache(maxsize=2)
def _truths(cell: Cell) -> dict[str, list[Truth]]:
    """Return the truths of a cell; the runs of the cell share their distances and objects."""
    return truths(cell.data)


def _noise(prob: Float[np.ndarray, "n k h w"], cell: Cell) -> dict[str, dict[str, int]]:
    counted = slice(None) if cell.ignored is None else cell.ignored == 0
    return reproduced(prob[:, 0][counted], cell.masks[counted], cell.clean[counted])


def tune(
    prob: Float[np.ndarray, "n k h w"], masks: Integer[np.ndarray, "n h w *k"], classes: list[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return (thresholds, scores) per class: the threshold with the best pooled Dice, and Dice.

    masks: class numbers, 0 for background, or a mask of each class that may overlap others. Each
    class is tuned alone, against the rest. Scores are those of `at_half` ("0.5") and of the
    threshold ("tuned"). Of equally good thresholds, the one nearest to 0.5 is chosen.
    """
    thresholds, scores = {}, {}
    untuned = dice_by_class(at_half(prob, multilabel=masks.ndim == 4), masks)
    true = regions(masks, len(classes))
    for k, name in enumerate(classes):
        dice = pooled_dice(prob[:, k], true[:, k], THRESHOLDS)
        best = THRESHOLDS[dice >= dice.max() - 1e-12]
        thresholds[name] = float(best[np.abs(best - 0.5).argmin()])
        scores[name] = {"0.5": untuned[k], "tuned": float(dice.max())}
    return thresholds, scores


def count(
    prob: Float[np.ndarray, "n k h w"],
    truths: dict[str, list[Truth]],
    tuned: dict[str, float] | None = None,
    *,
    multilabel: bool = False,
) -> list[dict[str, str | int | float]]:
    """Return rows of ``counts.csv``, one per threshold, class and image.

    truths: for each of the k classes, those of the n images. tuned: class -> threshold; without
    it, the rows are at 0.5 only. multilabel: the classes may overlap.
    """
    predictions = {"0.5": at_half(prob, multilabel)}
    if tuned:
        thresholds = np.array([tuned[name] for name in truths], prob.dtype)
        predictions["tuned"] = prob > thresholds[:, None, None]
    return [
        {"image": truth.stem, "class": name, "threshold": threshold}
        | truth.count(mask)
        | {"squared_error": float(np.square((p - truth.mask)[truth.counted], dtype=float).sum())}
        for threshold, predicted in predictions.items()
        for k, (name, of_class) in enumerate(truths.items())
        for p, mask, truth in zip(prob[:, k], predicted[:, k], of_class, strict=True)
    ]


def calibration(
    prob: Float[np.ndarray, "n k h w"], truths: dict[str, list[Truth]]
) -> dict[str, list[float]]:
    """Return pixels, sum of p and sum of truths, in CALIBRATION_BINS equal bins of p.

    truths: for each of the k classes, those of the n images. A pixel is counted once per class.
    """
    pairs = [
        (p[truth.counted], truth.mask[truth.counted])
        for of_class, true in zip(prob.swapaxes(0, 1), truths.values(), strict=True)
        for p, truth in zip(of_class, true, strict=True)
    ]
    prob, masks = map(np.concatenate, zip(*pairs, strict=True))
    bins = np.minimum((prob * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    sums = {"pixels": None, "predicted": prob, "true": masks}
    return {
        name: np.bincount(bins, values, minlength=CALIBRATION_BINS).tolist()
        for name, values in sums.items()
    }


def reproduced(
    prob: Float[np.ndarray, "*pixels"],
    labels: Shaped[np.ndarray, "*pixels"],
    clean: Shaped[np.ndarray, "*pixels"],
) -> dict[str, dict[str, int]]:
    """Return, by true class, the noisy training labels and those that the model reproduces.

    The clean labels and those that are predicted wrongly are counted too: a model that did not
    memorise the noise gets that share wrong.

    >>> reproduced(np.array([0.9, 0.1]), np.array([1, 0]), np.array([0, 0]))["background"]
    {'noisy': 1, 'noisy_reproduced': 1, 'clean': 1, 'clean_wrong': 0}
    """
    predicted = prob > 0.5
    noisy = labels != clean
    result = {}
    for name, of_class in (("background", clean == 0), ("foreground", clean > 0)):
        wrong = of_class & (predicted != (clean > 0))
        result[name] = {
            "noisy": int(np.count_nonzero(of_class & noisy)),
            "noisy_reproduced": int(np.count_nonzero(wrong & noisy)),
            "clean": int(np.count_nonzero(of_class & ~noisy)),
            "clean_wrong": int(np.count_nonzero(wrong & ~noisy)),
        }
    return result
