"""Dice loss predicts boundary pixels better.

Measured as the difference in Dice score within 2 px of the true boundary, averaged over the
experiment's levels.
"""

from analysis.claims import Claim

CLAIM = Claim(
    experiment="boundary",
    title="Dice is better at boundary pixels",
    metric="band_dice",
    also="band_dice",
    unit="DSC in the boundary band",
    smallest=0.02,
    says="Dice score of {loss} less that of {against}, within 2 px of the true boundary",
    weights=lambda levels: [(1 / len(levels), level) for level in levels],
)
