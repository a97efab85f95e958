"""Objects of a mask: foreground pixels that touch at a side or a corner, of one instance."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, Shaped
from scipy import ndimage

NEAR_BORDER = 3
"""Outermost pixels of a window that are near its border."""
TOUCHING = np.ones((3, 3), int)
"""Neighbourhood of a pixel: 8-connected."""


def label(
    mask: Shaped[np.ndarray, "h w"], instances: Shaped[np.ndarray, "h w"] | None = None
) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, " n"]]:
    """Return the object number of each pixel (from 1; 0: background) and the objects' areas.

    mask: boolean, or 0 and 1. instances: ids that separate objects that touch; None if the
    dataset has no ids. Areas are in pixels.

    >>> numbers, areas = label(np.array([[1, 1, 0, 1]]))
    >>> numbers.tolist(), areas.tolist()
    ([[1, 1, 0, 2]], [2, 1])
    >>> label(np.array([[1, 1, 0, 1]]), np.array([[7, 5, 0, 5]]))[1].tolist()
    [1, 1, 1]
    """
    if instances is None:
        numbers, count = ndimage.label(mask, TOUCHING)
    else:
        numbers, count = np.zeros(mask.shape, np.int32), 0
        for instance in np.unique(instances[mask > 0]):
            own, more = ndimage.label((mask > 0) & (instances == instance), TOUCHING)
            numbers[own > 0] = own[own > 0] + count
            count += more
    return numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:]


def summary(
    masks: Iterable[Shaped[np.ndarray, "h w"]],
    instances: Iterable[Shaped[np.ndarray, "h w"] | None],
    to_border: Int[np.ndarray, "h w"],
) -> dict[str, float]:
    """Return the number of objects per image, their sizes, and how windows cut them.

    to_border: distance of each pixel to the border of its window, `windows.to_border`.
    size_q10, size_q50, size_q90: quantiles of the sizes in pixels. near_border: share of the
    foreground that is one of the NEAR_BORDER outermost pixels. cut: share of objects that reach
    the outermost pixel: the window, or the image itself, cuts them. NaN without objects.

    >>> mask = np.eye(4, dtype=np.uint8)[:2]
    >>> summary([mask], [None], np.array([[0, 0, 0, 0], [0, 9, 9, 0]]))["cut"]
    1.0
    """
    sizes, cut, images = [], [], 0
    near = foreground = 0
    for mask, ids in zip(masks, instances, strict=True):
        numbers, areas = label(mask, ids)
        sizes.append(areas)
        cut.append(np.isin(np.arange(1, len(areas) + 1), numbers[to_border == 0]))
        near += np.count_nonzero(numbers[to_border < NEAR_BORDER])
        foreground += areas.sum()
        images += 1
    every = np.concatenate(sizes)
    q10, q50, q90 = np.quantile(every, [0.1, 0.5, 0.9]) if len(every) else [np.nan] * 3
    return {
        "objects": len(every) / images,
        "size_q10": float(q10),
        "size_q50": float(q50),
        "size_q90": float(q90),
        "near_border": near / foreground if foreground else np.nan,
        "cut": float(np.concatenate(cut).mean()) if len(every) else np.nan,
    }
