"""Biased label errors hurt, unbiased ones barely.

Measured under Dice alone: the Dice score (against true labels) with jittered boundaries minus that
with labels drawn too large or shifted by as many pixels (mean of such levels). The smallest
difference is that of the claim on label noise, 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Plain, jittered

if TYPE_CHECKING:
    from experiments.plan.study import Level

BIASED = ("overdraw", "shift")


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the most jitter, and minus the mean of the biased errors of as many pixels."""
    for _, level in jittered(levels):
        pixels = level.stress["jitter"]
        biased = [v for v in levels if any(v.stress.get(knob) == pixels for knob in BIASED)]
        if biased:
            return [(1, level), *((-1 / len(biased), other) for other in biased)]
    return []


CLAIM = Claim(
    title="Biased label errors hurt more than unbiased ones",
    order=100,
    against="",
    unit="DSC",
    smallest=0.05,
    says="Dice score of {loss} with jittered labels minus that with labels drawn too large or "
    "shifted by as many pixels",
    plain=Plain(
        "Under {loss} biased label errors hurt more than unbiased ones",
        "Under {loss} biased label errors hurt less than unbiased ones",
        "Under {loss} biased label errors hurt no more than unbiased ones",
    ),
    weights=weights,
    source="Vorontsov and Kadoury, 2021; Heller et al., 2018 (abstracts)",
    published="biased errors hurt, unbiased ones barely",
)
