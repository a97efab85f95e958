"""The sum of Dice and cross-entropy leads Dice on clean data.

Measured as the Dice score of Dice + CE minus that of Dice, on the dataset as it is. The
published lead is small (its standard deviation is 1.1 points). So the smallest difference is 0.01,
the regret at which the recommendation no longer tells two losses apart.
"""

from analysis.claims import Claim, Plain, clean

CLAIM = Claim(
    title="Dice + cross-entropy leads Dice on clean data",
    order=60,
    about="dice_ce",
    against="dice",
    unit="DSC",
    smallest=0.01,
    says="Dice score of {loss} minus that of {against}, on the dataset as it is",
    plain=Plain(
        "{loss} leads {against} on clean data",
        "{loss} falls behind {against} on clean data",
        "{loss} does not lead {against} on clean data",
    ),
    weights=clean,
    source="Galdran et al., On the optimal combination of cross-entropy and soft Dice, 2022",
    published="polyps, DSC: CE + Dice 89.8, Dice 88.8",
)
