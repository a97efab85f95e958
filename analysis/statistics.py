"""Estimates with intervals: seeds are drawn first, then images; datasets are a random effect."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

DRAWS = 2000
LEVEL = 0.95
NO_SPREAD = 1e-12
"""A standard error that is rounding alone."""
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A weighted sum of means, its interval, the number of seeds it rests on, its standard error.

    No interval (nan) where there is one seed, which says nothing of how seeds differ, and where
    everything that was measured is equal: how far it can differ is not known then.
    """

    value: float
    low: float
    high: float
    n: int
    error: float = NAN

    def p(self, smallest):
        """Two-sided p of the value being `smallest`, by Student's t; missing for one seed."""
        if np.isnan(self.error) or self.n == 1:
            return NAN
        if self.error == 0:
            return float(self.value == smallest)
        t = abs(self.value - smallest) / self.error
        return float(2 * stats.t.sf(t, self.n - 1))


MISSING = Estimate(NAN, NAN, NAN, 0)


def exact(value):
    """An estimate that was computed, not sampled."""
    return Estimate(value, value, value, 1, 0.0)


def estimate(terms, *, shared=False, draws=DRAWS, seed=0):
    """sum_k w_k mean over seeds and images, with its 95% interval.

    terms: [(weight, {seed: values per image})]. Only seeds that every term has, with at least
    one value in each, count. The standard error is that of a bootstrap that draws seeds and, for
    each, images; `shared` says that the images are the same for every seed, so that one draw
    serves all. A bootstrap of n seeds is too narrow by sqrt((n - 1) / n), and normal quantiles
    are for many: the interval is value +- t_{n-1} sqrt(n / (n - 1)) error (Hesterberg, What
    teachers should know about the bootstrap, 2015).
    """
    terms = [
        (weight, {s: v for s, v in values.items() if not np.isnan(v).all()})
        for weight, values in terms
    ]
    seeds = sorted(set.intersection(*(set(values) for _, values in terms))) if terms else []
    if not seeds:
        return MISSING
    n = len(seeds)
    tables = [(weight, rectangle([values[s] for s in seeds])) for weight, values in terms]
    value = float(sum(weight * np.nanmean(table, 1).mean() for weight, table in tables))
    if n == 1:
        return Estimate(value, NAN, NAN, 1)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(n, size=(draws, n))
    total = sum(
        weight * means(table, drawn, draw_images(rng, drawn, table.shape[1], shared))
        for weight, table in tables
    )
    error = float(np.nanstd(total)) * np.sqrt(n / (n - 1))
    return interval(value, error, n) if error > NO_SPREAD else Estimate(value, NAN, NAN, n)


def draw_images(rng, drawn, images, shared):
    """Images drawn for each seed drawn (draws, n, images); one draw for all where `shared`."""
    return rng.integers(images, size=(len(drawn), 1 if shared else drawn.shape[1], images))


def means(table, drawn, picks):
    """The mean over the seeds drawn of the means over the images drawn, one per draw.

    table: (seeds, images); missing values are left out.
    """
    return _mean(_mean(table[drawn[:, :, None], picks]))


def _mean(values):
    """Mean over the last axis of what is not missing; missing where nothing is left."""
    there = ~np.isnan(values)
    counts = there.sum(-1)
    return np.where(there, values, 0).sum(-1) / np.where(counts, counts, np.nan)


def interval(value, error, n):
    """value +- t_{n-1} error."""
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
    return Estimate(value, value - half, value + half, n, error)


def rectangle(rows):
    """Rows of unequal length as one array, filled up with nan."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def pool(estimates):
    """Datasets' estimates as one, each dataset a draw from the datasets there could be.

    Random effects with the Hartung-Knapp interval (Student's t on datasets - 1 degrees); missing
    where fewer than two datasets have a standard error.
    """
    known = [e for e in estimates if e.error > 0]
    if len(known) < 2:
        return replace(MISSING, n=len(known))
    values, errors = np.array([e.value for e in known]), np.array([e.error for e in known])
    found = combine_effects(values, errors**2, method_re="iterated", use_t=True)
    error = float(found.sd_eff_w_re_hksj)
    return interval(float(found.mean_effect_re), error, len(known))


def correct(p_values):
    """Holm's correction for the number of comparisons; missing p values stay missing."""
    p = np.asarray(p_values, float)
    result = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        result[known] = multipletests(p[known], method="holm")[1]
    return result


def decide(estimated, smallest, planned, p=0.0):
    """`supported`, `contradicted` or `undecided`: is the effect at least the smallest that matters?

    supported: the whole interval is at least `smallest`; contradicted: the whole interval is
    below it; undecided: the interval contains it, or not every planned pair of runs is there, or
    p, corrected for the number of comparisons, is above 5%.
    """
    if estimated.n < planned or np.isnan(estimated.low) or p > 1 - LEVEL:
        return "undecided"
    if estimated.low >= smallest:
        return "supported"
    if estimated.high < smallest:
        return "contradicted"
    return "undecided"


def finding(estimated, smallest, verdict):
    """What a verdict found, in a few words."""
    if verdict == "undecided":
        return "not known"
    if smallest < 0:  # the claim is that nothing is lost
        return f"{'no' if verdict == 'supported' else 'a'} shortfall that matters"
    if verdict == "supported":
        return "a difference that matters"
    matters = abs(smallest)
    if estimated.high <= -matters:
        return "the reverse"
    return "no difference that matters" if estimated.low > -matters else "no such difference"
