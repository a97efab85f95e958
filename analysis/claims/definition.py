"""The Dice loss is 1 - 2 sum(P Y) / ((sum P)^2 + (sum Y)^2), and is 0 at a perfect match.

Measured as minus the loss of a perfect prediction of 100 foreground pixels.
"""

from analysis.claims import Claim

CLAIM = Claim(
    title="The printed formula is a Dice loss",
    mechanism_smallest=-0.01,
    mechanism_sign=-1,
    mechanism_says="Minus the loss of {loss} at a perfect match of 100 pixels",
    about="article_dice",
)
