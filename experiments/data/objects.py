"""Objects of a mask: foreground pixels that touch at a side or a corner, of one instance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Shaped
from scipy import ndimage

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
