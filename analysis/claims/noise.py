"""Dice loss is disturbed by noise and overfits noisy pixels.

Measured as the Dice score (against true labels) that the loss loses from the least to the most
label noise in training (levels by name: from the first to the last), less what cross-entropy
loses. The reason given, that a square punishes
noisy pixels more, is measured as the share of the gradient that noisy labels get.
"""

from analysis.claims import Claim, ends


def weights(levels):
    found = ends(levels) or (levels[0], levels[-1])
    return [(1, found[0]), (-1, found[1])] if len(levels) > 1 else []


CLAIM = Claim(
    title="Dice is disturbed by label noise",
    experiment="noise",
    unit="DSC",
    smallest=0.05,
    says="Dice score that {loss} loses beyond what {against} loses, from the least label noise "
    "to the most",
    weights=weights,
    mechanism_smallest=0.05,
    mechanism_says="Share of the gradient that noisy labels get, {loss} less {against}",
)
