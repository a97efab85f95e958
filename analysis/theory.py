"""The prediction that minimises each loss in expectation, in closed form.

Notation: pixels with posterior q = P(y = 1 | x), in groups of equal q that are shares w of the
image, sum w = 1; p the prediction. For many pixels sums are near their expectations. With
g = sum w q the losses become, up to terms of order 1 / pixels,

    cross-entropy    -sum w (q log p + (1 - q) log(1 - p))
    Dice             1 - 2 sum w p q / (sum w p + g)
    squared Dice     1 - 2 sum w p q / (sum w p^2 + g)        (y^2 = y for hard labels)
    article          1 - (2 / N) sum w p q / ((sum w p)^2 + g^2), N the pixels

Images with few foreground pixels depart from this: the sums of a batch scatter by 1 / sqrt(N g),
which blurs the break-down below over a range of flip rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

THRESHOLD = 0.5


@dataclass(frozen=True)
class Groups:
    """Groups of pixels: posteriors q, highest first, and shares w of the image."""

    q: Float[np.ndarray, " groups"]
    w: Float[np.ndarray, " groups"]

    @property
    def g(self) -> float:
        """The expected share of foreground labels."""
        return float(self.w @ self.q)


def grouped(q: Sequence[float], w: Sequence[float]) -> Groups:
    """Return groups, sorted by posterior; the shares are scaled to sum 1.

    >>> grouped([0.1, 0.9], [3, 1]).w.tolist()
    [0.25, 0.75]
    """
    q, w = np.asarray(q, float), np.asarray(w, float)
    order = np.argsort(-q, kind="stable")
    return Groups(q[order], w[order] / w.sum())


def flipped(f: float, e: float) -> Groups:
    """Return the groups of foreground share f with each label flipped with probability e.

    q = 1 - e on the true foreground, e on the background.

    >>> float(round(flipped(0.1, 0.2).g, 3))
    0.26
    """
    return grouped([1 - e, e], [f, 1 - f])


def cross_entropy(pixels: Groups) -> Float[np.ndarray, " groups"]:
    """p = q: each pixel's term is minimal there, (p - q) / (p (1 - p)) = 0."""
    return pixels.q


def dice(pixels: Groups) -> Float[np.ndarray, " groups"]:
    """p = 1 if q > d / 2, else 0, with d the Dice score that is reached.

    The score is (2 sum w p q) / (sum w p + g). Its derivative in p_i has the sign of
    2 q_i - d: raising p_i helps while q_i > d / 2 and hurts otherwise. So p is 0 or 1, and the
    pixels with p = 1 are those of the highest posteriors. Every number of groups is tried.

    >>> dice(flipped(0.1, 0.05)).tolist()
    [1.0, 0.0]
    """
    chosen = np.tril(np.ones((len(pixels.q), len(pixels.q))))
    score = 2 * chosen @ (pixels.w * pixels.q) / (chosen @ pixels.w + pixels.g)
    return chosen[np.argmax(score)]


def squared_dice(pixels: Groups) -> Float[np.ndarray, " groups"]:
    """p = min(1, q / d), with d the score (2 sum w p q) / (sum w p^2 + g) that is reached.

    Its derivative in p_i has the sign of q_i - d p_i: p_i = q_i / d if that is below 1. If no
    group is above 1, d^2 = sum w q^2 / g; else d is the root of 2 sum w p q - d (sum w p^2 + g).
    """

    def rest(d: float) -> float:
        p = np.minimum(1, pixels.q / d)
        return 2 * pixels.w @ (p * pixels.q) - d * (pixels.w @ p**2 + pixels.g)

    return np.minimum(1, pixels.q / brentq(rest, 1e-9, 1))


def article(pixels: Groups) -> Float[np.ndarray, " groups"]:
    """The highest posteriors, up to the volume s that maximises I(s) / (s^2 + g^2).

    Only the volume s = sum w p is in the denominator, so for a given s the highest posteriors are
    best: I(s) is piecewise linear, c + q s within a group. The maximum of
    (c + q s) / (s^2 + g^2) is at q s^2 + 2 c s - q g^2 = 0, or at an end of the group. It does not
    depend on N.
    """
    best, chosen = -1.0, None
    start = mass = 0.0
    for k, (q, w) in enumerate(zip(pixels.q, pixels.w, strict=True)):
        c = mass - q * start
        inside = (-c + np.sqrt(c**2 + (q * pixels.g) ** 2)) / q if q > 0 else start
        for s in (start, min(max(inside, start), start + w), start + w):
            value = (c + q * s) / (s**2 + pixels.g**2)
            if value > best:
                best = value
                chosen = np.r_[np.ones(k), (s - start) / w, np.zeros(len(pixels.q) - k - 1)]
        start, mass = start + w, mass + q * w
    return chosen


MINIMISERS = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "squared_dice": squared_dice,
    "article_dice": article,
}
"""Loss -> its minimiser: a prediction for each group."""
BY_VOLUME = (article,)
"""Minimisers that determine the predicted volume only: any pixels of equal posterior fill it."""


def predicted_share(loss: str, f: float, e: float) -> float:
    """Return the share of pixels predicted foreground (p > 1/2) for foreground share f, flips e.

    For a minimiser that determines the volume only, the share is the volume, as if each pixel
    were predicted 0 or 1.

    >>> predicted_share("dice", 0.06, 0.1), predicted_share("dice", 0.06, 0.2)
    (0.06, 1.0)
    """
    pixels = flipped(f, e)
    minimiser = MINIMISERS[loss]
    p = minimiser(pixels)
    return float(pixels.w @ (p if minimiser in BY_VOLUME else p > THRESHOLD))


def breakdown(loss: str, f: float) -> float:
    """Return the flip rate from which a loss calls every pixel foreground; 1/2 if it never does.

    Dice takes the background too if D2 = 2 g / (1 + g) is above D1 = 2 f (1 - e) / (f + g);
    squared Dice if the background's e / d is above 1/2.

    >>> breakdown("cross_entropy", 0.06)
    0.5
    """

    def everything(e: float) -> bool:
        return predicted_share(loss, f, e) > 1 - 1e-9

    low, high = 0.0, 0.5 - 1e-6
    if not everything(high):
        return 0.5
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if everything(middle) else (middle, high)
    return high
