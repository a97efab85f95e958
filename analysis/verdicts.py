"""The verdicts of a study: `python -m analysis.verdicts CONFIG runs.csv mechanism.csv OUT`."""

import argparse
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd

from analysis import claims, mechanism, metrics, statistics, tuning
from analysis.claims import REFERENCE
from experiments.files import write_whole
from experiments.plan import Study, stress_name
from experiments.results import read_table

THRESHOLDS = ("0.5", "tuned")
POOLED = "all datasets"


@dataclass(frozen=True)
class Verdict:
    """A claim held against one dataset (or all real ones) at one level, for one loss.

    threshold: of the loss; cross-entropy's is the same but for the claim `threshold`. rate: the
    learning rate, `fixed` for all losses, or `tuned` for each. n of planned: pairs of runs, by
    seed; where datasets are pooled, datasets. p: of the estimate being the smallest difference
    that matters; p_corrected: by Holm, over the claims and datasets of the same level, loss,
    threshold and rate.
    """

    claim: str
    level: str
    dataset: str
    stress: str
    loss: str
    against: str
    threshold: str
    rate: str
    estimate: float
    low: float
    high: float
    unit: str
    smallest: float
    n: int
    planned: int
    p: float
    p_corrected: float
    verdict: str
    finding: str
    reason: str


KEY = ["claim", "level", "dataset", "loss", "threshold", "rate"]
"""No two verdicts share these."""


def terms(study, scored, claim, dataset, loss, threshold):
    """[(weight, {seed: paired differences per image})] of a claim on a dataset, and its stress."""
    weighted = claim.weights(study.experiments[claim.experiment][dataset.name])
    found = [
        (
            claim.sign * weight,
            metrics.paired(
                scored,
                claim.metric,
                loss=loss,
                against=REFERENCE,
                dataset=dataset.name,
                stress=stress_name(level.stress),
                threshold=threshold,
                against_threshold="tuned" if claim.against_tuned else threshold,
            ),
        )
        for weight, level in weighted
    ]
    return found, " vs ".join(stress_name(level.stress) for _, level in weighted)


def make(estimated, *, smallest, planned, **what):
    """A verdict before the correction for the number of comparisons."""
    if planned == 0:
        reason = "the experiment has no levels that could answer"
    elif estimated.n < planned:
        missing = planned - estimated.n
        reason = f"{missing} of {planned} " + (
            "datasets have no value with an interval"
            if what["dataset"] == POOLED
            else "pairs of runs are missing or without a value"
        )
    elif estimated.n == 1 and estimated.error != 0:
        reason = "one seed says nothing of how seeds differ"
    elif np.isnan(estimated.low):
        reason = "every difference is the same: how far seeds and images differ is not known"
    else:
        reason = ""
    return Verdict(
        **what,
        estimate=_round(estimated.value),
        low=_round(estimated.low),
        high=_round(estimated.high),
        smallest=smallest,
        n=estimated.n,
        planned=planned,
        p=estimated.p(smallest),
        p_corrected=float("nan"),
        verdict="undecided",
        finding="",
        reason=reason,
    )


def _round(value):
    return round(value, 6) + 0.0  # no minus zero


def of_runs(study, table, rate):
    """The verdicts that rest on trained models, at one of the learning rates."""
    scored = metrics.scores(table)
    real = [d for d in study.datasets.values() if not d.controlled]
    rows = []
    for name, (claim, _) in claims.load().items():
        if claim.experiment not in study.experiments or REFERENCE not in study.losses:
            continue
        levels = study.experiments[claim.experiment]
        for loss in (loss for loss in study.losses if loss != REFERENCE):
            for threshold in THRESHOLDS:
                same = {
                    "claim": name,
                    "loss": loss,
                    "against": REFERENCE,
                    "threshold": threshold,
                    "rate": rate,
                    "unit": claim.unit,
                    "smallest": claim.smallest,
                }
                found = {}
                for dataset in study.datasets.values():
                    asked, stress = terms(study, scored, claim, dataset, loss, threshold)
                    estimated = statistics.estimate(asked, shared=not dataset.controlled)
                    found[dataset.name] = estimated
                    rows.append(
                        make(
                            estimated,
                            **same,
                            level="controlled" if dataset.controlled else "field",
                            dataset=dataset.name,
                            stress=stress,
                            planned=len(study.seeds) if asked else 0,
                        )
                    )
                if len(real) > 1:
                    pooled = statistics.pool([found[d.name] for d in real])
                    rows.append(
                        make(
                            pooled,
                            **same,
                            level="field",
                            dataset=POOLED,
                            stress=f"{len(real)} datasets",
                            planned=sum(bool(claim.weights(levels[d.name])) for d in real),
                        )
                    )
    return rows


def of_mechanism(measured):
    """The verdicts that are computed without training: exact, so that no interval is needed."""
    found = claims.load()
    return [
        make(
            statistics.exact(found[row.claim][0].mechanism_sign * row.estimate),
            claim=row.claim,
            level="mechanism",
            dataset="constructed",
            stress=row.stress,
            loss=row.loss,
            against="" if row.claim == "definition" else REFERENCE,
            threshold="",
            rate="",
            unit=row.unit,
            smallest=found[row.claim][0].mechanism_smallest,
            planned=1,
        )
        for row in mechanism.verdict_rows(measured).itertuples()
        if row.loss != REFERENCE
    ]


def settle(rows):
    """Correct for the number of comparisons, then decide."""
    families = {}
    for row in rows:
        families.setdefault((row.level, row.loss, row.threshold, row.rate), []).append(row)
    corrected = {}
    for family in families.values():
        p = [row.p for row in family]
        corrected |= dict(zip(map(id, family), statistics.correct(p), strict=True))
    return [_decide(row, corrected[id(row)]) for row in rows]


def _decide(row, p):
    estimated = statistics.Estimate(row.estimate, row.low, row.high, row.n)
    planned = max(row.planned, 1)
    verdict = statistics.decide(estimated, row.smallest, planned, p)
    reason = row.reason
    clear = statistics.decide(estimated, row.smallest, planned)
    if verdict == "undecided" and clear != "undecided":
        reason = (
            f"the interval alone would say {clear}, but not after the correction for the number "
            f"of comparisons (p = {p:.3f})"
        )
    return replace(
        row,
        p_corrected=p,
        verdict=verdict,
        finding=statistics.finding(estimated, row.smallest, verdict),
        reason=reason,
    )


def verdicts(study, table, measured):
    """A row per claim, level, dataset, loss, threshold and learning rate."""
    rows = of_mechanism(measured)
    for rate, rows_of in tuning.rates(study, table).items():
        rows += of_runs(study, rows_of, rate)
    return pd.DataFrame(
        [asdict(row) for row in settle(rows)], columns=[field.name for field in fields(Verdict)]
    )


def headline(found):
    """The verdicts on the losses that the claims are about, at threshold 0.5 and the fixed rate."""
    about = found["claim"].map({name: claim.about for name, (claim, _) in claims.load().items()})
    return found[
        (found["loss"] == about)
        & found["threshold"].isin(["", "0.5"])
        & found["rate"].isin(["", "fixed"])
    ]


def read_verdicts(path):
    """verdicts.csv as `verdicts` made it."""
    text = ["threshold", "rate", "reason", "stress", "against", "finding"]
    return pd.read_csv(path, dtype=dict.fromkeys(text, str)).fillna(dict.fromkeys(text, ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    for argument in ("table", "mechanism", "output"):
        parser.add_argument(argument)
    args = parser.parse_args()
    study = Study.read(args.config)
    found = verdicts(study, read_table(args.table), pd.read_csv(args.mechanism))
    write_whole(args.output, found.to_csv(index=False))
    for row in headline(found).itertuples():
        print(
            f"{row.claim} ({row.level}, {row.dataset}): {row.verdict}, {row.estimate:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}] {row.unit}, {row.n} of {row.planned}"
        )


if __name__ == "__main__":
    main()
