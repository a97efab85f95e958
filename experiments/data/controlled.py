"""Generated images: blobs with texture, low contrast and sensor noise; every knob is exact.

Outlines are wavy, and rougher or overlapping if a knob is set. The number of foreground pixels is
exact.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

LARGE, SMALL = 9.0, 2.0
"""Radii of the objects in pixels, before the exact fraction is set (on a 64 x 64 image)."""
COMPANIONS = 4
"""Small objects next to the large one, for `size: mixed`."""
HARMONICS = np.arange(2, 6)
"""Waves per turn of each outline."""
FINE = np.arange(6, 13)
"""Waves per turn of a rough outline."""
CONTRAST, TEXTURE, NOISE = 0.25, 0.10, 0.12
"""Foreground minus background, sd of each texture, sd of pixel noise (image range 0 to 1)."""
PLACEMENTS, GAP = 100, 3
"""Number of random centres that are tried for an object, and pixels between two objects."""


def radii(rng: np.random.Generator, pixels: int, size: str) -> Float[np.ndarray, " n"]:
    """Return the radii of the objects that share `pixels` foreground pixels.

    size: "large", "small" or "mixed" (one large object and COMPANIONS small ones).
    """
    if size == "mixed":
        small = min(COMPANIONS * np.pi * SMALL**2, pixels / 2)
        base = np.r_[np.sqrt((pixels - small) / np.pi), np.full(COMPANIONS, SMALL)]
    else:
        radius = LARGE if size == "large" else SMALL
        count = max(1, round(pixels / (np.pi * radius**2)))
        base = np.full(count, np.sqrt(pixels / (np.pi * count)))
    return base * rng.uniform(0.85, 1.15, len(base))


def scene(
    rng: np.random.Generator,
    side: int,
    fraction: float,
    size: str,
    rough: float = 0.0,
    overlap: float = 0.0,
) -> tuple[UInt8[np.ndarray, "side side"], UInt8[np.ndarray, "side side"]]:
    """Return a grey image and its mask of 0 and 1.

    fraction: share of foreground pixels, exact; 0 shows background only. rough: sd of the fine
    waves of outlines, as a share of the radius. overlap: share of the objects that are placed
    across the edge of a larger one. Both leave the number of foreground pixels, texture and
    noise unchanged.

    >>> image, mask = scene(np.random.default_rng(0), 32, 0.125, "large")
    >>> image.shape, int(mask.sum())
    ((32, 32), 128)
    """
    pixels = max(1, round(fraction * side * side)) if fraction else 0
    distance = _distances(rng, side, radii(rng, pixels, size), rough, overlap)
    order = np.argsort(distance, axis=None, kind="stable")
    mask = np.zeros(side * side, np.uint8)
    mask[order[:pixels]] = 1
    mask = mask.reshape(side, side)
    texture = _texture(rng, side, 3.0) * TEXTURE
    shade = ndimage.gaussian_filter(mask.astype(float), 0.6) * CONTRAST
    image = 0.4 + texture + shade + rng.normal(0, NOISE, mask.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8), mask


def _texture(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    """Return smooth noise of unit standard deviation."""
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap")
    return noise / noise.std()


def _distances(
    rng: np.random.Generator, side: int, radii: Iterable[float], rough: float, overlap: float
) -> np.ndarray:
    """Return the approximate signed distance to the nearest outline in pixels, negative inside.

    It is infinite far from all objects, where it has no effect.
    """
    field = np.full((side, side), np.inf)
    placed = np.empty((0, 3))
    knob_rng = rng.spawn(1)[0]  # a generator of its own: the knobs change no other random draw
    for radius in sorted(radii, reverse=True):
        centre = _centre(rng, side, radius, placed)
        if overlap and len(placed) and knob_rng.random() < overlap:
            centre = _across(knob_rng, side, radius, placed)
        placed = np.vstack([placed, (*centre, radius)])
        reach = 2.5 * radius + 4
        box = tuple(slice(max(0, int(c - reach)), int(c + reach) + 2) for c in centre)
        y, x = np.ogrid[
            box[0].start : min(box[0].stop, side), box[1].start : min(box[1].stop, side)
        ]
        dy, dx = y - centre[0], x - centre[1]
        angle = np.arctan2(dy, dx)[..., None]
        waves = angle * HARMONICS + rng.uniform(0, 2 * np.pi, len(HARMONICS))
        outline = 1 + np.cos(waves) @ (rng.normal(size=len(HARMONICS)) * 0.25 / HARMONICS)
        if rough:
            fine = angle * FINE + knob_rng.uniform(0, 2 * np.pi, len(FINE))
            outline += np.cos(fine) @ (
                knob_rng.normal(size=len(FINE)) * rough * np.sqrt(2 / len(FINE))
            )
        distance = np.hypot(dy, dx) - radius * outline.clip(0.5, 1.6)
        field[box] = np.minimum(field[box], distance)
    return field


def _across(rng: np.random.Generator, side: int, radius: float, placed: np.ndarray) -> np.ndarray:
    """Return a centre on the edge of a random placed object; placed: (n, 3) of y, x, radius."""
    *middle, reach = placed[rng.integers(len(placed))]
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    return (np.array(middle) + max(reach, radius) * direction).clip(1, side - 2)


def _centre(rng: np.random.Generator, side: int, radius: float, placed: np.ndarray) -> np.ndarray:
    """Return a centre inside the image and apart from placed objects, if a random try finds one."""
    margin = min(radius + 1, side / 2 - 1)
    tries = rng.uniform(margin, side - 1 - margin, (PLACEMENTS, 2))
    gap = np.hypot(*(tries[:, None] - placed[:, :2]).transpose(2, 0, 1)) - 1.2 * (
        radius + placed[:, 2]
    )
    apart = np.flatnonzero((gap > GAP).all(1))
    return tries[apart[0] if len(apart) else -1]
