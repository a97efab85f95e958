"""Estimates with intervals: seeds, images by source, the mean over a suite's datasets; decisions.

Nothing is drawn at random: every interval is Student's t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

LEVEL = 0.05
"""Error rate of a family of verdicts, and of an interval."""
LEAST = 3
"""Seeds that a verdict needs: with two, a run that failed by chance cannot be seen as such."""
NO_SPREAD = 1e-12
"""A value or standard error up to this one is rounding only."""
NAN = float("nan")
BLOCK = 256
"""Samples that are computed at once, which bounds the memory."""

Sample = Mapping[int, np.ndarray]
"""Seed -> a value per image, NaN if it is not defined."""
Sources = Sequence[Any]
"""The source of each image of a sample, in the order of its values."""


class Part(NamedTuple):
    """A part of the variance of an estimate, with its degrees of freedom.

    seeds: the number of seeds that it is from; 0: it is from images.
    """

    variance: float
    df: float
    seeds: int = 0


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, degrees of freedom and number of seeds or datasets.

    The error is NaN for one seed, and if all seeds have the same value other than 0: their spread
    is not known. It is 0 if several seeds have the value 0: two models that predict nothing do
    not differ. parts: of error^2. sources: number of sources of the images, None if each seed has
    images of its own.
    """

    value: float
    error: float
    df: float
    n: int
    parts: tuple[Part, ...] = ()
    sources: int | None = None

    @property
    def low(self) -> float:
        """Lower end of the 95% interval."""
        return self.value - self._half(LEVEL)

    @property
    def high(self) -> float:
        """Upper end of the 95% interval."""
        return self.value + self._half(LEVEL)

    @property
    def low90(self) -> float:
        """Lower end of the 90% interval: 5% are below it."""
        return self.value - self._half(2 * LEVEL)

    @property
    def high90(self) -> float:
        """Upper end of the 90% interval: 5% are above it."""
        return self.value + self._half(2 * LEVEL)

    def _half(self, level: float) -> float:
        if self.error == 0:
            return 0.0
        return float(special.stdtrit(self.df, 1 - level / 2)) * self.error

    def p(self, smallest: float, sides: int = 1) -> float:
        """Return the p of the effect being on the other side of `smallest` than the estimate.

        `supported` is false if the effect is below `smallest`, `contradicted` if it is not: one of
        the two is true, so each has a one-sided test. sides: 2 doubles p. NaN without an error.

        >>> Estimate(0.3, 0.1, 3, 4).p(0.3)
        0.5
        """
        if self.error == 0:
            return 0.0
        p = float(special.stdtr(self.df, -abs(self.value - smallest) / self.error))
        return float(np.minimum(1.0, sides * p))


MISSING = Estimate(NAN, NAN, NAN, 0)


def exact(value: float) -> Estimate:
    """Return an estimate that was computed, not sampled."""
    return Estimate(value, 0.0, np.inf, 1)


def estimate(
    terms: Sequence[tuple[float, Sample]], sources: Sequence[Sources | None] | None = None
) -> Estimate:
    """Return sum_k w_k (mean over seeds and images), with the error of seeds and of images.

    terms: [(weight, {seed: values per image})]. A seed is used if every term has a value for it.

    sources None, or None for each term: every seed has images of its own. The contrasts of the n
    seeds hold the noise of the images, so the error^2 is their variance / n, with n - 1 degrees.

    sources: the images are the same for every seed; the source of each image, per term. Images of
    one source are not independent. The error^2 has the images' part too, from the k sources,

        max(0, image - both), k - 1 degrees of freedom,
        image = k / (k - 1) sum_g (sum_k w_k sum_{i of g} (x_i - mean x) / images)^2

    with x the means over seeds; `both` is the same sum of the residuals of seed and image, which
    the seeds' part holds already. A source is the same one in all terms: its images may differ.
    One source has no such part. The idea is that of two-way clustered errors (Cameron, Gelbach,
    Miller, 2011); `both` is free of the seeds' and images' own effects, so nothing is negative
    but by chance.

    >>> result = estimate([(1, {0: np.array([0.1, 0.3]), 1: np.array([0.4, 0.4])})])
    >>> round(result.value, 3), result.n, result.df
    (0.3, 2, 1.0)
    """
    terms = [(weight, _defined(values)) for weight, values in terms]
    seeds = sorted(set.intersection(*(set(values) for _, values in terms))) if terms else []
    if not seeds:
        return MISSING
    shared = sources is not None and sources[0] is not None
    codes = _codes(sources) if shared else [None] * len(terms)
    sums = [
        _sums(rectangle([values[s] for s in seeds])[None], code, weight)
        for (weight, values), code in zip(terms, codes, strict=True)
    ]
    return _from_sums(_Sums(*(_total(parts) for parts in zip(*sums, strict=True))))[0]


def estimates(
    samples: Sequence[Sample], sources: Sequence[Sources | None] | None = None
) -> list[Estimate]:
    """Return `estimate([(1, sample)], [its sources])` of every sample, quickly.

    >>> estimates([{0: np.zeros(2), 1: np.ones(2)}])[0].value
    0.5
    """
    results, groups = [MISSING] * len(samples), {}
    for i, sample in enumerate(samples):
        known = _defined(sample)
        if known:
            table = rectangle([known[s] for s in sorted(known)])
            own = sources[i] if sources is not None else None
            key = table.shape, None if own is None else tuple(own)
            groups.setdefault(key, []).append((i, table))
    for (_, own), group in groups.items():
        code = None if own is None else _codes([own])[0]
        for start in range(0, len(group), BLOCK):
            places, tables = zip(*group[start : start + BLOCK], strict=True)
            found = _from_sums(_sums(np.stack(tables), code))
            for i, result in zip(places, found, strict=True):
                results[i] = result
    return results


class _Sums(NamedTuple):
    """Weighted sums of samples: means of the seeds, and shares of the sources in the mean.

    seeds: (samples, n). image: (samples, k), both: (samples, n, k), shown: (samples, k), or None.
    """

    seeds: np.ndarray
    image: np.ndarray | None
    both: np.ndarray | None
    shown: np.ndarray | None


def _codes(sources: Sequence[Sources]) -> list[Float[np.ndarray, "images sources"]]:
    """Return for each list of sources a matrix that sums over the images of each source."""
    lengths = [len(own) for own in sources]
    names, codes = np.unique(np.concatenate([np.asarray(own) for own in sources]), return_inverse=1)
    return np.split(np.eye(len(names))[codes], np.cumsum(lengths)[:-1])


def _sums(
    tables: Float[np.ndarray, "samples seeds images"],
    code: Float[np.ndarray, "images sources"] | None,
    weight: float = 1,
) -> _Sums:
    """Return the sums of a term."""
    seeds = _mean(tables)
    if code is None:
        return _Sums(weight * seeds, None, None, None)
    images = _mean(np.swapaxes(tables, 1, 2))
    known = ~np.isnan(images)
    share = weight / known.sum(-1)[:, None]
    image = np.nan_to_num(images - _mean(images)[:, None]) @ code * share
    center = images[:, None] - seeds.mean(-1)[:, None, None]
    both = np.nan_to_num(tables - seeds[..., None] - center) @ code * share[:, None]
    return _Sums(weight * seeds, image, both, known @ code)


def _total(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if arrays[0] is None else sum(arrays)


def _from_sums(sums: _Sums) -> list[Estimate]:
    """Return an estimate per sample."""
    n = sums.seeds.shape[1]
    values = sums.seeds.mean(1)
    if n == 1:
        return [Estimate(float(value), NAN, NAN, 1) for value in values]
    seeds = sums.seeds.var(1, ddof=1) / n
    if sums.image is None:
        found = zip(values, seeds, strict=True)
        return [of_parts(value, [Part(float(own), n - 1, n)], n) for value, own in found]
    sources = (sums.shown > 0).sum(-1)
    image = (sums.image**2).sum(-1) - (sums.both**2).sum((1, 2)) / (n * (n - 1))
    results = []
    for value, own, images, k in zip(values, seeds, image, sources, strict=True):
        parts = [Part(float(own), n - 1, n)]
        if k > 1:
            parts.append(Part(max(0.0, float(images)) * k / (k - 1), int(k) - 1))
        results.append(of_parts(value, parts, n, int(k)))
    return results


def of_parts(value: float, parts: Sequence[Part], n: int, sources: int | None = None) -> Estimate:
    """Return an estimate from the parts of its variance.

    The degrees of freedom are Satterthwaite's: (sum v)^2 / sum v^2 / df.
    """
    error, df = spread(parts)
    if error <= NO_SPREAD:
        nothing = abs(value) <= NO_SPREAD
        value, error = (0.0, 0.0) if nothing else (value, NAN)
    return Estimate(float(value), error, df, n, tuple(parts), sources)


def spread(parts: Sequence[Part]) -> tuple[float, float]:
    """Return the standard error from the parts of a variance, and its degrees of freedom.

    >>> spread([Part(9.0, 2), Part(16.0, 2)])
    (5.0, 3.7091988130563798)
    """
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return 0.0, float(sum(part.df for part in parts))
    # Shares of the variance, so that the square of a tiny one is not 0.
    df = 1 / sum((part.variance / variance) ** 2 / part.df for part in parts)
    return variance**0.5, df


def _defined(sample: Sample) -> dict[int, np.ndarray]:
    """Return the seeds that have a value."""
    return {seed: values for seed, values in sample.items() if not np.isnan(values).all()}


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN if nothing else is there."""
    known = ~np.isnan(values)
    counts = known.sum(-1)
    return np.where(known, values, 0).sum(-1) / np.where(counts, counts, np.nan)


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
    """Return the plain mean over the D datasets that have an error: the mean of this suite.

    The datasets were chosen, not drawn, so their differences are no error of it: the variance is
    sum of variances / D^2, with Satterthwaite's degrees of freedom over all parts. MISSING for
    fewer than two datasets; n is D.

    >>> pooled = pool([Estimate(0.1, 0.3, 2, 3, (Part(0.09, 2, 3),)), exact(0.3)])
    >>> round(pooled.value, 2), round(pooled.error, 2), round(pooled.df, 2), pooled.n
    (0.2, 0.15, 2.0, 2)
    """
    known = [e for e in estimates if not np.isnan(e.error)]
    count = len(known)
    if count < 2:
        return Estimate(NAN, NAN, NAN, count)
    parts = [part._replace(variance=part.variance / count**2) for e in known for part in e.parts]
    return of_parts(float(np.mean([e.value for e in known])), parts, count)


class Prediction(NamedTuple):
    """A dataset that is not in the suite: 95% interval of its effect, and its probability."""

    low: float
    high: float
    probability: float


def next_dataset(values: Sequence[float], smallest: float) -> Prediction:
    """Return the prediction for a dataset that is drawn as the D datasets of `values` were.

    mean +- t_{D-1} sd sqrt(1 + 1 / D), and the probability that its effect is at least `smallest`.
    The sd holds the noise of the estimates too. NaN for fewer than two datasets.

    >>> [round(number, 2) for number in next_dataset([0.1, 0.2, 0.3], 0.2)]
    [-0.3, 0.7, 0.5]
    """
    values = np.asarray(values, float)
    count = len(values)
    if count < 2:
        return Prediction(NAN, NAN, NAN)
    mean, error = float(values.mean()), float(values.std(ddof=1) * (1 + 1 / count) ** 0.5)
    if error <= NO_SPREAD:
        return Prediction(mean, mean, float(mean >= smallest))
    half = float(special.stdtrit(count - 1, 1 - LEVEL / 2)) * error
    probability = float(special.stdtr(count - 1, (mean - smallest) / error))
    return Prediction(mean - half, mean + half, probability)


def correct(p_values: ArrayLike) -> Float[np.ndarray, "*families p"]:
    """Return p values after Holm's correction for their number in a family; NaN stay NaN.

    The last axis is a family. The i-th smallest of m is multiplied by m + 1 - i, and is at least
    the one before it (Holm, 1979). statsmodels collects garbage in every call, which costs more
    than the rest of a study.

    >>> correct([0.01, NAN, 0.04]).tolist()
    [0.02, nan, 0.04]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, axis=-1)  # NaN are last
    left = (~np.isnan(p)).sum(-1, keepdims=True) - np.arange(p.shape[-1])
    steps = np.take_along_axis(p, order, -1) * left
    result = np.empty_like(p)
    np.put_along_axis(result, order, np.minimum(1, np.maximum.accumulate(steps, axis=-1)), -1)
    return result


def decide(estimated: Estimate, smallest: float, p: float, level: float = LEVEL) -> str:
    """Return `supported`, `contradicted` or `undecided`: is the effect at least `smallest`?

    p: of `Estimate.p`, corrected for the number of verdicts in the family. Decided if p is at most
    `level`, by the side of `smallest` that the estimate is on.

    >>> decide(Estimate(0.2, 0.02, 3, 4), 0.05, p=0.01)
    'supported'
    """
    if not p <= level:  # NaN too
        return "undecided"
    return "supported" if estimated.value >= smallest else "contradicted"
