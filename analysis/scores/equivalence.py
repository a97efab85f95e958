"""Equivalence: is an effect within a smallest difference that matters, on either side of 0?

By two one-sided tests (Schuirmann, A comparison of the two one-sided tests procedure, 1987) at 5%:
yes if the whole 90% interval is within, no if the whole interval is outside. Both come down to the
nearer of the two bounds, so the question is that of a claim with the other sign: is -|effect| at
least -smallest?
"""

from __future__ import annotations

from dataclasses import replace

from analysis.scores.statistics import Estimate

AT_LEAST, WITHIN = "at least", "within"
"""Rules of a verdict: the effect is at least the smallest difference; or within it, either way."""
FINDINGS = {
    "supported": "no difference that matters",
    "contradicted": "a difference that matters",
}
"""Decided verdict by the rule WITHIN -> the difference behind it."""


def asked(estimated: Estimate, smallest: float, rule: str) -> tuple[Estimate, float]:
    """Return the estimate and the bound that it is to be at least, by a rule.

    >>> estimated, bound = asked(Estimate(0.01, 0.02, 3, 4), 0.02, WITHIN)
    >>> estimated.value, bound
    (-0.01, -0.02)
    """
    if rule == AT_LEAST:
        return estimated, smallest
    return replace(estimated, value=-abs(estimated.value)), -smallest
