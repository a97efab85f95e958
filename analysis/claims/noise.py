"""Dice loss is disturbed by noise and overfits noisy pixels.

Measured as the Dice score (against true labels) of cross-entropy minus that of the loss, with the
most label noise in training. The level without noise is not subtracted: it would add its noise.
Of levels without a number the last is the noisiest. The article's reason is that a square punishes
noisy pixels more. It is measured as the noisy labels' share of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Mechanism, Panel, Plain, hardest

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level with the most noise."""
    numbered = hardest(levels, least=False)
    return numbered or [(1, level) for level in levels[1:][-1:]]


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
    caption="Share of the flipped labels in the absolute gradient, mean of five draws. The "
    "prediction is 90% sure of the truth (6% foreground). The greater the share, the harder a "
    "loss pulls at noise.",
)

CLAIM = Claim(
    title="Dice is disturbed by label noise",
    order=4,
    experiment="noise",
    unit="DSC",
    smallest=0.05,
    says="Dice score of {against} minus that of {loss}, with the most label noise",
    plain=Plain(
        "Label noise costs {loss} more than {against}",
        "Label noise costs {loss} less than {against}",
        "Label noise costs {loss} no more than {against}",
    ),
    weights=weights,
    sign=-1,
    primary=True,
    mechanism=MECHANISM,
)
