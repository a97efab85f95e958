"""Predicted classes and their pooled Dice scores, from probabilities."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped


def most_probable(prob: Float[np.ndarray, "n k h w"]) -> Bool[np.ndarray, "n k h w"]:
    """Return, for each class, the pixels where no class and no background is more probable.

    prob: of the k classes; the background has the rest to 1. Of equals, the first one wins.
    With one class this is p > 0.5.

    >>> most_probable(np.array([0.5, 0.6]).reshape(1, 1, 1, 2)).ravel().tolist()
    [False, True]
    """
    background = 1 - prob.sum(1, keepdims=True)
    best = np.concatenate([background, prob], axis=1).argmax(1)
    return np.stack([best == k for k in range(1, prob.shape[1] + 1)], axis=1)


def at_half(prob: Float[np.ndarray, "n k h w"], multilabel: bool) -> Bool[np.ndarray, "n k h w"]:
    """Return, for each class, the pixels that are predicted without a tuned threshold.

    These are the pixels above 0.5 of classes that may overlap (`multilabel`), else those of which
    the class is the most probable.

    >>> prob = np.array([0.9, 0.6]).reshape(1, 2, 1, 1)
    >>> at_half(prob, True).ravel().tolist(), at_half(prob, False).ravel().tolist()
    ([True, True], [True, False])
    """
    return prob > 0.5 if multilabel else most_probable(prob)


def regions(masks: Integer[np.ndarray, "n h w *k"], classes: int) -> Bool[np.ndarray, "n k h w"]:
    """Return the pixels of each class.

    masks: class numbers (n, h, w), 0 for background, or a mask of each class, (n, h, w, k).

    >>> regions(np.array([[[0, 1, 2]]]), 2).tolist()
    [[[[False, True, False]], [[False, False, True]]]]
    """
    if masks.ndim == 4:
        return masks.transpose(0, 3, 1, 2) > 0
    return masks[:, None] == np.arange(1, classes + 1)[:, None, None]


def pooled_dice(
    prob: Float[np.ndarray, "*pixels"],
    masks: Shaped[np.ndarray, "*pixels"],
    thresholds: Float[np.ndarray, " t"],
) -> Float[np.ndarray, " t"]:
    """Return 2 TP / (2 TP + FP + FN) over all pixels of all images, at each threshold.

    prob: or booleans. masks: foreground is above 0. thresholds: ascending. 0 / 0 is 0.

    >>> pooled_dice(np.array([0.2, 0.6, 0.9]), np.array([0, 1, 1]), np.array([0.1, 0.5]))
    array([0.8, 1. ])
    """
    # A histogram by threshold bin gives the sums of all thresholds in one pass over the pixels.
    bins = np.searchsorted(thresholds, prob.ravel(), side="left")
    pixels = np.bincount(bins, minlength=len(thresholds) + 1)
    foreground = np.bincount(bins[masks.ravel() > 0], minlength=len(thresholds) + 1)
    # A pixel of bin b is above the thresholds 0 .. b - 1.
    predicted = pixels[::-1].cumsum()[::-1][1:]
    tp: Int[np.ndarray, " t"] = foreground[::-1].cumsum()[::-1][1:]
    size = predicted + foreground.sum()
    return np.divide(2 * tp, size, out=np.zeros(len(thresholds)), where=size > 0)


def dice_by_class(
    predicted: Bool[np.ndarray, "n k h w"], masks: Integer[np.ndarray, "n h w *k"]
) -> list[float]:
    """Return the pooled Dice score of each class; masks: as `regions` takes them."""
    true = regions(masks, predicted.shape[1])
    return [
        float(pooled_dice(*pair, np.array([0.5]))[0])
        for pair in zip(predicted.swapaxes(0, 1), true.swapaxes(0, 1), strict=True)
    ]
