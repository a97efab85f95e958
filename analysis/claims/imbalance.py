"""Dice loss is robust to class imbalance; cross-entropy alone tends to call every pixel background.

Measured as the Dice score of the loss minus that of cross-entropy at the smallest foreground
fraction. The largest fraction is not subtracted: it would add its noise. The article's reason is
that background dominates the cross-entropy. It is measured as foreground's share of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Mechanism, Panel, Plain, hardest

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level with the smallest fraction."""
    return hardest(levels, least=True)


MECHANISM = Mechanism(
    quantity="foreground_share",
    x=0.003,
    unit="share of the gradient",
    condition="0.3% foreground, p = 0.5",
    smallest=0.05,
    says="Foreground's share of the gradient, {loss} minus {against}",
    panels=(
        Panel(
            "foreground_share",
            "Foreground fraction f",
            "Foreground's share\nof the gradient",
            log_x=True,
            ylim=(0.0, 1.0),
        ),
    ),
    caption="Share of the foreground in the absolute gradient of the logits. Every pixel is "
    "predicted p = 0.5, as before training. The share is f for cross-entropy, which background "
    "dominates, and (1 + f) / 2 for Dice at any imbalance.",
)

CLAIM = Claim(
    title="Dice is robust to class imbalance",
    order=1,
    experiment="imbalance",
    unit="DSC",
    smallest=0.05,
    says="Dice score of {loss} minus that of {against}, at the smallest foreground fraction",
    plain=Plain(
        "{loss} finds rare foreground better than {against}",
        "{loss} finds rare foreground worse than {against}",
        "{loss} finds rare foreground no better than {against}",
    ),
    weights=weights,
    primary=True,
    mechanism=MECHANISM,
)
