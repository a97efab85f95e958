"""Dice loss is disturbed by noise and overfits noisy pixels.

Measured as the Dice score (against true labels) that the loss loses from the least to the most
label noise in training, less what cross-entropy loses.
"""

from analysis.claims import Claim, ends


def weights(levels):
    found = ends(levels)
    return [(1, found[0]), (-1, found[1])] if found else []


CLAIM = Claim(
    experiment="noise",
    title="Dice is disturbed by label noise",
    metric="dice",
    also="area_ratio",
    unit="DSC",
    smallest=0.05,
    says="Dice score that {loss} loses beyond what {against} loses, from the least label noise "
    "to the most",
    weights=weights,
)
