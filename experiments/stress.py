"""Stresses: one knob of a dataset turned, all else equal; a pure function of (image, knob, seed).

`window` cuts the scene (knobs `size`, `fraction` and `absence`) out of an image of any dataset;
`blur` and `image_noise` work on the image that was cut or generated, `corrupt` on its label.
Labels are corrupted in training only. `posterior` is what label noise leaves to be known.
"""

import cv2
import numpy as np
from scipy import ndimage

from experiments import objects
from experiments.plan import LABEL_KNOBS, NATURAL

STRIDE = 4
"""Pixels between the window positions that are weighed against each other."""
NEAR = 0.1
"""By how much, relatively, a window may miss the fraction to cut fewer objects."""
TRIES = 100
"""Places that are tried for an object that is made up."""


def window(rng, layers, side, size="large", fraction=None):
    """A (side, side) window of the layers: an image, its mask, other masks of it, object ids.

    Without `fraction` the window lies round an object, where there is one; with it, where the
    share of foreground comes nearest to it and fewest objects are cut (the same objects at the
    same scale, with more or less background); with 0, where there is none, and LookupError if
    there is no such place; with NATURAL, anywhere.
    `size: small` shows four windows of the image at half the scale, that one and others of a
    fraction as near as can be: as much foreground in smaller objects. `mixed` shows the left half
    of that window at full scale and two windows at half of it on the right, which make up for what
    the left half has too much or too little, as far as the image has such.
    """
    first = _cut(rng, layers, side, fraction)
    if size == "large":
        return first

    def another(share):
        try:
            return _halved(*_cut(rng, layers, side, share, near=0))
        except LookupError:
            return _halved(*first)

    share = first[1].mean()
    if size == "small":
        left = _column(_halved(*first), another(share))
    else:
        left = [layer[:, : side // 2] for layer in first]
        share = np.clip(2 * share - left[1].mean(), share / 2, 1)
    right = _column(another(share), another(share))
    return tuple(np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True))


def _column(*tiles):
    return [np.concatenate(arrays) for arrays in zip(*tiles, strict=True)]


def _cut(rng, layers, side, fraction, near=NEAR):
    layers = [_at_least(layer, side) for layer in layers]
    top, left = _position(rng, layers[1], side, fraction, near)
    return [np.ascontiguousarray(v[top : top + side, left : left + side]) for v in layers]


def _halved(image, mask, *others):
    """All at half the scale."""
    size = image.shape[1] // 2, image.shape[0] // 2
    half = _halved_mask(mask)
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        half,
        *(
            _halved_mask(m) if m.dtype == np.uint8 else half * _blocks(m).max((1, 3))
            for m in others
        ),
    )


def _blocks(array):
    """(H, W) as (H / 2, 2, W / 2, 2)."""
    height, width = array.shape
    return array.reshape(height // 2, 2, width // 2, 2)


def _halved_mask(mask):
    """A mask at half the scale, its fraction kept to the pixel (and one pixel at least).

    A threshold on the coverage would make thin structures vanish or swell; the pixels that are
    covered most are taken instead, and of equally covered ones those amid foreground.
    """
    share = _blocks(mask).mean((1, 3))
    ranked = np.argsort(-share - 0.01 * ndimage.gaussian_filter(share, 1), axis=None, kind="stable")
    half = np.zeros(share.size, np.uint8)
    half[ranked[: max(round(share.sum()), int(mask.any()))]] = 1
    return half.reshape(share.shape)


def _at_least(array, side):
    """Mirrored at its edges until it is at least side x side."""
    height, width = array.shape[:2]
    pad = [
        (max(0, side - n) // 2, max(0, side - n) - max(0, side - n) // 2) for n in (height, width)
    ]
    return np.pad(array, pad + [(0, 0)] * (array.ndim - 2), mode="symmetric")


def _position(rng, mask, side, fraction, near):
    height, width = (n - side for n in mask.shape)
    if fraction is None:
        inside = np.argwhere(mask)
        if len(inside):
            centre = inside[rng.integers(len(inside))] + rng.integers(-side // 4, side // 4 + 1, 2)
            return np.clip(centre - side // 2, 0, (height, width))
    if fraction in (None, NATURAL):
        return rng.integers(0, height + 1), rng.integers(0, width + 1)
    sums = np.pad(mask.cumsum(0).cumsum(1, dtype=np.int64), ((1, 0), (1, 0)))
    top = np.unique(np.r_[np.arange(0, height + 1, STRIDE), height])
    left = np.unique(np.r_[np.arange(0, width + 1, STRIDE), width])
    y, x = np.meshgrid(top, left, indexing="ij")

    def within(margin):
        """Foreground of each window less a margin on every side, in pixels."""
        top, left, bottom, right = y + margin, x + margin, y + side - margin, x + side - margin
        return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]

    share = within(0) / side**2
    if fraction == 0:
        free = np.argwhere(share == 0)
        if not len(free):
            raise LookupError(f"no window of {side} pixels is without foreground")
        at = tuple(free[rng.integers(len(free))])
        return y[at], x[at]
    away = np.where(share > 0, np.abs(np.log(np.maximum(share, 1e-9) / fraction)), 1e3)
    # Of windows that come as near as can be, give or take `near`, those that cut objects least.
    cut = np.where(away <= away.min() + near, within(0) - within(1), np.inf)
    # One of the best positions, so that several windows of an image differ.
    best = np.lexsort((away.ravel(), cut.ravel()))[: max(1, min(5, away.size // 10))]
    chosen = best[rng.integers(len(best))]
    return y.flat[chosen], x.flat[chosen]


def blur(image, sigma):
    """The image under a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def image_noise(rng, image, sd):
    """The image with Gaussian noise of `sd` (white is 1), clipped to what a pixel can hold."""
    noisy = image + rng.normal(0, 255 * sd, image.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def missed(rng, mask, rate, instances=None):
    """The mask less each object with probability `rate`."""
    numbers, areas = objects.label(mask, instances)
    kept = np.r_[False, rng.random(len(areas)) >= rate]
    return kept[numbers].astype(np.uint8)


def invented(rng, mask, rate, instances=None):
    """The mask with `rate` false objects per object: its own shapes, turned, where they fit.

    A false object touches none that is there; one that fits nowhere is left out.
    """
    numbers, areas = objects.label(mask, instances)
    count = len(areas)
    boxes = ndimage.find_objects(numbers)
    result = mask.copy()
    wanted = int(rate * count + rng.random())
    for number in rng.integers(count, size=wanted) if count else ():
        shape = np.rot90(numbers[boxes[number]] == number + 1, rng.integers(4))
        near = ndimage.binary_dilation(np.pad(shape, 1), objects.TOUCHING)
        room = np.pad(result, 1)
        free = np.array(room.shape) - near.shape
        if (free < 0).any():
            continue
        for y, x in rng.integers(0, free + 1, (TRIES, 2)):
            there = np.s_[y : y + near.shape[0], x : x + near.shape[1]]
            if not (room[there] & near).any():
                result[y : y + shape.shape[0], x : x + shape.shape[1]] |= shape
                break
    return result


def overdraw(rng, mask, pixels):
    """The mask grown by `pixels` on every side, or shrunk where they are negative."""
    if not mask.any() or mask.all():
        return mask
    if pixels > 0:
        return (ndimage.distance_transform_edt(1 - mask) <= pixels).astype(np.uint8)
    return (ndimage.distance_transform_edt(mask) > -pixels).astype(np.uint8)


def shift(rng, mask, pixels):
    """The mask moved by `pixels` in a random direction; what comes in repeats the edge."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = round(pixels * np.sin(angle)), round(pixels * np.cos(angle))
    pad = [(max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0))]
    padded = np.pad(mask, pad, mode="edge")
    return padded[max(-y, 0) :, max(-x, 0) :][: mask.shape[0], : mask.shape[1]].copy()


def jitter(rng, mask, sd):
    """The mask with its boundary displaced by a smooth random field of `sd` pixels."""
    if not mask.any() or mask.all():
        return mask
    signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(1 - mask)
    field = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2.0, mode="wrap")
    return (signed + sd * field / field.std() > 0).astype(np.uint8)


def flips(rng, mask, background, foreground=None):
    """The mask with each pixel flipped with the probability of its side (one for both)."""
    rate = np.where(mask, background if foreground is None else foreground, background)
    return mask ^ (rng.random(mask.shape) < rate).astype(np.uint8)


def flip_rates(knobs):
    """(background, foreground): with what probability a pixel of either side is flipped."""
    both = knobs.get("flips", 0.0)
    return knobs.get("flips_background", both), knobs.get("flips_foreground", both)


def corrupt(rng, mask, knobs, instances=None):
    """The training label of a true (or another observer's) mask: objects, outline, then pixels.

    instances: as `objects.label` takes them.
    """
    label = mask
    if "invented" in knobs:
        label = invented(rng, mask, knobs["invented"], instances)
    if "missed" in knobs:
        label = (label ^ mask) | missed(rng, mask, knobs["missed"], instances)
    for turn in (overdraw, shift, jitter):
        if turn.__name__ in knobs:
            label = turn(rng, label, knobs[turn.__name__])
    if any(flip_rates(knobs)):
        label = flips(rng, label, *flip_rates(knobs))
    return label


def posterior(mask, knobs):
    """P(label = 1 | true mask) of each pixel, float64 (H, W), under label noise.

    q = (1 - e1) v + e0 (1 - v), v = (1 - missed) mask; e0 and e1 are the probabilities with
    which background and foreground are flipped. Exact for `missed` and the kinds of flips;
    ValueError names any other knob of labels.
    """
    other = sorted(
        LABEL_KNOBS & set(knobs) - {"missed", "flips", "flips_background", "flips_foreground"}
    )
    if other:
        raise ValueError(
            f"posterior: {other[0]!r} is not allowed; allowed: missed, flips, flips_background, "
            "flips_foreground and the knobs of images"
        )
    background, foreground = flip_rates(knobs)
    drawn = (1 - knobs.get("missed", 0.0)) * mask
    return (1 - foreground) * drawn + background * (1 - drawn)
