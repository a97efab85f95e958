"""The rarer the foreground, the greater Dice's lead over cross-entropy.

Measured as the slope of the difference in Dice score on -log10 of the foreground fraction, by least
squares over the levels: the difference that a tenth of the foreground adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Plain

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the levels with the weights of a least-squares slope on -log10 of their value."""
    numeric = [level for level in levels if level.value]
    if len(numeric) < 2:
        return []
    decades = [-math.log10(level.value) for level in numeric]
    mean = sum(decades) / len(decades)
    spread = sum((x - mean) ** 2 for x in decades)
    return [((x - mean) / spread, level) for x, level in zip(decades, numeric, strict=True)]


CLAIM = Claim(
    title="Dice's lead grows as the foreground becomes rarer",
    order=6,
    experiment="imbalance",
    unit="DSC per decade",
    smallest=0.05,
    says="Dice score that {loss} gains on {against} with each tenth of the foreground",
    plain=Plain(
        "The lead of {loss} over {against} grows as foreground becomes rarer",
        "The lead of {loss} over {against} shrinks as foreground becomes rarer",
        "The lead of {loss} over {against} does not grow as foreground becomes rarer",
    ),
    weights=weights,
)
