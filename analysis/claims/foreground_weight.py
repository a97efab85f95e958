"""A heavier weight of the foreground finds more true positives.

Measured as the recall of pixels under weighted cross-entropy minus that under cross-entropy,
averaged over the foreground fractions. The smallest difference is one foreground pixel in twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Plain, evenly, shares

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the levels with a foreground fraction, evenly weighted."""
    return evenly(shares(levels))


CLAIM = Claim(
    title="A heavier foreground weight finds more true positives",
    order=140,
    about="weighted_cross_entropy",
    against="cross_entropy",
    metric="sensitivity",
    unit="recall of pixels",
    smallest=0.05,
    says="Recall of pixels under {loss} minus that under {against}, over all foreground fractions",
    plain=Plain(
        "{loss} finds more foreground pixels than {against}",
        "{loss} finds fewer foreground pixels than {against}",
        "{loss} finds no more foreground pixels than {against}",
    ),
    weights=weights,
    source="Cabezas and Diez, 2024 (abstract)",
    published="two lesion data sets: more true positives with more weight",
)
