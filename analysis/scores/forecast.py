"""An estimate with more seeds: as it would be, and the chance that it decides a verdict."""

from __future__ import annotations

import numpy as np
from scipy import special

from analysis.scores.statistics import LEAST, LEVEL, NAN, Estimate, Part, of_parts

POWER = 0.8
"""Probability with which a detectable difference is found."""


def seeds_needed(
    estimated: Estimate, smallest: float, level: float = LEVEL, most: int = 48
) -> int | None:
    """Return the least number of seeds that would decide if the estimate stayed.

    The seeds' parts shrink with their number, those of images do not. level: greatest one-sided
    p. None if no number from LEAST to `most` would decide, or if the spread is not known.

    >>> seeds_needed(Estimate(0.15, 0.1, 2, 3, (Part(0.01, 2, 3),)), 0.05)
    11
    """
    if not estimated.parts or np.isnan(estimated.error):
        return None
    for n in range(LEAST, most + 1):
        if with_seeds(estimated, n).p(smallest) <= level:
            return n
    return None


def with_seeds(estimated: Estimate, n: int) -> Estimate:
    """Return an estimate as it would be from n seeds if value and spread stayed."""
    parts = [
        Part(part.variance * part.seeds / n, n - 1, n) if part.seeds else part
        for part in estimated.parts
    ]
    return of_parts(estimated.value, parts, estimated.n)


def chance(estimated: Estimate, smallest: float, level: float, most: int) -> float:
    """Return the probability that an open estimate will be decided with `most` seeds.

    The future value, given the present one, is Student's t about it; its variance is the seeds'
    parts times 1 - seeds / most. level: greatest one-sided p.

    >>> round(chance(Estimate(0.05, 0.1, 2, 3, (Part(0.01, 2, 3),)), 0.05, 0.03, 12), 2)
    0.35
    """
    later = with_seeds(estimated, most)
    bound = special.stdtrit(later.df, 1 - level) * later.error
    distance = estimated.value - smallest
    variance = sum(p.variance * max(0.0, 1 - p.seeds / most) for p in estimated.parts if p.seeds)
    if not variance:
        return float(abs(distance) >= bound)
    ends = (distance - bound) / variance**0.5, (-distance - bound) / variance**0.5
    return float(sum(special.stdtr(estimated.df, end) for end in ends))


def detectable(estimated: Estimate, level: float = LEVEL, power: float = POWER) -> float:
    """Return the true effect that a two-sided test of no effect finds with probability `power`.

    It has the estimate's error and degrees of freedom: the test statistic is noncentral t. level:
    error rate of the test. NaN without an error, or without any spread.

    >>> round(detectable(Estimate(0.0, 0.1, 1e6, 4)), 3)
    0.28
    """
    if not estimated.error > 0:
        return NAN
    bound = special.stdtrit(estimated.df, 1 - level / 2)
    return float(special.nctdtrinc(estimated.df, 1 - power, bound) * estimated.error)
