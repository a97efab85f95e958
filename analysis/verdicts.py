"""The verdicts of a study: `python -m analysis.verdicts CONFIG runs.csv verdicts.csv`."""

import argparse
from dataclasses import asdict, dataclass, fields

import pandas as pd

from analysis import claims, metrics, statistics
from experiments.files import write_whole
from experiments.plan import Study, stress_name
from experiments.results import read_table

REFERENCE = "cross_entropy"
"""What a loss is held against."""
HEADLINE = "dice"
"""The loss that the claims are about."""
THRESHOLDS = ("0.5", "tuned")


@dataclass(frozen=True)
class Verdict:
    """A claim held against one dataset, for one loss and threshold."""

    claim: str
    level: str
    dataset: str
    stress: str
    loss: str
    against: str
    threshold: str
    estimate: float
    low: float
    high: float
    unit: str
    smallest: float
    n: int
    planned: int
    verdict: str
    reason: str


def judge(study, scored, name, claim, dataset, loss, threshold):
    """The verdict of a claim; a pure function of the scored table."""
    levels = study.experiments[claim.experiment][dataset.name]
    weighted = claim.weights(levels)
    terms = [
        (
            weight,
            metrics.paired(
                scored,
                claim.metric,
                loss=loss,
                against=REFERENCE,
                dataset=dataset.name,
                stress=stress_name(level.stress),
                threshold=threshold,
            ),
        )
        for weight, level in weighted
    ]
    planned = len(study.seeds) if terms else 0
    estimated = statistics.estimate(terms)
    if not terms:
        reason = "the experiment has no levels that could answer"
    elif estimated.n < planned:
        reason = (
            f"{planned - estimated.n} of {planned} pairs of runs are missing or without a value"
        )
    else:
        reason = ""
    return Verdict(
        claim=name,
        level="controlled" if dataset.controlled else "field",
        dataset=dataset.name,
        stress=" vs ".join(stress_name(level.stress) for _, level in weighted),
        loss=loss,
        against=REFERENCE,
        threshold=threshold,
        estimate=round(estimated.value, 6),
        low=round(estimated.low, 6),
        high=round(estimated.high, 6),
        unit=claim.unit,
        smallest=claim.smallest,
        n=estimated.n,
        planned=planned,
        verdict=statistics.decide(estimated, claim.smallest, planned) if terms else "undecided",
        reason=reason,
    )


def verdicts(study, table):
    """A row per claim, dataset, loss and threshold, the claims' own loss first."""
    scored = metrics.scores(table)
    others = sorted(
        (loss for loss in study.losses if loss != REFERENCE), key=lambda v: v != HEADLINE
    )
    rows = [
        asdict(judge(study, scored, name, claim, dataset, loss, threshold))
        for name, (claim, _) in claims.load().items()
        if claim.experiment in study.experiments and REFERENCE in study.losses
        for dataset in study.datasets.values()
        for loss in others
        for threshold in THRESHOLDS
    ]
    return pd.DataFrame(rows, columns=[field.name for field in fields(Verdict)])


def read_verdicts(path):
    """verdicts.csv as `verdicts` made it."""
    return pd.read_csv(path, dtype={"threshold": str}).fillna({"reason": "", "stress": ""})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("table")
    parser.add_argument("output")
    args = parser.parse_args()
    study = Study.read(args.config)
    found = verdicts(study, read_table(args.table))
    write_whole(args.output, found.to_csv(index=False))
    for row in found[(found["loss"] == HEADLINE) & (found["threshold"] == "0.5")].itertuples():
        print(
            f"{row.claim} ({row.dataset}): {row.verdict}, {row.estimate:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}] {row.unit}, {row.n} of {row.planned}"
        )


if __name__ == "__main__":
    main()
