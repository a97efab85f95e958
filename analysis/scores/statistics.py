"""Estimates with intervals. Seeds are drawn first, then images; datasets are a random effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

DRAWS = 2000
LEVEL = 0.95
NO_SPREAD = 1e-12
"""A standard error up to this one is rounding only."""
NAN = float("nan")
BLOCK = 256
"""Samples that are drawn at once, which bounds the memory."""

Sample = Mapping[int, np.ndarray]
"""Seed -> a value per image, NaN if it is not defined."""


@dataclass(frozen=True)
class Estimate:
    """A weighted sum of means, its interval, its number of seeds and its standard error.

    The interval is NaN for one seed, and if all measured values are equal: in both cases the
    spread is not known.
    """

    value: float
    low: float
    high: float
    n: int
    error: float = NAN

    def p(self, smallest: float) -> float:
        """Return the two-sided p of the value being `smallest`, by Student's t; NaN for one seed.

        >>> interval(0.3, 0.1, 4).p(0.3)
        1.0
        """
        if np.isnan(self.error) or self.n == 1:
            return NAN
        if self.error == 0:
            return float(self.value == smallest)
        t = abs(self.value - smallest) / self.error
        return float(2 * stats.t.sf(t, self.n - 1))


MISSING = Estimate(NAN, NAN, NAN, 0)


def exact(value: float) -> Estimate:
    """Return an estimate that was computed, not sampled."""
    return Estimate(value, value, value, 1, 0.0)


def estimate(
    terms: Sequence[tuple[float, Sample]],
    *,
    shared: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Return sum_k w_k (mean over seeds and images) with its 95% interval.

    terms: [(weight, {seed: values per image})]. A seed is used if every term has a value for it.
    The standard error is that of a bootstrap that draws seeds and, for each seed, images; if
    `shared`, the images are the same for every seed and drawn once for all. A bootstrap of n seeds
    is too narrow by sqrt((n - 1) / n), and normal quantiles hold for large n only: the interval is
    value +- t_{n-1} sqrt(n / (n - 1)) error (Hesterberg, What teachers should know about the
    bootstrap, 2015).

    >>> result = estimate([(1, {0: np.array([0.1, 0.3]), 1: np.array([0.4, 0.4])})])
    >>> round(result.value, 3), result.n
    (0.3, 2)
    """
    terms = [(weight, _defined(values)) for weight, values in terms]
    seeds = sorted(set.intersection(*(set(values) for _, values in terms))) if terms else []
    if not seeds:
        return MISSING
    n = len(seeds)
    tables = [(weight, rectangle([values[s] for s in seeds])) for weight, values in terms]
    value = float(sum(weight * np.nanmean(table, 1).mean() for weight, table in tables))
    if n == 1:
        return Estimate(value, NAN, NAN, 1)
    rng = np.random.default_rng(seed)
    seed_picks = rng.integers(n, size=(draws, n))
    total = sum(
        weight * means(table, seed_picks, draw_images(rng, seed_picks, table.shape[1], shared))
        for weight, table in tables
    )
    return _from_draws(value, total, n)


def estimates(
    samples: Sequence[Sample], *, shared: bool = False, draws: int = DRAWS, seed: int = 0
) -> list[Estimate]:
    """Return `estimate([(1, sample)], ...)` of every sample, quickly and equal within 1e-12.

    Samples with the same numbers of seeds and images have the same draws: the draws become counts
    per image, and the means of all samples are products of matrices.

    >>> estimates([{0: np.zeros(2), 1: np.ones(2)}])[0].value
    0.5
    """
    results, groups = [MISSING] * len(samples), {}
    for i, sample in enumerate(samples):
        known = _defined(sample)
        if known:
            table = rectangle([known[s] for s in sorted(known)])
            groups.setdefault(table.shape, []).append((i, table))
    for (n, images), group in groups.items():
        rng = np.random.default_rng(seed)
        seed_picks = rng.integers(n, size=(draws, n))
        counts = _counts(draw_images(rng, seed_picks, images, shared))
        for start in range(0, len(group), BLOCK):
            block = group[start : start + BLOCK]
            values = np.stack([table for _, table in block], axis=-1)
            totals = _mean(_drawn_means(values, seed_picks, counts)) if n > 1 else [None]
            for k, (i, table) in enumerate(block):
                value = float(np.nanmean(table, 1).mean())
                if n == 1:
                    results[i] = Estimate(value, NAN, NAN, 1)
                else:
                    results[i] = _from_draws(value, totals[k], n)
    return results


def _counts(picks: np.ndarray) -> np.ndarray:
    """Return how often each image is drawn: (draws, n or 1, images) -> the same shape."""
    images = picks.shape[-1]
    flat = picks.reshape(-1, images)
    offsets = images * np.arange(len(flat))[:, None]
    counts = np.bincount((flat + offsets).ravel(), minlength=flat.size)
    return counts.reshape(picks.shape).astype(float)


def _drawn_means(values: np.ndarray, seed_picks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return means over the drawn images, (samples, draws, n), of values (n, images, samples)."""
    counts = np.broadcast_to(counts, (*seed_picks.shape, values.shape[1]))
    known = ~np.isnan(values)
    filled, complete = np.where(known, values, 0), known.all()
    result = np.empty((*seed_picks.shape, values.shape[2]))
    for seed in range(len(values)):
        slots = seed_picks == seed
        weights = counts[slots]
        sums = weights @ filled[seed]
        if complete:
            result[slots] = sums / values.shape[1]
        else:
            sizes = weights @ known[seed].astype(float)
            result[slots] = sums / np.where(sizes, sizes, np.nan)
    return np.moveaxis(result, -1, 0)


def _defined(sample: Sample) -> dict[int, np.ndarray]:
    """Return the seeds that have a value."""
    return {seed: values for seed, values in sample.items() if not np.isnan(values).all()}


def _from_draws(value: float, total: np.ndarray, n: int) -> Estimate:
    """Return the estimate of a value whose bootstrap draws are `total`."""
    error = float(np.nanstd(total)) * np.sqrt(n / (n - 1))
    return interval(value, error, n) if error > NO_SPREAD else Estimate(value, NAN, NAN, n)


def draw_images(
    rng: np.random.Generator, seed_picks: Int[np.ndarray, "draws n"], images: int, shared: bool
) -> Int[np.ndarray, "draws slots images"]:
    """Return the images drawn for each drawn seed; one draw for all seeds (slots = 1) if shared."""
    slots = 1 if shared else seed_picks.shape[1]
    return rng.integers(images, size=(len(seed_picks), slots, images))


def means(
    table: Float[np.ndarray, "seeds images"],
    seed_picks: Int[np.ndarray, "draws n"],
    picks: Int[np.ndarray, "draws slots images"],
) -> Float[np.ndarray, " draws"]:
    """Return per draw the mean over the drawn seeds of the means over the drawn images.

    NaN are ignored.
    """
    return _mean(_mean(table[seed_picks[:, :, None], picks]))


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN if nothing else is there."""
    known = ~np.isnan(values)
    counts = known.sum(-1)
    return np.where(known, values, 0).sum(-1) / np.where(counts, counts, np.nan)


def interval(value: float, error: float, n: int) -> Estimate:
    """Return value +- t_{n-1} error."""
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
    return Estimate(value, value - half, value + half, n, error)


def rectangle(rows: Sequence[np.ndarray]) -> Float[np.ndarray, "rows columns"]:
    """Return rows of unequal length as one array, padded with NaN.

    >>> rectangle([np.ones(2), np.zeros(1)])
    array([[ 1.,  1.],
           [ 0., nan]])
    """
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def pool(estimates: Sequence[Estimate]) -> Estimate:
    """Return the estimates of datasets as one, each dataset a draw from all possible datasets.

    Random effects with the Hartung-Knapp interval (Student's t on datasets - 1 degrees); NaN if
    fewer than two datasets have a standard error.
    """
    known = [e for e in estimates if e.error > 0]
    if len(known) < 2:
        return replace(MISSING, n=len(known))
    values, errors = np.array([e.value for e in known]), np.array([e.error for e in known])
    pooled = combine_effects(values, errors**2, method_re="iterated", use_t=True)
    error = float(pooled.sd_eff_w_re_hksj)
    return interval(float(pooled.mean_effect_re), error, len(known))


def correct(p_values: Sequence[float]) -> Float[np.ndarray, " p"]:
    """Return p values after Holm's correction for their number; NaN stay NaN.

    >>> correct([0.01, NAN, 0.04]).tolist()
    [0.02, nan, 0.04]
    """
    p = np.asarray(p_values, float)
    result = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        result[known] = multipletests(p[known], method="holm")[1]
    return result


def decide(estimated: Estimate, smallest: float, planned: int, p: float = 0.0) -> str:
    """Return `supported`, `contradicted` or `undecided`: is the effect at least `smallest`?

    supported: the whole interval is at least `smallest`. contradicted: the whole interval is
    below it. undecided: the interval contains it, or fewer than the planned pairs of runs are
    there, or p, corrected for the number of comparisons, is above 5%.

    >>> decide(Estimate(0.2, 0.1, 0.3, 4), 0.05, planned=4)
    'supported'
    """
    if estimated.n < planned or np.isnan(estimated.low) or p > 1 - LEVEL:
        return "undecided"
    if estimated.low >= smallest:
        return "supported"
    if estimated.high < smallest:
        return "contradicted"
    return "undecided"


def finding(estimated: Estimate, smallest: float, verdict: str) -> str:
    """Return the difference behind a verdict, in a few words.

    >>> finding(Estimate(-0.2, -0.3, -0.1, 4), 0.05, "contradicted")
    'the reverse'
    """
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
