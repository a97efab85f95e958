"""Cross-entropy against Dice flips with the trainer: Dice's lead goes as training gets longer.

Measured at the smallest foreground fraction that is trained at several numbers of steps: the Dice
score of Dice minus that of cross-entropy after the fewest steps, minus the same after the most.
The published flip is 0.08. Two such differences are subtracted, so the smallest difference is that
of the claim on imbalance, 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Plain

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the rarest foreground after the fewest steps, and minus that after the most."""
    trained = [level for level in levels if "steps" in level.training]
    least = min((level.stress.share or 1 for level in trained), default=1)
    rare = [level for level in trained if (level.stress.share or 1) == least]
    rare.sort(key=lambda level: level.training["steps"])
    if len(rare) < 2 or rare[0].training["steps"] == rare[-1].training["steps"]:
        return []
    return [(1, rare[0]), (-1, rare[-1])]


CLAIM = Claim(
    title="Dice's lead over cross-entropy goes with longer training",
    order=10,
    against="cross_entropy",
    unit="DSC",
    smallest=0.05,
    says="Lead of {loss} over {against} in Dice score after the fewest steps, minus the lead "
    "after the most",
    plain=Plain(
        "The lead of {loss} over {against} shrinks with longer training",
        "The lead of {loss} over {against} grows with longer training",
        "The lead of {loss} over {against} does not shrink with longer training",
    ),
    weights=weights,
    source="Ma et al., Loss odyssey (SegLoss), 2021",
    published="liver tumours, DSC: CE .564, Dice .619 with one trainer; .642, .620 with the next",
)
