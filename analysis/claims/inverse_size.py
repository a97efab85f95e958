"""Weights of inverse object size lift the recall of small objects.

Measured as the recall of objects below 32 px under inverse-size Dice minus that under Dice, on
images with one large object among small ones. The two losses differ in the weights only. The
smallest difference is one small object in twenty.
"""

from analysis.claims import Claim, Plain, mixed

CLAIM = Claim(
    title="Inverse-size weights lift small objects",
    order=41,
    about="inverse_size_dice",
    against="dice",
    metric="recall_small",
    unit="recall of objects",
    smallest=0.05,
    says="Recall of small objects next to large ones under {loss} minus that under {against}",
    plain=Plain(
        "Next to large objects {loss} finds more small ones than {against}",
        "Next to large objects {loss} finds fewer small ones than {against}",
        "Next to large objects {loss} finds no more small ones than {against}",
    ),
    weights=mixed,
    source="Shirokikh et al., Universal loss reweighting, 2020 (from its raw data)",
    published="lung nodules below 6 mm, recall: .750 with inverse-size weights, .625 without",
)
