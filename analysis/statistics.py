"""Intervals by a hierarchical bootstrap: seeds are drawn first, then images within each."""

from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A weighted sum of means, with its interval and the number of seeds that it rests on."""

    value: float
    low: float
    high: float
    n: int


MISSING = Estimate(float("nan"), float("nan"), float("nan"), 0)


def estimate(terms, draws=DRAWS, seed=0):
    """sum_k w_k mean over seeds and images, with its 95% interval.

    terms: [(weight, {seed: values per image})]. Only seeds that every term has, with at least
    one value in each, count. Percentile interval; with few seeds it is too narrow, as any
    bootstrap's is.
    """
    terms = [
        (weight, {s: v[~np.isnan(v)] for s, v in values.items() if not np.isnan(v).all()})
        for weight, values in terms
    ]
    seeds = sorted(set.intersection(*(set(values) for _, values in terms))) if terms else []
    if not seeds:
        return MISSING
    value = sum(w * np.mean([values[s].mean() for s in seeds]) for w, values in terms)
    rng = np.random.default_rng(seed)
    n = len(seeds)
    drawn = rng.integers(n, size=(draws, n))
    total = np.zeros((draws, n))
    for weight, values in terms:
        for k, s in enumerate(seeds):
            where = drawn == k
            images = values[s]
            picks = rng.integers(len(images), size=(int(where.sum()), len(images)))
            total[where] += weight * images[picks].mean(1)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(total.mean(1), [tail, 100 - tail])
    return Estimate(float(value), float(low), float(high), n)


def decide(estimated, smallest, planned):
    """`supported`, `contradicted` or `undecided`: is the effect at least the smallest that matters?

    supported: the whole interval is at least `smallest`; contradicted: the whole interval is
    below it (no effect that matters, or one the other way); undecided: the interval contains it,
    or not every planned pair of runs is there.
    """
    if estimated.n < planned or np.isnan(estimated.value):
        return "undecided"
    if estimated.low >= smallest:
        return "supported"
    if estimated.high < smallest:
        return "contradicted"
    return "undecided"
