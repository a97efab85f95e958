"""Stresses: one knob of a dataset turned, all else equal; a pure function of (image, knob, seed).

`window` cuts the scene (knobs `size` and `fraction`) out of an image of any dataset; `blur`,
`jitter` and `flips` work on what was cut or generated. Labels are stressed in training only.
"""

import cv2
import numpy as np
from scipy import ndimage

SCALE = 0.5
"""Of the images for `size: small`, and of one half of each for `size: mixed`."""
STRIDE = 4
"""Pixels between the window positions that are weighed against each other."""


def window(rng, image, mask, side, size="large", fraction=None):
    """A (side, side) window of an image and its mask.

    Without `fraction` the window lies round an object, where there is one; with it, where the
    share of foreground comes nearest to it (the same objects at the same scale, with more or
    less background). `size: small` shows the image at half the scale; `mixed` shows the left
    half at full scale and the right half at half of it.
    """
    if size == "mixed":
        parts = [window(rng, image, mask, side, s, fraction) for s in ("large", "small")]
        (left, left_mask), (right, right_mask) = parts
        half = side // 2
        return (
            np.concatenate([left[:, :half], right[:, half:]], 1),
            np.concatenate([left_mask[:, :half], right_mask[:, half:]], 1),
        )
    if size == "small":
        shape = [max(1, round(n * SCALE)) for n in mask.shape[::-1]]
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
        share = cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
        mask = (share >= 0.5).astype(np.uint8)
    image, mask = _at_least(image, side), _at_least(mask, side)
    top, left = _position(rng, mask, side, fraction)
    cut = np.s_[top : top + side, left : left + side]
    return np.ascontiguousarray(image[cut]), np.ascontiguousarray(mask[cut])


def _at_least(array, side):
    """Mirrored at its edges until it is at least side x side."""
    height, width = array.shape[:2]
    pad = [
        (max(0, side - n) // 2, max(0, side - n) - max(0, side - n) // 2) for n in (height, width)
    ]
    return np.pad(array, pad + [(0, 0)] * (array.ndim - 2), mode="symmetric")


def _position(rng, mask, side, fraction):
    height, width = (n - side for n in mask.shape)
    if fraction is None:
        inside = np.argwhere(mask)
        if len(inside):
            centre = inside[rng.integers(len(inside))] + rng.integers(-side // 4, side // 4 + 1, 2)
            return np.clip(centre - side // 2, 0, (height, width))
        return rng.integers(0, height + 1), rng.integers(0, width + 1)
    sums = np.pad(mask.cumsum(0).cumsum(1, dtype=np.int64), ((1, 0), (1, 0)))
    top = np.unique(np.r_[np.arange(0, height + 1, STRIDE), height])
    left = np.unique(np.r_[np.arange(0, width + 1, STRIDE), width])
    y, x = np.meshgrid(top, left, indexing="ij")
    share = (
        sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
    ) / side**2
    away = np.where(share > 0, np.abs(np.log(np.maximum(share, 1e-9) / fraction)), 1e3)
    # One of the best positions, so that several windows of an image differ.
    best = np.argsort(away, axis=None, kind="stable")[: max(1, min(5, away.size // 10))]
    chosen = best[rng.integers(len(best))]
    return y.flat[chosen], x.flat[chosen]


def blur(image, sigma):
    """The image under a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def jitter(rng, mask, sd):
    """The mask with its boundary displaced by a smooth random field of `sd` pixels."""
    if not mask.any() or mask.all():
        return mask
    signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(1 - mask)
    field = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2.0, mode="wrap")
    return (signed + sd * field / field.std() > 0).astype(np.uint8)


def flips(rng, mask, rate):
    """The mask with each pixel flipped with probability `rate`."""
    return mask ^ (rng.random(mask.shape) < rate).astype(np.uint8)
