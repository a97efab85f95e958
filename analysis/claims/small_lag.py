"""Within Dice, small objects lag behind large ones.

Measured under squared Dice (the published Dice loss has squares) alone, on images with one large
object among small ones: the recall of large objects minus that of small ones. The smallest
difference is one object in twenty. The claim on object size asks for more: a gap that is greater
than under cross-entropy.
"""

from analysis.claims import Claim, Plain, mixed

CLAIM = Claim(
    title="Under Dice small objects lag behind large ones",
    order=40,
    about="squared_dice",
    against="",
    metric="size_gap",
    unit="recall of objects",
    smallest=0.05,
    says="Recall of large objects minus that of small ones in the same image, under {loss}",
    plain=Plain(
        "Under {loss} small objects lag behind large ones",
        "Under {loss} small objects lead large ones",
        "Under {loss} small objects do not lag behind large ones",
    ),
    weights=mixed,
    source="Shirokikh et al., Universal loss reweighting, 2020 (from its raw data)",
    published="lung nodules, recall under Dice: .625 below 6 mm, .961 above 10 mm",
)
