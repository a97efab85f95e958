"""Under mild imbalance cross-entropy and Dice do alike.

Measured as the Dice score of Dice minus that of cross-entropy, at the largest foreground fraction,
which must be at least a tenth. The claim is that it is within 0.02, less than seeds differ by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Plain, shares

if TYPE_CHECKING:
    from experiments.plan.study import Level

MILD = 0.1
"""Least foreground fraction that is mild; skin lesions have about a fifth."""


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level with the largest fraction, if that is mild."""
    return [(1, level) for level in shares(levels)[-1:] if level.stress.share >= MILD]


CLAIM = Claim(
    title="Under mild imbalance the loss makes no difference",
    order=80,
    against="cross_entropy",
    unit="DSC",
    smallest=0.02,
    equivalent=True,
    says="Dice score of {loss} minus that of {against}, at the largest foreground fraction",
    plain=Plain(
        "Under mild imbalance {loss} and {against} score alike",
        "Under mild imbalance {loss} and {against} do not score alike",
    ),
    weights=weights,
    source="tables of Gonzalez-Jimenez et al., Robust T-loss, 2023",
    published="skin lesions, DSC: CE .913, Dice .915 (ISIC 2017); .908, .912 (ISIC 2018)",
)
