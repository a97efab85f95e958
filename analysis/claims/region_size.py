"""Dice drives predicted sizes to extremes, and cross-entropy keeps the true proportions.

Measured where labels are uncertain, as the departure of the predicted size from the true one,
|P - T| / (P + T) of P predicted and T true pixels, under the loss minus that under cross-entropy,
averaged over the levels with flipped labels. The smallest difference, 0.05, is a region that is 10%
too large or too small. By theory Dice predicts all pixels of a posterior above d / 2, so that
regions become whole or vanish. It is measured as the net pull on the size of a prediction that
equals the posterior: cross-entropy leaves this size as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.claims import Claim, Mechanism, Panel, Plain, evenly

if TYPE_CHECKING:
    from experiments.plan.study import Level


def weights(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the levels with flipped labels, evenly weighted."""
    return evenly([level for level in levels if level.stress.get("flips")])


MECHANISM = Mechanism(
    quantity="size_pull",
    x=0.1,
    unit="share of the gradient",
    condition="10% of labels flipped, predicted by their probabilities",
    smallest=0.05,
    says="Net pull on the region's size, {loss} minus {against}",
    panels=(
        Panel(
            "size_pull",
            "Share of labels flipped",
            "Net pull on the size /\nsum of all pulls",
            log_x=True,
            ylim=(0.0, 1.0),
        ),
    ),
    caption="Sum of the logits' gradients over the sum of their absolute values, mean of five "
    "draws. The prediction equals the posterior (6% foreground, some labels flipped). At 0 the "
    "loss keeps the size of the region; at 1 every pixel is pulled to the same side. An L1 term "
    "pulls fully at any error of the size, however small.",
)

CLAIM = Claim(
    title="Dice drives region sizes to extremes",
    order=7,
    experiment="noise",
    metric="size_departure",
    unit="|P − T| / (P + T)",
    smallest=0.05,
    says="Departure of the predicted size from the true one, {loss} minus {against}, with flipped "
    "labels",
    plain=Plain(
        "Under flipped labels {loss} distorts the size of regions more than {against}",
        "Under flipped labels {loss} distorts the size of regions less than {against}",
        "Under flipped labels {loss} distorts the size of regions no more than {against}",
    ),
    weights=weights,
    source="Liu et al., Do we really need Dice?, 2024 (abstract)",
    published="Dice favours extreme sizes, cross-entropy the true proportions",
    mechanism=MECHANISM,
)
