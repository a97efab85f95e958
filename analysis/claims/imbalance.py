"""Dice loss is robust to class imbalance; cross-entropy alone tends to call every pixel background.

Measured as the Dice score that cross-entropy loses from the largest foreground fraction to the
smallest, less what the loss loses. The reason given, that background dominates the
cross-entropy, is measured as the share of the gradient that foreground gets.
"""

from analysis.claims import Claim, ends


def weights(levels):
    found = ends(levels)
    return [(1, found[0]), (-1, found[1])] if found else []


CLAIM = Claim(
    title="Dice is robust to class imbalance",
    experiment="imbalance",
    unit="DSC",
    smallest=0.05,
    says="Dice score that {loss} keeps and {against} loses, from the largest foreground fraction "
    "to the smallest",
    weights=weights,
    mechanism_smallest=0.05,
    mechanism_says="Share of the gradient that foreground pixels get, {loss} less {against}",
)
