"""Dice loses to cross-entropy once images without foreground appear.

Measured as the Dice score of cross-entropy minus that of Dice, with the greatest share of empty
images, in training and in the test. An empty image scores 1 if nothing is predicted, else 0. The
published gap is 0.054. The smallest difference is 0.02, the one at the boundary: a score of all
images, not of a hard cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Plain, most

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level with most empty images."""
    return most(levels, "absence")


CLAIM = Claim(
    title="Dice loses to cross-entropy on empty images",
    order=50,
    against="cross_entropy",
    metric="dice_with_empty",
    unit="DSC, 1 on empty images without a prediction",
    smallest=0.02,
    sign=-1,
    says="Dice score of {against} minus that of {loss}, with the most empty images",
    plain=Plain(
        "With empty images {loss} falls behind {against}",
        "With empty images {loss} leads {against}",
        "With empty images {loss} does not fall behind {against}",
    ),
    weights=weights,
    source="Galdran et al., On the optimal combination of cross-entropy and soft Dice, 2022",
    published="polyps, DSC: Dice 88.8, CE 89.2 without empty images; 81.9, 87.3 with them",
)
