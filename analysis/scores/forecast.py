"""The probability that seeds to come decide a verdict that is open."""

from __future__ import annotations

from scipy import special

from analysis.scores import statistics
from analysis.scores.statistics import Estimate


def chance(estimated: Estimate, smallest: float, level: float, most: int) -> float:
    """Return the probability that an open estimate will be decided with `most` seeds.

    The future value, given the present one, is Student's t about it; its variance is the seeds'
    parts times 1 - seeds / most. level: greatest one-sided p.

    >>> from analysis.scores.statistics import Part
    >>> round(chance(Estimate(0.05, 0.1, 2, 3, (Part(0.01, 2, 3),)), 0.05, 0.03, 12), 2)
    0.35
    """
    later = statistics.with_seeds(estimated, most)
    bound = special.stdtrit(later.df, 1 - level) * later.error
    distance = estimated.value - smallest
    variance = sum(p.variance * max(0.0, 1 - p.seeds / most) for p in estimated.parts if p.seeds)
    if not variance:
        return float(abs(distance) >= bound)
    ends = (distance - bound) / variance**0.5, (-distance - bound) / variance**0.5
    return float(sum(special.stdtr(estimated.df, end) for end in ends))
