"""Weighted cross-entropy finds small targets that cross-entropy misses.

Measured as the recall of objects below 32 px under weighted cross-entropy minus that under
cross-entropy, at the smallest foreground fraction. The smallest difference is one small object in
twenty. The price is a claim of its own.
"""

from analysis.claims import Claim, Plain, rarest

CLAIM = Claim(
    title="Weighted cross-entropy finds small targets",
    order=30,
    about="weighted_cross_entropy",
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
    published="lung nodules, recall: weighted CE .959, CE .464",
)
