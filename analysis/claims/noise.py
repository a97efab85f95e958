"""Dice loss is disturbed by noise and overfits noisy pixels.

Measured as the Dice score (against true labels) that the loss loses from the least to the most
label noise in training, minus the Dice score that cross-entropy loses. Levels without a number
are taken from the first to the last. The article's reason is that a square punishes noisy pixels
more. It is measured as the noisy labels' share of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Mechanism, Panel, ends

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the levels that are compared: least noise (+) and most noise (-)."""
    least, most = ends(levels) or (levels[0], levels[-1])
    return [(1, least), (-1, most)] if len(levels) > 1 else []


MECHANISM = Mechanism(
    quantity="noisy_share",
    x=0.1,
    unit="share of the gradient",
    condition="10% of labels flipped, 90% sure",
    smallest=0.05,
    says="Noisy labels' share of the gradient, {loss} minus {against}",
    panels=(
        Panel(
            "noisy_share",
            "Share of labels flipped",
            "Flipped labels' share\nof the gradient",
            log_x=True,
            ylim=(0.0, 1.0),
        ),
    ),
    caption="A prediction that is 90% sure of the truth (6% foreground), with some labels "
    "flipped: the share of the gradient that the flipped labels get, mean of five draws. The "
    "greater the share, the harder a loss pulls at noise.",
)

CLAIM = Claim(
    title="Dice is disturbed by label noise",
    order=4,
    experiment="noise",
    unit="DSC",
    smallest=0.05,
    says="Dice score that {loss} loses in excess of {against}, from the least label noise "
    "to the most",
    weights=weights,
    mechanism=MECHANISM,
)
