"""Predictions of least expected loss, found numerically for any loss.

In part of an image the labels differ from draw to draw, as those of annotators who disagree do. A
prediction cannot follow them: one probability is predicted for all pixels of a group. The expected
loss is the mean over DRAWS labels; in each of them exactly the expected number of a group's pixels
is foreground, at random places. `analysis.theory` has closed forms for some losses.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor, nn

SIDE = 64
DRAWS = 2
LARGEST, STEP, FINE = 12.0, 2.0, 0.02
"""Greatest logit that is searched, step of the grid, and final error of a logit."""
GRID = tuple(np.arange(-LARGEST, LARGEST + STEP, STEP).tolist())
SHARES = tuple(k / 10 for k in range(1, 10))
"""Shares of foreground labels in the doubtful group."""
RATES = (0.1, 0.2, 0.3)
"""Shares of flipped labels."""
HALVINGS = 7
"""Halvings of the interval that a threshold is searched in."""

Pairs = Iterator[tuple[float, float]]
Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Group:
    """Pixels with one share q of foreground labels, and one prediction."""

    pixels: Mask
    q: float


def square(side: int) -> Mask:
    """Return a square in the middle of the image.

    >>> int(square(16).sum())
    256
    """
    mask, low = np.zeros((SIDE, SIDE), bool), (SIDE - side) // 2
    mask[low : low + side, low : low + side] = True
    return mask


def labels(groups: Sequence[Group], sure: Mask) -> Float[Tensor, "draws 1 h w"]:
    """Return the drawn labels: foreground on `sure`, and on a share q of the pixels of a group."""
    target = np.repeat(sure[None].astype(np.float32), DRAWS, 0)
    for draw, group in itertools.product(range(DRAWS), groups):
        places = np.flatnonzero(group.pixels)
        number = round(group.q * len(places))
        chosen = np.random.default_rng(draw).permutation(places)[:number]
        target[draw].flat[chosen] = 1
    return torch.from_numpy(target)[:, None]


def minimiser(loss: nn.Module, groups: Sequence[Group], sure: Mask | None = None) -> list[float]:
    """Return the probability of least expected loss for each of one or two groups.

    sure: pixels that are labelled foreground, and predicted so; those in no group are background.
    The best logits of a grid are refined without gradients: some losses have no useful one at
    their minimum. A loss is copied for each call, so that it may count them.
    """
    sure = np.zeros((SIDE, SIDE), bool) if sure is None else sure
    target = labels(groups, sure)
    masks = [torch.from_numpy(group.pixels) for group in groups]
    base = torch.from_numpy(np.where(sure, LARGEST, -LARGEST)).float()

    def expected(logits: Sequence[float] | float) -> float:
        picture = base
        for mask, logit in zip(masks, np.atleast_1d(logits), strict=True):
            picture = torch.where(mask, float(logit), picture)
        with torch.no_grad():
            return copy.deepcopy(loss)(picture.expand_as(target).clone(), target).item()

    values = {logits: expected(logits) for logits in itertools.product(GRID, repeat=len(groups))}
    best = min(values, key=values.__getitem__)
    bounds = [(max(x - STEP, -LARGEST), min(x + STEP, LARGEST)) for x in best]
    if len(groups) == 1:
        found = minimize_scalar(expected, bounds=bounds[0], options={"xatol": FINE})
    else:  # the error of a logit decides alone: values have the noise of float32
        inwards = np.diag(np.where(np.array(best) > 0, -STEP, STEP)) / 2
        simplex = [best, *(np.array(best) + inwards)]
        options = {"xatol": FINE, "fatol": np.inf, "initial_simplex": simplex}
        found = minimize(expected, best, method="Nelder-Mead", bounds=bounds, options=options)
    logits = np.atleast_1d(found.x) if found.fun < values[best] else np.array(best)
    return (1 / (1 + np.exp(-logits))).tolist()


def rim(q: float) -> tuple[list[Group], Mask]:
    """Return a doubtful rim round a sure object; both have 9% of the image.

    >>> groups, sure = rim(0.5)
    >>> bool((groups[0].pixels & sure).any())
    False
    """
    sure = square(20)
    return [Group(square(28) & ~sure, q)], sure


def in_rim(loss: nn.Module) -> Pairs:
    """Find p on a doubtful rim round a sure object; x: share of foreground labels in the rim."""
    for q in SHARES:
        yield q, minimiser(loss, *rim(q))[0]


def rim_threshold(loss: nn.Module) -> Pairs:
    """Find the least x at which p is above 1/2 on the rim: 0 if at any x, 1 if at none.

    x: 0.5, the threshold of p.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if minimiser(loss, *rim(middle))[0] > 0.5 else (middle, high)
    yield 0.5, low if low == 0 else high if high == 1 else (low + high) / 2


def alone(loss: nn.Module) -> Pairs:
    """Find p on a doubtful object in a background without doubt; x: its share of labels."""
    for q in SHARES:
        yield q, minimiser(loss, [Group(square(16), q)])[0]


def flipped(e: float) -> list[Group]:
    """Return an object of 6% and its background, with a share e of the labels of each flipped."""
    return [Group(square(16), 1 - e), Group(~square(16), e)]


def flipped_object(loss: nn.Module) -> Pairs:
    """Find p on the object under flipped labels; x: share of labels flipped."""
    for e in RATES:
        yield e, minimiser(loss, flipped(e))[0]


def flipped_background(loss: nn.Module) -> Pairs:
    """Find p on the background under flipped labels; x: share of labels flipped."""
    for e in RATES:
        yield e, minimiser(loss, flipped(e))[1]


MEASURES = {
    "in_rim": in_rim,
    "rim_threshold": rim_threshold,
    "alone": alone,
    "flipped_object": flipped_object,
    "flipped_background": flipped_background,
}
"""Quantity -> function; its docstring defines the quantity and x."""
