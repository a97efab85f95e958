"""The populations that simulated studies are drawn from: the study's own paired contrasts.

A contrast is the loss that a claim is about minus the reference loss, per seed, for all primary
claims. Generated images: the seeds of a dataset. Real images: the seeds of each dataset, and the
amounts that its source images add to the mean over images, which all seeds share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis import verdicts
from analysis.effects import Case, Effect, Tables, measure
from analysis.scores import metrics, statistics, tuning
from analysis.scores.simulation import Stratum
from experiments.errors import ConfigError

if TYPE_CHECKING:
    from analysis.results import Results

LEAST_SEEDS = 6
"""Seeds of a population: fewer do not show their spread."""
FAILED, FINE = 0.4, 0.6
"""Validation Dice score of a failed run, and the least median of its cell."""


@dataclass(frozen=True)
class Population:
    """The contrasts of the primary claims on generated images, or on all real datasets.

    names, smallest: of the claims. sides: of their tests. failed, runs: numbers of runs behind
    each claim.
    """

    dataset: str
    threshold: str
    names: Sequence[str]
    smallest: Float[np.ndarray, " claims"]
    sides: Int[np.ndarray, " claims"]
    strata: Sequence[Stratum]
    failed: Sequence[int]
    runs: Sequence[int]

    @property
    def answers(self) -> Float[np.ndarray, "claims datasets"]:
        """1 for a dataset that can answer a claim, else 0."""
        return np.stack([stratum.answers for stratum in self.strata], axis=1).astype(float)

    @property
    def measured(self) -> Float[np.ndarray, " claims"]:
        """The study's estimates: means over the datasets that can answer."""
        means = np.stack([np.nan_to_num(s.seeds.mean(1)) for s in self.strata], axis=1)
        return means.sum(1) / self.answers.sum(1)

    @property
    def skew(self) -> Float[np.ndarray, " claims"]:
        """Skewness of the mean over the datasets of one seed each; NaN without any spread."""
        second, third = (sum((s.deviations**k).mean(1) for s in self.strata) for k in (2, 3))
        with np.errstate(invalid="ignore"):
            return third / second**1.5


def populations(results: Results) -> list[Population]:
    """Return the study's populations: each dataset of generated images, then all real datasets.

    At the reference setting, the fixed learning rate and the first reference loss, per threshold.
    """
    study = results.study
    cases = verdicts.primary_cases(study)
    tables = Tables(study, tuning.fixed(study, results.table), results.image_sources)
    groups = [[dataset.name] for dataset in study.datasets.values() if dataset.controlled]
    groups.append([dataset.name for dataset in study.datasets.values() if not dataset.controlled])
    return [
        _population(tables, [replace(case, threshold=threshold) for case in cases], group)
        for threshold in verdicts.THRESHOLDS
        for group in groups
        if group
    ]


def _population(tables: Tables, cases: Sequence[Case], datasets: Sequence[str]) -> Population:
    """Return the population of some datasets without the claims that they cannot answer."""
    name = datasets[0] if len(datasets) == 1 else verdicts.POOLED
    effects = {d: [measure(tables, case, d) for case in cases] for d in datasets}
    answers = np.array([[not effect.cannot for effect in own] for own in effects.values()])
    kept = np.flatnonzero(answers.sum(0) >= min(2, len(datasets)))
    if not len(kept):
        raise ConfigError(
            f"experiments: no primary claim has a value on {name}; allowed: experiments of "
            f"{', '.join(case.name for case in cases) or 'primary claims'}, with the reference and "
            "the loss that the claim is about"
        )
    strata = [stratum([own[k] for k in kept]) for own in effects.values()]
    least = min(part.seeds.shape[1] for part in strata)
    if least < LEAST_SEEDS:
        raise ConfigError(
            f"seeds: {least} with a value for every primary claim on {name} are too few to draw "
            f"studies from; allowed: at least {LEAST_SEEDS}"
        )
    counts = [[_counted(tables, cases[k], d) for k in kept] for d in datasets]
    failed, runs = np.sum(counts, axis=0).T
    return Population(
        dataset=name,
        threshold=cases[0].threshold,
        names=[cases[k].name for k in kept],
        smallest=np.array([cases[k].claim.smallest for k in kept]),
        sides=np.array([max(own[k].sides for own in effects.values()) for k in kept]),
        strata=strata,
        failed=failed,
        runs=runs,
    )


def stratum(effects: Sequence[Effect]) -> Stratum:
    """Return a dataset's contrasts per seed and amounts per source image, a row per effect.

    Seeds without a value for an effect that the dataset can answer are left out.
    """
    contrasts = [{} if effect.cannot else per_seed(effect.terms) for effect in effects]
    seeds = pd.DataFrame(contrasts, dtype=float)
    answered = [not effect.cannot for effect in effects]
    seeds = seeds.loc[:, seeds[answered].notna().all()]
    images = pd.DataFrame([per_source(effect) for effect in effects])
    return Stratum(seeds.to_numpy(), images.fillna(0.0).to_numpy())


def per_seed(terms: Sequence[tuple[float, statistics.Sample]]) -> dict[int, float]:
    """Return the contrast of each seed, NaN if a term has no value for it.

    >>> per_seed([(1, {0: np.array([0.5, 0.7])}), (-1, {0: np.array([0.1]), 1: np.ones(1)})])
    {0: 0.5, 1: nan}
    """
    seeds = sorted(set().union(*(sample for _, sample in terms)))
    one = {s: [(w, {s: sample[s]} if s in sample else {}) for w, sample in terms] for s in seeds}
    return {s: statistics.estimate(alone).value for s, alone in one.items()}


def per_source(effect: Effect) -> pd.Series:
    """Return the amount that each source adds to a contrast; empty if images differ by seed.

    The sum of their squares is the images' part of the error^2 (`statistics.estimate`).
    """
    variance = sum(part.variance for part in effect.estimated.parts if not part.seeds)
    total = pd.Series(dtype=float)
    if not variance:
        return total
    for (weight, sample), sources in zip(effect.terms, effect.sources, strict=True):
        images = pd.DataFrame(list(sample.values()), columns=sources).mean()
        amounts = weight * (images - images.mean()) / images.count()
        total = total.add(amounts.groupby(level=0).sum(), fill_value=0.0)
    return total * np.sqrt(variance / (total**2).sum())


def _counted(tables: Tables, case: Case, dataset: str) -> tuple[int, int]:
    """Return the numbers of failed and of all runs behind a claim on a dataset."""
    study, claim = tables.study, case.claim
    against = "tuned" if claim.against_tuned else case.threshold
    counts = [(0, 0)]
    for _, level in claim.weights(study.experiments[claim.experiment].levels[dataset]):
        where = study.where(dataset, level, case.setting)
        for loss, threshold in ((case.loss, case.threshold), (case.against, against)):
            counts.append(_failures(metrics.select(tables.table, **where, loss=loss), threshold))
    failed, runs = map(sum, zip(*counts, strict=True))
    return failed, runs


def _failures(runs: pd.DataFrame, threshold: str) -> tuple[int, int]:
    """Return the numbers of failed and of all runs of a cell."""
    scores = metrics.select(runs, threshold=threshold).groupby("seed")["val_dice"].mean()
    diverged = metrics.select(runs, status="diverged")["seed"].nunique()
    fine = scores.median() > FINE
    return int(fine * ((scores < FAILED).sum() + diverged)), len(scores) + diverged
