"""Dice loss predicts boundary pixels better.

Measured as the difference in Dice score within 2 px of the true boundary, averaged over the
experiment's levels. The article's reason is that a square in the intersection gives boundary
pixels more weight. It is measured as the share of the gradient within 2 px of the boundary.
"""

from analysis.claims import Claim, Mechanism, Panel, Plain, evenly

MECHANISM = Mechanism(
    quantity="boundary_share",
    x=1.0,
    unit="share of the gradient",
    condition="a disk with a soft edge of 1 px",
    smallest=0.05,
    says="Share of the gradient within 2 px of the boundary, {loss} minus {against}",
    panels=(
        Panel(
            "by_distance",
            "Distance to the boundary (px; negative: inside)",
            "Gradient of a pixel\n/ of an average pixel",
            line=("x", 0.0),
        ),
        Panel(
            "boundary_share",
            "Width of the predicted edge (px)",
            "Share of the gradient\nwithin 2 px of the boundary",
            ylim=(0.0, 1.03),
        ),
    ),
    caption="A disk of radius 12 px, predicted with a soft edge, p = 1 / (1 + exp(distance / "
    "width)). Left: absolute gradient of the logits by distance to the true boundary, at a width "
    "of 1 px. Right: share of the gradient within 2 px of the boundary. By the article's reason "
    "Dice would be above cross-entropy; no loss here squares the intersection.",
)

CLAIM = Claim(
    title="Dice is better at boundary pixels",
    order=2,
    experiment="boundary",
    metric="band_dice",
    also="band_dice",
    unit="DSC in the boundary band",
    smallest=0.02,
    says="Dice score of {loss} minus that of {against}, within 2 px of the true boundary",
    plain=Plain(
        "{loss} predicts boundaries better than {against}",
        "{loss} predicts boundaries worse than {against}",
        "{loss} predicts boundaries no better than {against}",
    ),
    weights=evenly,
    primary=True,
    mechanism=MECHANISM,
)
