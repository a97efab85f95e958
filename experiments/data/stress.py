"""Knobs of images and of training labels: each one is a function, registered by its name.

`change_image` and `corrupt` call the functions of the knobs that are set, in the order of this
file. To add a knob, write its function here and its row in `experiments.plan.knobs`. All else is
unchanged by a knob, and each function depends on its arguments only. Knobs of objects are in
`experiments.data.scenes`. `posterior` is the probability of a label under label noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8
from scipy import ndimage

from experiments.data import objects
from experiments.data.prepared import image_hash
from experiments.plan.knobs import KNOBS, LABEL_KNOBS
from experiments.plan.seeds import stable_seed

PLACEMENTS = 100
"""Number of random positions that are tried for an invented object."""
FLIPS = ("flips", "flips_background", "flips_foreground")

Function = TypeVar("Function", bound=Callable[..., np.ndarray])
IMAGE_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {}
"""Knob -> function (rng, image, value) -> image, in the order of application."""
LABEL_FUNCTIONS: dict[tuple[str, ...], Callable[..., np.ndarray]] = {}
"""Knobs -> function (rng, label, *values, mask=, instances=) -> label, in the order of application.

It is called once if any of its knobs is set. mask and instances: the true ones, see `corrupt`.
"""


def image_knob(name: str) -> Callable[[Function], Function]:
    """Register the function of an image knob."""

    def register(function: Function) -> Function:
        IMAGE_FUNCTIONS[name] = function
        return function

    return register


def label_knob(*names: str) -> Callable[[Function], Function]:
    """Register the function of a label knob, or of several that act together."""

    def register(function: Function) -> Function:
        LABEL_FUNCTIONS[names] = function
        return function

    return register


def _values(knobs: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [knobs.get(name, KNOBS[name].neutral) for name in names]


@image_knob("blur")
def blur(
    rng: np.random.Generator, image: UInt8[np.ndarray, "h w *c"], sigma: float
) -> UInt8[np.ndarray, "h w *c"]:
    """Smooth an image by a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


@image_knob("image_noise")
def image_noise(
    rng: np.random.Generator, image: UInt8[np.ndarray, "h w *c"], sd: float
) -> UInt8[np.ndarray, "h w *c"]:
    """Add Gaussian noise of `sd` (white is 1); values are clipped to 0 and 255."""
    noisy = image + rng.normal(0, 255 * sd, image.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


@label_knob("invented")
def invented(
    rng: np.random.Generator,
    label: UInt8[np.ndarray, "h w"],
    rate: float,
    *,
    mask: UInt8[np.ndarray, "h w"],
    instances: Integer[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w"]:
    """Add `rate` false objects per true one: copies of true objects, rotated by right angles.

    A false object touches no other object. It is left out if `PLACEMENTS` positions do not fit.
    """
    numbers, areas = objects.label(mask, instances)
    count = len(areas)
    boxes = ndimage.find_objects(numbers)
    label = label.copy()
    wanted = int(rate * count + rng.random())
    for number in rng.integers(count, size=wanted) if count else ():
        shape = np.rot90(numbers[boxes[number]] == number + 1, rng.integers(4))
        surroundings = ndimage.binary_dilation(np.pad(shape, 1), objects.TOUCHING)
        padded = np.pad(label, 1)
        free = np.array(padded.shape) - surroundings.shape
        if (free < 0).any():
            continue
        for y, x in rng.integers(0, free + 1, (PLACEMENTS, 2)):
            region = np.s_[y : y + surroundings.shape[0], x : x + surroundings.shape[1]]
            if not (padded[region] & surroundings).any():
                label[y : y + shape.shape[0], x : x + shape.shape[1]] |= shape
                break
    return label


@label_knob("missed")
def missed(
    rng: np.random.Generator,
    label: UInt8[np.ndarray, "h w"],
    rate: float,
    *,
    mask: UInt8[np.ndarray, "h w"],
    instances: Integer[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w"]:
    """Remove each true object with probability `rate`."""
    numbers, areas = objects.label(mask, instances)
    labelled = np.r_[False, rng.random(len(areas)) >= rate]
    return (label ^ mask) | labelled[numbers].astype(np.uint8)


@label_knob("overdraw")
def overdraw(
    rng: np.random.Generator, label: UInt8[np.ndarray, "h w"], pixels: float, **_: Any
) -> UInt8[np.ndarray, "h w"]:
    """Grow the foreground by `pixels` on every side, or shrink it if `pixels` is negative."""
    if not label.any() or label.all():
        return label
    if pixels > 0:
        return (ndimage.distance_transform_edt(1 - label) <= pixels).astype(np.uint8)
    return (ndimage.distance_transform_edt(label) > -pixels).astype(np.uint8)


@label_knob("shift")
def shift(
    rng: np.random.Generator, label: UInt8[np.ndarray, "h w"], pixels: float, **_: Any
) -> UInt8[np.ndarray, "h w"]:
    """Move the label by `pixels` in a random direction; the edge is repeated."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = round(pixels * np.sin(angle)), round(pixels * np.cos(angle))
    pad = [(max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0))]
    padded = np.pad(label, pad, mode="edge")
    return padded[max(-y, 0) :, max(-x, 0) :][: label.shape[0], : label.shape[1]].copy()


@label_knob("jitter")
def jitter(
    rng: np.random.Generator, label: UInt8[np.ndarray, "h w"], sd: float, **_: Any
) -> UInt8[np.ndarray, "h w"]:
    """Displace the boundary by a smooth random field of `sd` pixels."""
    if not label.any() or label.all():
        return label
    signed = ndimage.distance_transform_edt(label) - ndimage.distance_transform_edt(1 - label)
    field = ndimage.gaussian_filter(rng.normal(size=label.shape), 2.0, mode="wrap")
    return (signed + sd * field / field.std() > 0).astype(np.uint8)


@label_knob(*FLIPS)
def flips(
    rng: np.random.Generator,
    label: UInt8[np.ndarray, "h w"],
    both: float,
    background: float = 0.0,
    foreground: float = 0.0,
    **_: Any,
) -> UInt8[np.ndarray, "h w"]:
    """Flip each pixel with the probability of its side, see `flip_rates`."""
    of_background, of_foreground = flip_rates(both, background, foreground)
    rate = np.where(label, of_foreground, of_background)
    return label ^ (rng.random(label.shape) < rate).astype(np.uint8)


def flip_rates(both: float, background: float, foreground: float) -> tuple[float, float]:
    """Return the flip probabilities of background and foreground: `both` is added to each.

    >>> flip_rates(0.3, 0.0, 0.0), flip_rates(0.0, 0.1, 0.4)
    ((0.3, 0.3), (0.1, 0.4))
    """
    return both + background, both + foreground


def change_image(
    image: UInt8[np.ndarray, "h w *c"], knobs: Mapping[str, Any]
) -> UInt8[np.ndarray, "h w *c"]:
    """Apply the image knobs that are set; random draws depend on the image's content only.

    >>> change_image(np.full((1, 2), 9, np.uint8), {"flips": 0.1}).tolist()
    [[9, 9]]
    """
    for name, function in IMAGE_FUNCTIONS.items():
        if name in knobs:
            rng = np.random.default_rng(stable_seed(name, image_hash(image)))
            image = function(rng, image, knobs[name])
    return image


def corrupt(
    rng: np.random.Generator,
    mask: UInt8[np.ndarray, "h w"],
    knobs: Mapping[str, Any],
    instances: Integer[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w"]:
    """Return the training label of a true mask: objects change first, then outlines, then pixels.

    mask: the true mask, or another observer's. instances: object ids, see `objects.label`.

    >>> corrupt(np.random.default_rng(0), np.eye(2, dtype=np.uint8), {"missed": 0.99}).tolist()
    [[0, 0], [0, 0]]
    """
    label = mask
    for names, function in LABEL_FUNCTIONS.items():
        if not knobs.keys().isdisjoint(names):
            label = function(rng, label, *_values(knobs, names), mask=mask, instances=instances)
    return label


def posterior(mask: UInt8[np.ndarray, "h w"], knobs: Mapping[str, Any]) -> Float[np.ndarray, "h w"]:
    """Return P(label = 1 | true mask) of each pixel under label noise.

    q = (1 - e1) v + e0 (1 - v), v = (1 - missed) mask, with the flip probabilities e0 of
    background and e1 of foreground. Exact for `missed` and flips; ValueError on any other label
    knob.

    >>> posterior(np.array([[0, 1]]), {"flips": 0.2, "missed": 0.5}).tolist()
    [[0.2, 0.5]]
    """
    other = sorted(LABEL_KNOBS & set(knobs) - {"missed", *FLIPS})
    if other:
        raise ValueError(
            f"posterior: {other[0]!r} is not allowed; allowed: missed, {', '.join(FLIPS)} and the "
            "knobs of images"
        )
    background, foreground = flip_rates(*_values(knobs, FLIPS))
    labelled = (1 - knobs.get("missed", 0.0)) * mask
    return (1 - foreground) * labelled + background * (1 - labelled)
