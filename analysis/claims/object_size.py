"""Dice loss balances large and small objects badly: small objects beside large ones suffer.

Measured where a large object stands among small ones, as the gap between the recall of large and
of small objects, less the same gap under cross-entropy. In the gradient: how much less a pixel of
a small object gets than a pixel of the large one beside it.
"""

from analysis.claims import Claim


def weights(levels):
    mixed = [level for level in levels if dict(level.stress).get("size") == "mixed"]
    return [(1 / len(mixed), level) for level in mixed]


CLAIM = Claim(
    title="Dice neglects small objects beside large ones",
    experiment="object_size",
    metric="size_gap",
    also="recall_small",
    unit="recall of objects",
    smallest=0.05,
    says="Recall gap between large and small objects side by side, {loss} less {against} "
    "(positive: {loss} favours the large ones more)",
    weights=weights,
    mechanism_smallest=0.05,
    mechanism_sign=-1,
    mechanism_says="Gradient that a pixel of a small object lacks of one of the large object "
    "beside it, {loss} less {against}",
)
