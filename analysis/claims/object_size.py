"""Dice loss balances large and small objects badly: small objects next to large ones suffer.

Measured on images with one large object among small ones, as the gap between the recall of large
and of small objects, minus the same gap under cross-entropy. In the gradient: the amount by which
a pixel of a small object gets less than a pixel of the large object next to it.
"""

from analysis.claims import Claim, Mechanism, Panel, Plain, mixed

MECHANISM = Mechanism(
    quantity="small_over_large",
    x=4,
    unit="gradient per pixel over the large object's",
    condition="squares of 4 and 32 px, equally well predicted",
    smallest=0.05,
    says="Gradient that a pixel of a small object lacks, compared with a pixel of the large "
    "object next to it, {loss} minus {against}",
    sign=-1,
    panels=(
        Panel(
            "small_over_large",
            "Side of the small square (px)",
            "Gradient per pixel,\nsmall / large square",
            log_x=True,
            ylim=(0.0, 2.0),
            line=("y", 1.0),
        ),
    ),
    caption="Gradient of a pixel of a small square over that of a pixel of a square of 32 px in "
    "the same image. Both are predicted p = 0.5. At 1 a loss sums over pixels and does not see "
    "objects: a small object counts by its area, under cross-entropy as under Dice.",
)

CLAIM = Claim(
    title="Dice neglects small objects next to large ones",
    order=3,
    experiment="object_size",
    metric="size_gap",
    also="recall_small",
    unit="recall of objects",
    smallest=0.05,
    says="Recall gap between large and small objects in the same image, {loss} minus {against} "
    "(positive: {loss} favours the large ones more)",
    plain=Plain(
        "Next to large objects {loss} neglects small ones more than {against}",
        "Next to large objects {loss} neglects small ones less than {against}",
        "Next to large objects {loss} neglects small ones no more than {against}",
    ),
    weights=mixed,
    needs="objects of both sizes",
    primary=True,
    mechanism=MECHANISM,
)
