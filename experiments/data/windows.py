"""Windows of real images: the knobs `size`, `fraction` and `absence` of a dataset's images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from scipy import ndimage

from experiments.plan.knobs import NATURAL

STRIDE = 4
"""Pixels between the candidate positions of a window."""
TOLERANCE = 0.1
"""Log ratio by which a window may miss the closest fraction if it cuts fewer objects."""
BEST = 5
"""Number of best positions; one of them is picked at random, so windows of an image differ."""


def window(
    rng: np.random.Generator,
    layers: Sequence[Shaped[np.ndarray, "h w *c"]],
    side: int,
    size: str = "large",
    fraction: float | str | None = None,
) -> Sequence[Shaped[np.ndarray, "side side *c"]]:
    """Cut a (side, side) window of all layers.

    layers: an image, its mask, then further masks and ids of objects or classes.

    fraction None: around a random foreground pixel, if there is one. A number: the foreground
    share is as close as possible to it, and the fewest objects are cut; objects keep their
    scale. 0: without foreground; LookupError if there is no such window. NATURAL: anywhere.

    size "small": four windows at half the scale, this one and three with a foreground share as
    close as possible to its share: the same fraction in smaller objects. "mixed": the left half
    of this window at full scale and two windows at half the scale on the right. The right windows
    balance the foreground share of the left half, as far as the image allows.
    """
    first = _cut(rng, layers, side, fraction)
    if size == "large":
        return first

    def another(share: float) -> list[np.ndarray]:
        try:
            return _halved(*_cut(rng, layers, side, share, tolerance=0))
        except LookupError:
            return _halved(*first)

    share = first[1].mean()
    if size == "small":
        left = _stacked(_halved(*first), another(share))
    else:
        left = [layer[:, : side // 2] for layer in first]
        share = np.clip(2 * share - left[1].mean(), share / 2, 1)
    right = _stacked(another(share), another(share))
    return [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True)]


def _stacked(top: Sequence[np.ndarray], bottom: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(pair) for pair in zip(top, bottom, strict=True)]


def _cut(
    rng: np.random.Generator,
    layers: Sequence[np.ndarray],
    side: int,
    fraction: float | str | None,
    tolerance: float = TOLERANCE,
) -> list[np.ndarray]:
    """Cut one window at full scale; images smaller than a window are padded."""
    layers = [_padded(layer, side) for layer in layers]
    top, left = _position(rng, layers[1], side, fraction, tolerance)
    return [np.ascontiguousarray(a[top : top + side, left : left + side]) for a in layers]


def _halved(image: np.ndarray, mask: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Return all layers at half the scale."""
    size = image.shape[1] // 2, image.shape[0] // 2
    half = halved_mask(mask)
    return [
        cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        half,
        *(
            halved_mask(layer) if layer.dtype == np.uint8 else half * _blocks(layer).max((1, 3))
            for layer in others
        ),
    ]


def _blocks(array: np.ndarray) -> np.ndarray:
    """View (h, w) as (h / 2, 2, w / 2, 2)."""
    height, width = array.shape
    return array.reshape(height // 2, 2, width // 2, 2)


def halved_mask(mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h/2 w/2"]:
    """Return a mask at half the scale with the same foreground fraction (at least one pixel).

    A threshold on the coverage would make thin structures vanish or swell. Instead the pixels
    with the highest coverage are taken; among equal ones those surrounded by foreground.

    >>> halved_mask(np.array([[1, 1, 0, 0], [1, 1, 0, 1]], np.uint8)).tolist()
    [[1, 0]]
    """
    share = _blocks(mask).mean((1, 3))
    ranked = np.argsort(-share - 0.01 * ndimage.gaussian_filter(share, 1), axis=None, kind="stable")
    half = np.zeros(share.size, np.uint8)
    half[ranked[: max(round(share.sum()), int(mask.any()))]] = 1
    return half.reshape(share.shape)


def _padded(array: np.ndarray, side: int) -> np.ndarray:
    """Mirror an array at its edges until it is at least (side, side)."""
    missing = [max(0, side - n) for n in array.shape[:2]]
    pad = [(n // 2, n - n // 2) for n in missing]
    return np.pad(array, pad + [(0, 0)] * (array.ndim - 2), mode="symmetric")


def _position(
    rng: np.random.Generator,
    mask: np.ndarray,
    side: int,
    fraction: float | str | None,
    tolerance: float,
) -> tuple[int, int]:
    """Return the top and left of a window, see `window`."""
    height, width = (n - side for n in mask.shape)
    if fraction is None:
        inside = np.argwhere(mask)
        if len(inside):
            centre = inside[rng.integers(len(inside))] + rng.integers(-side // 4, side // 4 + 1, 2)
            return np.clip(centre - side // 2, 0, (height, width))
    if fraction in (None, NATURAL):
        return rng.integers(0, height + 1), rng.integers(0, width + 1)
    top = np.unique(np.r_[np.arange(0, height + 1, STRIDE), height])
    left = np.unique(np.r_[np.arange(0, width + 1, STRIDE), width])
    y, x = np.meshgrid(top, left, indexing="ij")
    pixels, inner = _foreground(mask, y, x, side)
    share = pixels / side**2
    if fraction == 0:
        empty = np.argwhere(share == 0)
        if not len(empty):
            raise LookupError(f"no window of {side} pixels is without foreground")
        index = tuple(empty[rng.integers(len(empty))])
        return y[index], x[index]
    miss = np.where(share > 0, np.abs(np.log(np.maximum(share, 1e-9) / fraction)), 1e3)
    # Foreground on the window's edge measures how many objects the window cuts.
    edge = np.where(miss <= miss.min() + tolerance, pixels - inner, np.inf)
    best = np.lexsort((miss.ravel(), edge.ravel()))[: max(1, min(BEST, miss.size // 10))]
    chosen = best[rng.integers(len(best))]
    return y.flat[chosen], x.flat[chosen]


def _foreground(
    mask: np.ndarray, y: np.ndarray, x: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the foreground pixels of windows at (y, x), and those not at the windows' edges."""
    sums = np.pad(mask.cumsum(0).cumsum(1, dtype=np.int64), ((1, 0), (1, 0)))

    def within(margin: int) -> np.ndarray:
        top, left, bottom, right = y + margin, x + margin, y + side - margin, x + side - margin
        return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]

    return within(0), within(1)
