"""The effect that a claim speaks of, measured on one dataset: its terms, estimate and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.claims import Claim
from analysis.scores import equivalence, metrics, statistics, tuning
from analysis.scores.statistics import Estimate
from experiments.plan.labels import label_of
from experiments.runs.table import key_columns

if TYPE_CHECKING:
    from experiments.plan.study import Level, Setting, Study


@dataclass(frozen=True)
class Case:
    """A claim for a loss and a reference at one threshold, learning rate and training setting.

    primary: in a primary family, if its dataset is.
    """

    name: str
    claim: Claim
    loss: str
    against: str
    threshold: str
    rate: str
    setting: Setting
    primary: bool = False

    @property
    def losses(self) -> list[str]:
        """The losses that are compared."""
        return [loss for loss in (self.loss, self.against) if loss]

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
            "rule": equivalence.WITHIN if self.claim.equivalent else equivalence.AT_LEAST,
        }


@dataclass(frozen=True)
class Tables:
    """The tables of a study's runs at one of the learning rates.

    table: rows of ``runs.csv``. image_sources: ``image_sources.csv``.
    """

    study: Study
    table: pd.DataFrame
    image_sources: pd.DataFrame

    @cached_property
    def scored(self) -> pd.DataFrame:
        """Scores per run, test image and threshold."""
        return metrics.scores(self.table)

    @cached_property
    def _cells(self) -> dict[tuple, pd.DataFrame]:
        """The scored rows of each cell, loss and threshold, by the values of `_columns`."""
        return dict(iter(self.scored.groupby(self._columns, sort=False, dropna=False)))

    @cached_property
    def _columns(self) -> list[str]:
        return tuning.cell_columns(self.table)

    def sample(self, metric: str, where: Mapping[str, Any]) -> statistics.Sample:
        """Return seed -> one value per test image of a cell, loss and threshold.

        Equal to `metrics.per_seed`, which searches all rows.
        """
        rows = self._cells.get(tuple(where[column] for column in self._columns))
        return {} if rows is None else metrics.per_seed(rows, metric, {})

    @cached_property
    def sources(self) -> dict[tuple[str, str], list[str]]:
        """The source of each test image, by dataset and stress."""
        return metrics.sources(self.study, self.scored, self.image_sources)

    @cached_property
    def diverged(self) -> pd.DataFrame:
        """The runs that diverged, by their key columns."""
        lost = metrics.select(self.table, status="diverged")
        return lost[key_columns(self.table)].drop_duplicates()

    @cached_property
    def detected(self) -> pd.DataFrame:
        """The mean validation Dice score of each loss in each cell, at 0.5; 0 if diverged."""
        cell = [column for column in key_columns(self.table) if column != "seed"]
        at_half = metrics.select(self.table, status="ok", threshold="0.5")
        runs = at_half.groupby([*cell, "seed"], sort=False)["val_dice"].mean().reset_index()
        runs = pd.concat([runs, self.diverged.assign(val_dice=0.0)])
        return runs.groupby(cell, sort=False)["val_dice"].mean().reset_index()

    def answers(self, metric: str, where: Mapping[str, Any]) -> bool:
        """Return whether a metric is defined on some test image of a dataset and stress.

        True if no run of it is there: nothing speaks against it.
        """
        cell = {column: where[column] for column in ("dataset", "stress")}
        values = metrics.select(self.scored, **cell)[f"score_{metric}"]
        return not len(values) or bool(values.notna().any())


@dataclass(frozen=True, eq=False)
class Effect:
    """The effect of a case on one dataset.

    terms: [(weight, {seed: values per image})], those of a claim with two losses are paired
    differences. sources: of the images, per term. levels: the compared levels in words. cannot:
    the reason why the dataset cannot answer; empty if it can. floors: levels at which no loss has
    found anything. notes: remarks that the verdict's reason repeats. sides: of the test,
    two on generated images at threshold 0.5. There a run finds rare objects or it does not, and a
    few seeds are skewed: one-sided tests were false in up to 14% of families (docs/results.md).
    """

    dataset: str
    controlled: bool
    terms: list[tuple[float, statistics.Sample]]
    sources: list[list[str] | None]
    levels: str
    cannot: str = ""
    floors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sides: int = 1

    @cached_property
    def estimated(self) -> Estimate:
        """The estimate from all seeds."""
        if self.cannot:
            return statistics.MISSING
        return statistics.estimate(self.terms, self.sources)

    def without_one(self) -> Iterator[Estimate]:
        """Yield the estimate without each of the seeds."""
        for seed in sorted(set().union(*(sample for _, sample in self.terms))):
            terms = [
                (weight, {s: values for s, values in sample.items() if s != seed})
                for weight, sample in self.terms
            ]
            yield statistics.estimate(terms, self.sources)


def measure(tables: Tables, case: Case, dataset: str) -> Effect:
    """Return the effect of a case on a dataset."""
    study, claim = tables.study, case.claim
    weighted = claim.weights(study.experiments[claim.experiment].levels[dataset])
    wheres = [study.where(dataset, level, case.setting) for _, level in weighted]
    controlled = study.datasets[dataset].controlled
    terms = [
        (claim.sign * weight, _sample(tables, case, where))
        for (weight, _), where in zip(weighted, wheres, strict=True)
    ]
    cannot = ""
    if not weighted:
        cannot = "the experiment has no levels that answer the claim"
    elif not all(tables.answers(claim.metric, where) for where in wheres):
        cannot = f"no test image has {claim.needs}"
    floors, notes = _found_nothing(tables, case, weighted, wheres)
    if lost := _diverged(tables, case, wheres):
        scored = "has no value" if metrics.METRICS[claim.metric].worst is None else "scores 0"
        notes.append(f"a diverged run {scored}: {', '.join(lost)}")
    return Effect(
        dataset=dataset,
        controlled=controlled,
        terms=terms,
        sources=[tables.sources.get((dataset, where["stress"])) for where in wheres],
        levels=" vs ".join(words(level) for _, level in weighted),
        cannot=cannot,
        floors=tuple(floors),
        notes=tuple(notes),
        sides=2 if controlled and case.threshold == "0.5" else 1,
    )


def words(level: Level) -> str:
    """Return the stress of a level and the training fields that it sets."""
    fields_set = (f"{field} {label_of(value)}" for field, value in level.training.items())
    return ", ".join([level.stress.name, *fields_set])


def _sample(tables: Tables, case: Case, where: Mapping[str, Any]) -> statistics.Sample:
    """Return seed -> values per image: of the loss, less those of the reference if there is one."""
    metric, against = case.claim.metric, "tuned" if case.claim.against_tuned else case.threshold
    ours = tables.sample(metric, where | {"loss": case.loss, "threshold": case.threshold})
    if not case.against:
        return ours
    theirs = tables.sample(metric, where | {"loss": case.against, "threshold": against})
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def _diverged(tables: Tables, case: Case, wheres: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the diverged runs of the compared losses, in words."""
    if not len(tables.diverged):
        return []
    rows = pd.concat([metrics.select(tables.diverged, **where) for where in wheres or [{}]])
    rows = rows[rows["loss"].isin(case.losses)]
    return [f"{loss}, seed {seed}" for loss, seed in zip(rows["loss"], rows["seed"], strict=True)]


def _found_nothing(
    tables: Tables,
    case: Case,
    weighted: Sequence[tuple[float, Level]],
    wheres: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[str]]:
    """Return the levels at which no loss has found anything, and notes on levels without a find.

    A loss has found nothing if its mean validation Dice score is below `metrics.DETECTED`.
    """
    floors, found_nothing = [], {}
    for (_, level), where in zip(weighted, wheres, strict=True):
        means = metrics.select(tables.detected, **where).set_index("loss")["val_dice"]
        blind = means[means < metrics.DETECTED].index
        own = [loss for loss in case.losses if loss in blind]
        if own:
            steps = tables.study.at(level, case.setting).training.steps
            everyone = len(blind) == len(means)
            who = "no loss found anything" if everyone else f"{' and '.join(own)} found nothing"
            found_nothing.setdefault((who, steps), []).append(words(level))
            floors += [words(level)] * everyone
    notes = [
        f"within {steps} steps {who} at {' or '.join(levels)} (mean validation Dice below "
        f"{metrics.DETECTED:g}), so the estimate there is about the speed of learning"
        for (who, steps), levels in found_nothing.items()
    ]
    return floors, notes
