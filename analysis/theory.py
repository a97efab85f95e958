"""What each loss asks for in expectation: the prediction that minimises it, in closed form.

Notation: pixels with posterior q = P(y = 1 | x), in groups of equal q that make up shares w of the
image, sum w = 1; p the prediction. For many pixels sums are near their expectations, so that with
g = sum w q the losses become, up to terms of order 1 / pixels,

    cross-entropy    -sum w (q log p + (1 - q) log(1 - p))
    Dice             1 - 2 sum w p q / (sum w p + g)
    squared Dice     1 - 2 sum w p q / (sum w p^2 + g)        (y^2 = y for hard labels)
    article          1 - (2 / N) sum w p q / ((sum w p)^2 + g^2), N the pixels

Images of few foreground pixels depart from this: a batch's sums scatter by 1 / sqrt(N g), which
blurs the break-down below over a range of flip rates.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

THRESHOLD = 0.5


@dataclass(frozen=True)
class Groups:
    """Groups of pixels: posteriors q, highest first, and the shares w of the image."""

    q: np.ndarray
    w: np.ndarray

    @property
    def g(self):
        """Expected share of foreground labels."""
        return float(self.w @ self.q)


def groups(q, w):
    q, w = np.asarray(q, float), np.asarray(w, float)
    order = np.argsort(-q, kind="stable")
    return Groups(q[order], w[order] / w.sum())


def flipped(f, e):
    """Foreground share f, each label flipped with probability e: q = 1 - e on the true
    foreground, e on the background."""
    return groups([1 - e, e], [f, 1 - f])


def cross_entropy(of):
    """p = q: each pixel's term is minimal there, (p - q) / (p (1 - p)) = 0."""
    return of.q


def dice(of):
    """p = 1 where q > d / 2, else 0, d the Dice score that is reached.

    The score is (2 sum w p q) / (sum w p + g). Its derivative in p_i has the sign of
    2 q_i - d: raising p_i helps while q_i > d / 2 and hurts otherwise, so p is 0 or 1 and the
    pixels taken are those of the highest posteriors; which number of groups is best is tried.
    """
    taken = np.tril(np.ones((len(of.q), len(of.q))))
    return taken[np.argmax(2 * taken @ (of.w * of.q) / (taken @ of.w + of.g))]


def dice_score(of, p):
    """2 sum w p q / (sum w p + g)"""
    return float(2 * of.w @ (p * of.q) / (of.w @ p + of.g))


def squared_dice(of):
    """p = min(1, q / d), d the score (2 sum w p q) / (sum w p^2 + g) that is reached.

    Its derivative in p_i has the sign of q_i - d p_i: p_i = q_i / d where that is below 1. With
    nothing above 1, d^2 = sum w q^2 / g; else d is the root of 2 sum w p q - d (sum w p^2 + g).
    """

    def rest(d):
        p = np.minimum(1, of.q / d)
        return 2 * of.w @ (p * of.q) - d * (of.w @ p**2 + of.g)

    return np.minimum(1, of.q / brentq(rest, 1e-9, 1))


def article(of):
    """The highest posteriors until the volume s maximises I(s) / (s^2 + g^2).

    Only the volume s = sum w p stands in the denominator, so that for a given s the highest
    posteriors are taken: I(s) is piecewise linear, c + q s within a group, and the maximum of
    (c + q s) / (s^2 + g^2) there is at q s^2 + 2 c s - q g^2 = 0, or at an end of the group. It
    depends on N not at all.
    """
    best, chosen = -1.0, None
    start = mass = 0.0
    for k, (q, w) in enumerate(zip(of.q, of.w, strict=True)):
        c = mass - q * start
        inside = (-c + np.sqrt(c**2 + (q * of.g) ** 2)) / q if q > 0 else start
        for s in (start, min(max(inside, start), start + w), start + w):
            value = (c + q * s) / (s**2 + of.g**2)
            if value > best:
                best = value
                chosen = np.r_[np.ones(k), (s - start) / w, np.zeros(len(of.q) - k - 1)]
        start, mass = start + w, mass + q * w
    return chosen


MINIMISERS = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "squared_dice": squared_dice,
    "article_dice": article,
}
"""Loss -> its minimiser: a prediction for each group."""


def predicted_share(loss, f, e):
    """Share of the pixels predicted foreground at p > 1/2, for foreground share f, flips e.

    The article's formula asks for a volume, and which pixels of equal posterior make it up is
    free: its share is the volume, as if they were predicted 0 or 1.
    """
    of = flipped(f, e)
    p = MINIMISERS[loss](of)
    return float(of.w @ (p if loss == "article_dice" else p > THRESHOLD))


def breakdown(loss, f):
    """The flip rate from which a loss calls everything foreground; 1/2 where it never does.

    Dice takes the background too where D2 = 2 g / (1 + g) passes D1 = 2 f (1 - e) / (f + g);
    squared Dice where the background's e / d passes 1/2.
    """

    def everything(e):
        return predicted_share(loss, f, e) > 1 - 1e-9

    low, high = 0.0, 0.5 - 1e-6
    if not everything(high):
        return 0.5
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if everything(middle) else (middle, high)
    return high
