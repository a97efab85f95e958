"""Windows of real images: where they are cut, and the knob `size` of a dataset's images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Int, Shaped, UInt8
from scipy import ndimage

STRIDE = 4
"""Pixels between the candidate positions of a window."""
BEST = 5
"""Number of best positions; one of them is picked at random, so windows of an image differ."""


def window(
    rng: np.random.Generator,
    layers: Sequence[Shaped[np.ndarray, "h w *c"]],
    side: int,
    size: str = "large",
    place: str | float = "at objects",
) -> Sequence[Shaped[np.ndarray, "side side *c"]]:
    """Cut a (side, side) window of all layers.

    layers: an image, its mask, then further masks and ids of objects or classes.

    place "at objects": around a random foreground pixel, if there is one. "anywhere". "empty":
    without foreground; LookupError if there is no such window.

    size "small": four windows at half the scale, this one and three with a foreground share as
    close as possible to its share: the same fraction in smaller objects. "mixed": the left half
    of this window at full scale and two windows at half the scale on the right. The right windows
    balance the foreground share of the left half, as far as the image allows.
    """
    first = _cut(rng, layers, side, place)
    if size == "large":
        return first

    def another(share: float) -> list[np.ndarray]:
        try:
            return _halved(*_cut(rng, layers, side, share))
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


def joined(
    rng: np.random.Generator,
    layers: Sequence[Shaped[np.ndarray, "h w *c"]],
    side: int,
    pieces: int,
) -> Sequence[Shaped[np.ndarray, "side side *c"]]:
    """Return a (side, side) window without foreground, joined from `pieces` windows on each side.

    layers: as for `window`. LookupError if there is no such window.
    """
    cuts = [
        [_cut(rng, layers, side // pieces, "empty") for _ in range(pieces)] for _ in range(pieces)
    ]
    return [
        np.concatenate([np.concatenate(row, axis=1) for row in layer])
        for layer in ([[cut[n] for cut in row] for row in cuts] for n in range(len(layers)))
    ]


def to_border(
    side: int, size: str = "large", mosaic: int = 1
) -> Int[np.ndarray, "mosaic*side mosaic*side"]:
    """Return the distance of each pixel to the border of its window, 0 on the outermost pixels.

    side: of a window. The parts of a window at half the scale (`size`) count as windows.

    >>> to_border(4, "mixed").tolist()
    [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    >>> to_border(3, mosaic=2)[1].tolist()
    [0, 1, 0, 0, 1, 0]
    """

    def gaps(length: int) -> np.ndarray:
        place = np.arange(side) % length
        return np.minimum(place, length - 1 - place)

    half = side // 2 if size != "large" else side
    one = np.minimum.outer(gaps(half), gaps(half))
    if size == "mixed":
        one[:, :half] = np.minimum.outer(gaps(side), gaps(half))[:, :half]
    return np.tile(one, (mosaic, mosaic))


def _stacked(top: Sequence[np.ndarray], bottom: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(pair) for pair in zip(top, bottom, strict=True)]


def _cut(
    rng: np.random.Generator, layers: Sequence[np.ndarray], side: int, place: str | float
) -> list[np.ndarray]:
    """Cut one window at full scale; images smaller than a window are padded."""
    layers = [_padded(layer, side) for layer in layers]
    top, left = _position(rng, layers[1], side, place)
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
    rng: np.random.Generator, mask: np.ndarray, side: int, place: str | float
) -> tuple[int, int]:
    """Return the top and left of a window, see `window`.

    place: also a foreground share, which the window's share is as close as possible to.
    """
    height, width = (n - side for n in mask.shape)
    if place == "at objects" and len(inside := np.argwhere(mask)):
        centre = inside[rng.integers(len(inside))] + rng.integers(-side // 4, side // 4 + 1, 2)
        return np.clip(centre - side // 2, 0, (height, width))
    if place in ("at objects", "anywhere"):
        return rng.integers(0, height + 1), rng.integers(0, width + 1)
    top = np.unique(np.r_[np.arange(0, height + 1, STRIDE), height])
    left = np.unique(np.r_[np.arange(0, width + 1, STRIDE), width])
    y, x = np.meshgrid(top, left, indexing="ij")
    share = _foreground(mask, y, x, side) / side**2
    if place in ("empty", 0):
        empty = np.argwhere(share == 0)
        if not len(empty):
            raise LookupError(f"no window of {side} pixels is without foreground")
        index = tuple(empty[rng.integers(len(empty))])
        return y[index], x[index]
    miss = np.where(share > 0, np.abs(np.log(np.maximum(share, 1e-9) / place)), 1e3)
    best = np.argsort(miss, axis=None, kind="stable")[: max(1, min(BEST, miss.size // 10))]
    chosen = best[rng.integers(len(best))]
    return y.flat[chosen], x.flat[chosen]


def _foreground(mask: np.ndarray, y: np.ndarray, x: np.ndarray, side: int) -> np.ndarray:
    """Return the number of foreground pixels in the windows at (y, x)."""
    sums = np.pad(mask.cumsum(0).cumsum(1, dtype=np.int64), ((1, 0), (1, 0)))
    bottom, right = y + side, x + side
    return sums[bottom, right] - sums[y, right] - sums[bottom, x] + sums[y, x]
