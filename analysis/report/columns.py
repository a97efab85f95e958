"""Meanings of the columns of the printed tables, shown with their headings."""

from __future__ import annotations

from analysis import recommendation, stresses
from analysis.report.measured import FIRST_STEP
from analysis.scores.draws import NEAR
from analysis.scores.metrics import DETECTED, METRICS

_ADVICE = recommendation.COLUMNS
MEANINGS = {
    # cells
    "dataset": "dataset of the study; constructed: predictions made by hand, no images",
    "experiment": "experiment of the study: its levels differ in one thing",
    "level": "level of the experiment; in verdicts: the kind of evidence, mechanism (computed, no "
    "training), controlled (generated images) or field (real images)",
    "setting": "training setting",
    "loss": "loss that the models were trained with, or a control",
    "threshold": "threshold of the predicted probability: 0.5, or tuned on validation images",
    "learning rate": "fixed, or tuned on validation images",
    "class": "class that is scored against the rest",
    "runs": "trained models in the means, of those planned",
    "seeds": "smallest number of seeds of a level",
    "at": "threshold that was applied, median over the models",
    # verdicts
    "claim": "claim of the article",
    "reference": "loss that it is compared with",
    "family": "primary: the verdicts that the study is for; secondary: all others. Each family has "
    "its own correction for several tests",
    "verdict": "supported: at least the smallest difference that matters; contradicted: below it; "
    "undecided: neither can be shown",
    "finding": "the reason for the verdict, or the seeds that an open one needs; in published "
    "findings: the finding",
    "estimate": "difference between the loss and its reference; above 0 agrees with the claim",
    "95% interval": "the range of values that agree with the data, at 95% confidence",
    "90% interval": "a one-sided test at 5% compares this interval with the smallest difference",
    "another dataset (95%)": "the range in which the difference on a dataset that is not in the "
    "study lies, with 95% probability",
    "smallest": "smallest difference that matters, fixed before any run",
    "p": "p value, corrected within the family",
    "n": "paired seeds (or datasets) in the estimate, of those planned",
    "seeds needed": "number of seeds that would decide it",
    "fragile": "yes: without some single seed it would not be decided",
    "floor": f"levels at which no loss reaches a mean Dice score of {DETECTED:g}",
    # published findings
    "source": "the publication",
    "published": "the numbers in the publication",
    "claimed": "the smallest difference that would agree with the finding",
    "measured": "the quantity that this study measured",
    # recommendation and ranks
    "situation": _ADVICE["situation"],
    "datasets": _ADVICE["scope"],
    "rank": _ADVICE["rank"],
    "P(best)": _ADVICE["best"],
    f"P(within {NEAR:g} of the best)": _ADVICE["near"],
    "expected regret": _ADVICE["regret"],
    "at most (95%)": _ADVICE["bound"],
    "advised": _ADVICE["advised"],
    "may be as good": _ADVICE["may_be_as_good"],
    "fails on": _ADVICE["fails_on"],
    "share of draws first": "share of the draws of all scores in which the loss is the first",
    # whole runs
    "ok": "runs that ended with finite numbers, of those planned",
    "diverged": "runs whose loss became infinite or undefined; they score 0",
    "failed": "runs that stopped with an error; they have no score",
    "predict nothing": "runs whose models predict no foreground in any test image",
    "predict everything": "runs whose models predict foreground in every pixel",
    "detect the foreground": f"runs whose validation Dice score reached {DETECTED:g}",
    FIRST_STEP: "median over those runs of the first step at which it did",
    "ECE": "expected calibration error: mean distance between predicted probability and frequency",
    "noise memorised, background": "share of the wrong training labels on background that the "
    "model repeats, minus the share of mistakes on right labels",
    "noise memorised, foreground": "the same share on foreground",
    # classes
    "share of pixels": "share of the test pixels that belong to the class",
    "never predicted": "runs that predict no pixel of the class",
    "DSC of all pixels": "Dice score of the pixels of all test images together",
    # learning rates
    "best rate": "learning rate with the best validation score",
    "sensitivity": "test Dice score lost from the best rate to the worst",
    # flipped labels
    "flips": "share of the training labels that are flipped",
    "true share": "share of foreground among the pixels of the true masks",
    "by theory": "share of foreground that the loss's minimiser predicts",
    "smallest run": "smallest share among the runs",
    "largest run": "largest share among the runs",
    # stressed datasets
    "label_fraction": "share of foreground in the labels",
    "label_objects": "objects per image in the labels",
    "size_q50": "median of the true objects' sizes, pixels",
    "size_q90": "90% quantile of the true objects' sizes, pixels",
}
"""Heading -> meaning."""
MEANINGS |= {
    metric.column: " ".join(metric.label.split()) for metric in METRICS.values() if metric.column
}
MEANINGS = {name: words for name, words in stresses.COLUMNS.items() if words} | MEANINGS


def meaning(heading: str) -> str:
    """Return the meaning of a heading; empty for one without.

    >>> meaning("IoU"), meaning("best rate")
    ('IoU', 'learning rate with the best validation score')
    """
    kind, _, rate = heading.partition(" at ")
    if rate and kind in ("validation", "test"):
        return f"{kind} Dice score at the learning rate {rate}"
    return MEANINGS.get(heading, "")
