"""Squares in the denominator of the Dice loss make no real difference.

Measured as the Dice score of squared Dice minus that of Dice, on the dataset as it is. The claim is
that it is within 0.02, less than seeds differ by.
"""

from analysis.claims import Claim, Plain, clean

CLAIM = Claim(
    title="Squaring makes no real difference",
    order=70,
    about="squared_dice",
    against="dice",
    unit="DSC",
    smallest=0.02,
    equivalent=True,
    says="Dice score of {loss} minus that of {against}, on the dataset as it is",
    plain=Plain(
        "{loss} and {against} score alike",
        "{loss} and {against} do not score alike",
    ),
    weights=clean,
    source="tables of Gonzalez-Jimenez et al., Robust T-loss, 2023",
    published="skin lesions (ISIC 2017), DSC: .9152, .9155",
)
