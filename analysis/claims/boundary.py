"""Dice loss predicts boundary pixels better.

Measured as the difference in Dice score within 2 px of the true boundary, averaged over the
experiment's levels. The reason given, that a square in the intersection makes boundary pixels
weigh more, is measured as the share of the gradient that falls within 2 px of the boundary.
"""

from analysis.claims import Claim, evenly

CLAIM = Claim(
    title="Dice is better at boundary pixels",
    experiment="boundary",
    metric="band_dice",
    also="band_dice",
    unit="DSC in the boundary band",
    smallest=0.02,
    says="Dice score of {loss} less that of {against}, within 2 px of the true boundary",
    weights=evenly,
    mechanism_smallest=0.05,
    mechanism_says="Share of the gradient that falls within 2 px of the boundary, {loss} less "
    "{against}",
)
