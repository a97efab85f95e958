"""The verdicts of a study: every claim compared with every dataset, for every loss."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import claims, looks, remarks
from analysis.claims import Claim
from analysis.effects import Case, Effect, Tables, measure
from analysis.families import PRIMARY, SECONDARY, Candidate, Verdict, settle
from analysis.scores import metrics, statistics, tuning
from analysis.scores.statistics import LEAST, Estimate, Prediction
from experiments.files import write_whole
from experiments.layout import VERDICTS
from experiments.plan.labels import label_of
from experiments.plan.training import words

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Level, Study

    Weights = Callable[[Sequence[Level]], list[tuple[float, Level]]]

log = logging.getLogger("dicebench")

THRESHOLDS = ("0.5", "tuned")
POOLED = "these datasets"
"""The mean of the study's real datasets that can answer, in place of a dataset."""
KEY = list(looks.KEY)
"""Columns that identify a verdict."""


def run(results: Results) -> None:
    """Write ``verdicts.csv`` and log the headlines."""
    study = results.study
    table = verdicts(study, results.table, results.mechanism, results.image_sources)
    if study.adaptive:
        table = looks.carry(table, study.decisions[-1])
        log.info("%s", looks.summary(study, study.decisions[-1]))
    write_whole(study.file(VERDICTS), table.to_csv(index=False))
    for row in headline(table).itertuples():
        against = f"against {row.against}" if row.against and len(study.references) > 1 else ""
        where = ", ".join(filter(None, (row.level, row.dataset, row.setting, against)))
        log.info(
            f"{row.claim} ({where}): {remarks.state(row._asdict())}, {row.estimate:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}] {row.unit}, {row.n} of {row.planned}"
        )


def verdicts(
    study: Study, table: pd.DataFrame, measured: pd.DataFrame, image_sources: pd.DataFrame
) -> pd.DataFrame:
    """Return a row per claim, level, dataset, loss, reference, threshold, learning rate, setting.

    table: ``runs.csv``. measured: ``mechanism.csv``. image_sources: ``image_sources.csv``.
    """
    candidates = list(of_mechanism(measured, study.references))
    for rate, at_rate in tuning.rates(study, table).items():
        candidates += of_runs(Tables(study, at_rate, image_sources), rate)
    columns = [field.name for field in fields(Verdict)]
    rows = pd.DataFrame([asdict(row) for row in settle(candidates)], columns=columns)
    return rows.astype({"seeds_needed": "Int64"})


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on the losses that the claims are about, at 0.5 and the fixed rate."""
    about = table["claim"].map({name: claim.about for name, claim in claims.load().items()})
    return table[
        (table["loss"] == about)
        & table["threshold"].isin(["", "0.5"])
        & table["rate"].isin(["", "fixed"])
    ]


# Trained models


def of_runs(tables: Tables, rate: str) -> Iterator[Candidate]:
    """Yield the verdicts from trained models, at one of the learning rates."""
    for case in cases(tables.study, rate):
        yield from _of_case(tables, case)


def primary(tables: Tables) -> list[Candidate]:
    """Return the verdicts of the primary families."""
    candidates = (c for case in primary_cases(tables.study) for c in _of_case(tables, case))
    return [candidate for candidate in candidates if candidate.row.family == PRIMARY]


def primary_cases(study: Study) -> list[Case]:
    """Return the cases of the primary families."""
    return [case for case in cases(study, "fixed") if case.primary]


def cases(study: Study, rate: str) -> Iterator[Case]:
    """Yield the comparisons of a study at one of the learning rates."""
    for name, claim in claims.load().items():
        claim = claim.within(study.experiments)
        if claim is None:
            continue
        settings = study.settings_of(claim.experiment)
        headline = claim.about, study.references[0], "0.5"
        for compared in _comparisons(study, claim):
            for setting in settings:
                case = Case(name, claim, *compared, rate, setting)
                first = compared == headline and rate == "fixed" and setting is settings[0]
                yield replace(case, primary=claim.primary and first)
            for label, training in {} if claim.source else repeated(study, claim).items():
                own = replace(claim, weights=partial(_with_training, claim.weights, training))
                yield Case(name, own, *compared, rate, replace(settings[0], label=label))


def _with_training(
    weights: Weights, training: Mapping[str, Any], levels: Sequence[Level]
) -> list[tuple[float, Level]]:
    """Return the weighted levels of a claim with other training fields."""
    return [(weight, replace(level, training=dict(training))) for weight, level in weights(levels)]


def repeated(study: Study, claim: Claim) -> dict[str, Mapping[str, Any]]:
    """Return the training fields with which other experiments repeat the one level of a claim.

    An example is an experiment on the steps at the rarest foreground. All datasets that answer the
    claim have the same fields there. The keys are labels.
    """
    found: list[dict[str, Mapping[str, Any]]] = []
    for dataset, levels in study.experiments[claim.experiment].levels.items():
        weighted = claim.weights(levels)
        if len(weighted) > 1:
            return {}
        found += [_elsewhere(study, claim, dataset, level) for _, level in weighted]
    first = found[0] if found else {}
    return {label: training for label, training in first.items() if all(label in f for f in found)}


def _elsewhere(
    study: Study, claim: Claim, dataset: str, level: Level
) -> dict[str, Mapping[str, Any]]:
    """Return label -> training fields of other experiments' levels with the stress of a level."""
    own = study.at(level, study.settings[0]).labels
    others = (each for name, each in study.experiments.items() if name != claim.experiment)
    return {
        words({field: label_of(value) for field, value in other.training.items()}): other.training
        for other in itertools.chain(*(experiment.levels[dataset] for experiment in others))
        if other.stress == level.stress and study.at(other, study.settings[0]).labels != own
    }


def _comparisons(study: Study, claim: Claim) -> Iterator[tuple[str, str, str]]:
    """Yield loss, reference ("" for none) and threshold of each comparison of a claim."""
    if claim.against is not None:
        if {claim.about, claim.against} - {""} <= set(study.losses):
            yield claim.about, claim.against, claim.threshold
        return
    for against, loss, threshold in itertools.product(study.references, study.losses, THRESHOLDS):
        if loss != against:
            yield loss, against, threshold


def _of_case(tables: Tables, case: Case) -> Iterator[Candidate]:
    """Yield a verdict per dataset and, for several real datasets, one for the mean of them."""
    single = sum(not dataset.controlled for dataset in tables.study.datasets.values()) == 1
    real = []
    for dataset in tables.study.datasets.values():
        effect = measure(tables, case, dataset.name)
        if case.claim.source and not effect.terms:
            continue  # a finding is compared where there are levels that answer
        if not dataset.controlled:
            real.append(effect)
        yield _of_dataset(tables.study, case, effect, alone=dataset.controlled or single)
    if len(real) > 1:
        yield _of_pool(tables.study, case, real)


def _of_dataset(study: Study, case: Case, effect: Effect, *, alone: bool) -> Candidate:
    """Return the verdict on one dataset; alone: it is not in the mean of several."""
    runs = looks.runs_of_claim(study, case.claim, effect.dataset, case.setting, case.losses)
    planned = 0 if effect.cannot else len(study.plan.common(runs))
    made = make(
        effect.estimated,
        planned=planned,
        **case.columns,
        level="controlled" if effect.controlled else "field",
        dataset=effect.dataset,
        stress=effect.levels,
        family=PRIMARY if case.primary and alone else SECONDARY,
        floor="; ".join(effect.floors),
        reason="; ".join(remarks.of_dataset(effect, planned)),
    )
    return replace(
        made,
        pair=case.claim.against is not None,
        sides=effect.sides,
        enough=_enough(effect, len(study.seeds)),
        datasets=() if effect.cannot else (effect.dataset,),
        without_one=effect.without_one,
    )


def _of_pool(study: Study, case: Case, effects: Sequence[Effect]) -> Candidate:
    """Return the verdict on the mean of the real datasets that can answer."""
    answering = [effect for effect in effects if not effect.cannot]
    enough = [effect for effect in answering if _enough(effect, len(study.seeds))]
    estimated = [effect.estimated for effect in enough]
    following = _next([e.value for e in estimated], case.claim)
    made = make(
        statistics.pool(estimated),
        planned=len(answering),
        **case.columns,
        **{f"next_{name}": _round(value) for name, value in following._asdict().items()},
        level="field",
        dataset=POOLED,
        stress=f"mean over {len(estimated)} dataset{'s' * (len(estimated) != 1)}",
        family=PRIMARY if case.primary else SECONDARY,
        floor="; ".join(f"{e.dataset}: {level}" for e in answering for level in e.floors),
        reason="; ".join(remarks.of_pool(effects, enough)),
    )
    return replace(
        made,
        pair=case.claim.against is not None,
        enough=len(enough) == len(answering) > 1,
        datasets=tuple(effect.dataset for effect in answering) if len(answering) > 1 else (),
        without_one=partial(_pools_without_one, enough),
    )


def _next(values: Sequence[float], claim: Claim) -> Prediction:
    """Return the prediction for a dataset that is not in the suite, by the rule of the claim."""
    found = statistics.next_dataset(values, claim.smallest)
    if not claim.equivalent:
        return found
    at_least = statistics.next_dataset(values, -claim.smallest).probability
    return found._replace(probability=at_least - found.probability)


def _enough(effect: Effect, seeds: int) -> bool:
    """Return whether an effect has the seeds for a verdict: three, or two if no more are planned.

    With few seeds a run that failed by chance cannot be seen as such. Two are for tiny studies:
    t is exact for normal values then too, but needs 6.3 standard errors.
    """
    estimated = effect.estimated
    return estimated.n >= min(LEAST, seeds) and estimated.n > 1 and estimated.error >= 0


def _pools_without_one(effects: Sequence[Effect]) -> Iterator[Estimate]:
    """Yield the mean of datasets without each seed of each dataset."""
    whole = [effect.estimated for effect in effects]
    for i, effect in enumerate(effects):
        for fewer in effect.without_one():
            yield statistics.pool([*whole[:i], fewer, *whole[i + 1 :]])


# Constructed predictions


def of_mechanism(measured: pd.DataFrame, references: Sequence[str]) -> Iterator[Candidate]:
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
                    family="",
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


def make(estimated: Estimate, *, planned: int, **columns: Any) -> Candidate:
    """Return a verdict before its decision.

    columns: the other columns of the verdict that are known before.
    """
    numbers = ("error", "df", "low", "high", "low90", "high90")
    row = Verdict(
        **columns,
        estimate=_round(estimated.value),
        **{name: _round(getattr(estimated, name)) for name in numbers},
        n=estimated.n,
        planned=planned,
    )
    return Candidate(row, estimated)


def _round(value: float) -> float:
    return round(value, 6) + 0.0  # no minus zero
