"""The verdicts of a study: every claim compared with every dataset, for every loss."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims, looks
from analysis.claims import Claim
from analysis.scores import metrics, statistics, tuning
from analysis.scores.statistics import Estimate
from experiments.files import write_whole
from experiments.layout import VERDICTS
from experiments.plan.labels import label_of

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Level, Setting, Study

log = logging.getLogger("dicebench")

THRESHOLDS = ("0.5", "tuned")
POOLED = "all datasets"


@dataclass(frozen=True)
class Verdict:
    """A claim compared with one dataset (or all real ones) at one level, for one loss.

    against: the reference loss, empty if the claim has none. threshold: of the loss; the reference
    loss has the same one unless the claim is `against_tuned`. rate: the learning rate, `fixed` for
    all losses or `tuned` for each. setting: label of the training setting. n of planned: pairs of
    runs, by seed; of pooled datasets, datasets. p: of the estimate being the smallest difference
    that matters. p_corrected: by Holm, over the claims and datasets of the same level, loss,
    reference, threshold, rate and setting.
    """

    claim: str
    level: str
    dataset: str
    stress: str
    loss: str
    against: str
    threshold: str
    rate: str
    setting: str
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

    @property
    def family(self) -> tuple[str, ...]:
        """The comparisons that the p value is corrected for."""
        return (self.level, self.loss, self.against, self.threshold, self.rate, self.setting)


KEY = ["claim", "level", "dataset", "loss", "against", "threshold", "rate", "setting"]
"""Columns that identify a verdict."""


@dataclass(frozen=True)
class Case:
    """A claim for a loss and a reference at one threshold, learning rate and training setting."""

    name: str
    claim: Claim
    loss: str
    against: str
    threshold: str
    rate: str
    setting: Setting

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a verdict that all datasets share."""
        return {
            "claim": self.name,
            "loss": self.loss,
            "against": self.against,
            "threshold": self.threshold,
            "rate": self.rate,
            "setting": self.setting.label,
            "unit": self.claim.unit,
            "smallest": self.claim.smallest,
        }


def run(results: Results) -> None:
    """Write ``verdicts.csv`` and log the headlines."""
    study = results.study
    table = verdicts(study, results.table, results.mechanism)
    if study.adaptive:
        table = looks.carry(table, study.decisions[-1])
        log.info("%s", looks.summary(study, study.decisions[-1]))
    write_whole(study.file(VERDICTS), table.to_csv(index=False))
    for row in headline(table).itertuples():
        against = f"against {row.against}" if row.against and len(study.references) > 1 else ""
        where = ", ".join(filter(None, (row.level, row.dataset, row.setting, against)))
        log.info(
            f"{row.claim} ({where}): {row.verdict}, {row.estimate:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}] {row.unit}, {row.n} of {row.planned}"
        )


def verdicts(study: Study, table: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return a row per claim, level, dataset, loss, reference, threshold, learning rate, setting.

    table: ``runs.csv``. measured: ``mechanism.csv``.
    """
    rows = list(of_mechanism(measured, study.references))
    for rate, at_rate in tuning.rates(study, table).items():
        rows += of_runs(study, at_rate, rate)
    columns = [field.name for field in fields(Verdict)]
    return pd.DataFrame([asdict(row) for row in settle(rows)], columns=columns)


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on the losses that the claims are about, at 0.5 and the fixed rate."""
    about = table["claim"].map({name: claim.about for name, claim in claims.load().items()})
    return table[
        (table["loss"] == about)
        & table["threshold"].isin(["", "0.5"])
        & table["rate"].isin(["", "fixed"])
    ]


# Trained models


def of_runs(study: Study, table: pd.DataFrame, rate: str) -> Iterator[Verdict]:
    """Yield the verdicts from trained models, at one of the learning rates."""
    scored = metrics.scores(table)
    for case in _cases(study, rate):
        yield from _of_case(study, scored, case)


def _cases(study: Study, rate: str) -> Iterator[Case]:
    for name, claim in claims.load().items():
        if claim.experiment not in study.experiments:
            continue
        parts = study.references, study.settings_of(claim.experiment), study.losses, THRESHOLDS
        for against, setting, loss, threshold in itertools.product(*parts):
            if loss != against:
                yield Case(name, claim, loss, against, threshold, rate, setting)


def _of_case(study: Study, scored: pd.DataFrame, case: Case) -> Iterator[Verdict]:
    """Yield a verdict per dataset and, for several real datasets, one for all of them."""
    real, answering = [], 0
    for dataset in study.datasets.values():
        pairs, stress = terms(study, scored, case, dataset.name)
        estimated = statistics.estimate(pairs, shared=not dataset.controlled)
        if not dataset.controlled:
            real.append(estimated)
            answering += bool(pairs)
        yield make(
            estimated,
            planned=planned(study, case, dataset.name) if pairs else 0,
            **case.columns,
            level="controlled" if dataset.controlled else "field",
            dataset=dataset.name,
            stress=stress,
        )
    if len(real) > 1:
        yield make(
            statistics.pool(real),
            planned=answering,
            **case.columns,
            level="field",
            dataset=POOLED,
            stress=f"{len(real)} datasets",
        )


def planned(study: Study, case: Case, dataset: str) -> int:
    """Return the number of seeds that all runs of a claim's estimate on a dataset have."""
    losses = case.against, case.loss
    runs = looks.runs_of_claim(study, case.claim, dataset, case.setting, losses)
    return len(study.plan.common(runs))


def terms(
    study: Study, scored: pd.DataFrame, case: Case, dataset: str
) -> tuple[list[tuple[float, statistics.Sample]], str]:
    """Return the terms of a claim's estimate on a dataset, and the stresses that they compare.

    A term is (weight, {seed: paired differences per image}).
    """
    claim = case.claim
    weighted = claim.weights(study.experiments[claim.experiment].levels[dataset])
    against = "tuned" if claim.against_tuned else case.threshold
    pairs = []
    for weight, level in weighted:
        where = study.where(dataset, level, case.setting)
        ours = where | {"loss": case.loss, "threshold": case.threshold}
        theirs = where | {"loss": case.against, "threshold": against}
        pairs.append((claim.sign * weight, metrics.paired(scored, claim.metric, ours, theirs)))
    return pairs, " vs ".join(_words(level) for _, level in weighted)


def _words(level: Level) -> str:
    """Return the stress of a level and the training fields that it sets."""
    fields_set = (f"{field} {label_of(value)}" for field, value in level.training.items())
    return ", ".join([level.stress.name, *fields_set])


# Constructed predictions


def of_mechanism(measured: pd.DataFrame, references: Sequence[str]) -> Iterator[Verdict]:
    """Yield the verdicts that are computed without training: exact, without an interval.

    A claim without a comparison leaves out the references, except for the loss that it is about.
    """
    for name, claim in claims.load().items():
        mechanism = claim.mechanism
        if mechanism is None:
            continue
        for against in references if mechanism.against else ("",):
            left_out = {against} if against else {*references} - {claim.about}
            for loss, effect in effects(measured, mechanism, against).items():
                if loss in left_out:
                    continue
                yield make(
                    statistics.exact(mechanism.sign * effect),
                    planned=1,
                    claim=name,
                    level="mechanism",
                    dataset="constructed",
                    stress=mechanism.condition,
                    loss=loss,
                    against=against,
                    threshold="",
                    rate="",
                    setting="",
                    unit=mechanism.unit,
                    smallest=mechanism.smallest,
                )


def effects(
    measured: pd.DataFrame, mechanism: claims.Mechanism, against: str = ""
) -> dict[str, float]:
    """Return loss -> the quantity of a mechanism at its x, minus that of the loss `against`.

    The losses have the order of the table; those without a value are left out.

    >>> share = claims.load()["imbalance"].mechanism
    >>> values = {"loss": ["cross_entropy", "dice"], "x": 0.003, "value": [0.25, 0.75]}
    >>> measured = pd.DataFrame(values).assign(quantity=share.quantity)
    >>> effects(measured, share, "cross_entropy")["dice"].item()
    0.5
    """
    rows = metrics.select(measured, quantity=mechanism.quantity).dropna(subset="x")
    if not len(rows):
        return {}
    nearest = rows.loc[(rows["x"] - mechanism.x).abs().groupby(rows["loss"]).idxmin()]
    values = nearest.set_index("loss")["value"]
    if against and against not in values:
        return {}
    base = values[against] if against else 0.0
    return {loss: values[loss] - base for loss in rows["loss"].unique()}


# From estimates to verdicts


def make(estimated: Estimate, *, planned: int, **columns: Any) -> Verdict:
    """Return a verdict before the correction for the number of comparisons.

    columns: the other columns of the verdict that are known before.
    """
    return Verdict(
        **columns,
        estimate=_round(estimated.value),
        low=_round(estimated.low),
        high=_round(estimated.high),
        n=estimated.n,
        planned=planned,
        p=estimated.p(columns["smallest"]),
        p_corrected=float("nan"),
        verdict="undecided",
        finding="",
        reason=_reason(estimated, planned, pooled=columns["dataset"] == POOLED),
    )


def _reason(estimated: Estimate, planned: int, *, pooled: bool) -> str:
    """Return the reason why an estimate has no interval or lacks runs; empty if it has both."""
    if planned == 0:
        return "the experiment has no levels that answer the claim"
    if estimated.n < planned:
        missing = (
            "datasets have no value with an interval"
            if pooled
            else "pairs of runs are missing or have no value"
        )
        return f"{planned - estimated.n} of {planned} {missing}"
    if estimated.n == 1 and estimated.error != 0:
        return "one seed does not show how seeds differ"
    if np.isnan(estimated.low):
        return "every difference is the same: the spread of seeds and images is not known"
    return ""


def _round(value: float) -> float:
    return round(value, 6) + 0.0  # no minus zero


def settle(rows: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts, corrected for the number of comparisons and decided."""
    rows = list(rows)
    families: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        families.setdefault(row.family, []).append(i)
    corrected = {}
    for family in families.values():
        p = statistics.correct([rows[i].p for i in family])
        corrected |= dict(zip(family, p, strict=True))
    return [_decide(row, corrected[i]) for i, row in enumerate(rows)]


def _decide(row: Verdict, p: float) -> Verdict:
    estimated = Estimate(row.estimate, row.low, row.high, row.n)
    planned = max(row.planned, 1)
    verdict = statistics.decide(estimated, row.smallest, planned, p)
    uncorrected = statistics.decide(estimated, row.smallest, planned)
    reason = row.reason
    if verdict == "undecided" and uncorrected != "undecided":
        reason = (
            f"{uncorrected} by the interval alone, but not after the correction for the number of "
            f"comparisons (p = {p:.3f})"
        )
    finding = statistics.finding(estimated, row.smallest, verdict)
    return replace(row, p_corrected=p, verdict=verdict, finding=finding, reason=reason)
