"""Cross-entropy misses small targets, and Dice finds them.

Measured as the recall of objects below 32 px under squared Dice (the published Dice loss has
squares) minus that under cross-entropy, at the smallest foreground fraction. The smallest
difference is one small object in twenty, as in the claim on object size.
"""

from analysis.claims import Claim, Plain, rarest

CLAIM = Claim(
    title="Dice finds small targets that cross-entropy misses",
    order=20,
    about="squared_dice",
    against="cross_entropy",
    metric="recall_small",
    unit="recall of objects",
    smallest=0.05,
    says="Recall of small objects under {loss} minus that under {against}, at the smallest "
    "foreground fraction",
    plain=Plain(
        "{loss} finds more small targets than {against}",
        "{loss} finds fewer small targets than {against}",
        "{loss} finds no more small targets than {against}",
    ),
    weights=rarest,
    source="Shirokikh et al., Universal loss reweighting, 2020 (from its raw data)",
    published="lung nodules below 6 mm, recall: CE .042, Dice .625; all sizes .464, .888",
)
