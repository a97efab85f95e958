"""Weighted cross-entropy pays for its recall with false objects.

Measured as the predicted objects that touch no true one, per image: those under weighted
cross-entropy minus those under cross-entropy, at the smallest foreground fraction. The smallest
difference is one false object in an image: about as many as there are true ones at this fraction.
"""

from analysis.claims import Claim, Plain, rarest

CLAIM = Claim(
    title="Weighted cross-entropy invents objects",
    order=31,
    about="weighted_cross_entropy",
    against="cross_entropy",
    metric="false_objects",
    unit="objects per image",
    smallest=1.0,
    says="False objects of an image under {loss} minus those under {against}, at the smallest "
    "foreground fraction",
    plain=Plain(
        "{loss} invents more objects than {against}",
        "{loss} invents fewer objects than {against}",
        "{loss} invents no more objects than {against}",
    ),
    weights=rarest,
    source="Shirokikh et al., Universal loss reweighting, 2020 (from its raw data)",
    published="lung nodules, false positives a case: weighted CE 34, CE 1.5, Dice 4.6",
)
