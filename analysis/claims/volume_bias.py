"""Soft Dice has a volume bias under uncertainty.

Measured as the error of the predicted size, (P - T) / (P + T) of P predicted and T true pixels,
under Dice minus that under cross-entropy, with the most jitter of the labels' boundaries. By theory
Dice's decision is at a posterior of d / 2 < 1/2, so that its region is the larger one. The smallest
difference, 0.02, is a region 4% larger.
"""

from analysis.claims import Claim, Plain, jittered

CLAIM = Claim(
    title="Dice predicts larger regions where boundaries are uncertain",
    order=110,
    against="cross_entropy",
    metric="size_error",
    unit="(P − T) / (P + T)",
    smallest=0.02,
    says="Error of the predicted size under {loss} minus that under {against}, with the most "
    "jitter of the labels",
    plain=Plain(
        "Where boundaries are uncertain {loss} predicts larger regions than {against}",
        "Where boundaries are uncertain {loss} predicts smaller regions than {against}",
        "Where boundaries are uncertain {loss} predicts regions no larger than {against}",
    ),
    weights=jittered,
    source="Bertels et al., Volume bias of soft Dice, 2021 (abstract); Nordström et al., 2022",
    published="soft Dice has a volume bias where the task is uncertain",
)
