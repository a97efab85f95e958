"""Controlled images: textured blobs whose every knob is exact.

Objects have wavy outlines (rougher and overlapping ones by knob), the image has texture in
foreground and background, limited contrast and sensor noise. The number of
foreground pixels is the asked-for one to the pixel.
"""

import numpy as np
from scipy import ndimage

LARGE, SMALL = 9.0, 2.0
"""Radii in pixels of the objects before the exact fraction is set (on a 64 x 64 image)."""
COMPANIONS = 4
"""Small objects beside the large one, for `size: mixed`."""
FINE = np.arange(6, 13)
"""Waves per turn of a rough outline."""
CONTRAST, TEXTURE, NOISE = 0.25, 0.10, 0.12
"""Foreground over background, sd of either texture, sd of the pixel noise (image range 0 to 1)."""


def radii(rng, pixels, size):
    """Radii of the objects that share `pixels` foreground pixels."""
    if size == "mixed":
        small = min(COMPANIONS * np.pi * SMALL**2, pixels / 2)
        base = np.r_[np.sqrt((pixels - small) / np.pi), np.full(COMPANIONS, SMALL)]
    else:
        radius = LARGE if size == "large" else SMALL
        count = max(1, round(pixels / (np.pi * radius**2)))
        base = np.full(count, np.sqrt(pixels / (np.pi * count)))
    return base * rng.uniform(0.85, 1.15, len(base))


def scene(rng, side, fraction, size, rough=0.0, overlap=0.0):
    """A grey uint8 image and its mask, both (side, side); a fraction of 0 shows background only.

    rough: sd of the outlines' fine waves, as a share of the radius. overlap: share of the objects
    that are laid across a larger one's edge. Neither changes the number of foreground pixels, the
    texture or the noise.
    """
    pixels = max(1, round(fraction * side * side)) if fraction else 0
    outline = _outlines(rng, side, radii(rng, pixels, size), rough, overlap)
    order = np.argsort(outline, axis=None, kind="stable")
    mask = np.zeros(side * side, np.uint8)
    mask[order[:pixels]] = 1
    mask = mask.reshape(side, side)
    texture = _texture(rng, side, 3.0) * TEXTURE
    shade = ndimage.gaussian_filter(mask.astype(float), 0.6) * CONTRAST
    image = 0.4 + texture + shade + rng.normal(0, NOISE, mask.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8), mask


def _texture(rng, side, sigma):
    """Smooth noise of unit standard deviation."""
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap")
    return noise / noise.std()


def _outlines(rng, side, radii, rough, overlap):
    """Signed distance in pixels (roughly) to the nearest object's outline, negative inside.

    Infinite far from every object, where it cannot matter.
    """
    field = np.full((side, side), np.inf)
    placed = np.empty((0, 3))
    beside = rng.spawn(1)[0]  # so that the knobs' draws leave all others as they are
    harmonics = np.arange(2, 6)  # the low ones carry the shape, the high ones the roughness
    for radius in sorted(radii, reverse=True):
        centre = _place(rng, side, radius, placed)
        if overlap and len(placed) and beside.random() < overlap:
            *middle, reach = placed[beside.integers(len(placed))]
            angle = beside.uniform(0, 2 * np.pi)
            across = np.array(middle) + max(reach, radius) * np.array(
                [np.sin(angle), np.cos(angle)]
            )
            centre = across.clip(1, side - 2)
        placed = np.vstack([placed, (*centre, radius)])
        reach = 2.5 * radius + 4
        box = tuple(slice(max(0, int(c - reach)), int(c + reach) + 2) for c in centre)
        y, x = np.ogrid[
            box[0].start : min(box[0].stop, side), box[1].start : min(box[1].stop, side)
        ]
        dy, dx = y - centre[0], x - centre[1]
        waves = np.arctan2(dy, dx)[..., None] * harmonics + rng.uniform(0, 2 * np.pi, 4)
        outline = 1 + np.cos(waves) @ (rng.normal(size=4) * 0.25 / harmonics)
        if rough:
            fine = np.arctan2(dy, dx)[..., None] * FINE + beside.uniform(0, 2 * np.pi, len(FINE))
            outline += np.cos(fine) @ (
                beside.normal(size=len(FINE)) * rough * np.sqrt(2 / len(FINE))
            )
        distance = np.hypot(dy, dx) - radius * outline.clip(0.5, 1.6)
        field[box] = np.minimum(field[box], distance)
    return field


def _place(rng, side, radius, placed):
    """A centre inside the image and apart from the others, if one of many tries finds one."""
    margin = min(radius + 1, side / 2 - 1)
    tries = rng.uniform(margin, side - 1 - margin, (100, 2))
    gap = np.hypot(*(tries[:, None] - placed[:, :2]).transpose(2, 0, 1)) - 1.2 * (
        radius + placed[:, 2]
    )
    apart = np.flatnonzero((gap > 3).all(1))
    return tries[apart[0] if len(apart) else -1]
