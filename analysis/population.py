"""The populations that simulated studies are drawn from: the study's own paired contrasts.

A contrast is the loss that a claim is about minus the reference loss, per seed, for all primary
claims. Generated images: the seeds of a dataset. Real images: the seeds of each dataset, and the
amounts that its source images add to the mean over images, which all seeds share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis import claims, verdicts
from analysis.scores import metrics, statistics, tuning
from analysis.scores.simulation import Stratum
from analysis.verdicts import Case
from experiments.errors import ConfigError

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

LEAST_SEEDS = 6
"""Seeds of a population: fewer do not show their spread."""
FAILED, FINE = 0.4, 0.6
"""Validation Dice score of a failed run, and the least median of its cell."""

Terms = Sequence[tuple[float, statistics.Sample]]
"""Weight and {seed: paired differences per image}, as `verdicts.terms` returns them."""


@dataclass(frozen=True)
class Population:
    """The contrasts of the primary claims on generated images, or on all real datasets.

    names, smallest: of the claims. failed, runs: per claim, of the runs behind it.
    """

    dataset: str
    threshold: str
    names: Sequence[str]
    smallest: Float[np.ndarray, " claims"]
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
    table = tuning.fixed(study, results.table)
    scored = metrics.scores(table)
    sources = metrics.sources(study, scored, results.image_sources)
    groups = [[dataset.name] for dataset in study.datasets.values() if dataset.controlled]
    groups.append([dataset.name for dataset in study.datasets.values() if not dataset.controlled])
    found = []
    for threshold in verdicts.THRESHOLDS:
        cases = list(_cases(study, threshold))
        for group in filter(None, groups):
            parts = [_dataset(study, scored, sources, cases, dataset) for dataset in group]
            counts = [_counted(study, table, cases, dataset) for dataset in group]
            name = group[0] if len(group) == 1 else verdicts.POOLED
            found.append(_population(name, threshold, cases, parts, counts))
    return found


def _cases(study: Study, threshold: str) -> Iterator[Case]:
    """Yield the study's primary claims for the losses that they are about."""
    against = study.references[0]
    for name, claim in claims.load().items():
        trained = claim.experiment in study.experiments and claim.about in study.losses
        if claim.primary and trained and claim.about != against:
            setting = study.settings_of(claim.experiment)[0]
            yield Case(name, claim, claim.about, against, threshold, "fixed", setting)


def _population(
    name: str,
    threshold: str,
    cases: Sequence[Case],
    parts: Sequence[tuple[pd.DataFrame, pd.DataFrame]],
    counts: Sequence[Sequence[tuple[int, int]]],
) -> Population:
    """Return the population of some datasets without the claims that they cannot answer.

    parts: contrasts and images of each dataset. counts: failed and all runs per dataset and claim.
    """
    answers = np.stack([seeds.notna().any(axis=1) for seeds, _ in parts], axis=1)
    kept = np.flatnonzero(answers.sum(1) >= min(2, len(parts)))
    if not len(kept):
        raise ConfigError(
            f"experiments: no primary claim has a value on {name}; allowed: experiments of "
            f"{', '.join(case.name for case in cases) or 'primary claims'}, with the reference and "
            "the loss that the claim is about"
        )
    least = min(seeds.shape[1] for seeds, _ in parts)
    if least < LEAST_SEEDS:
        raise ConfigError(
            f"seeds: {least} with a value for every primary claim on {name} are too few to draw "
            f"studies from; allowed: at least {LEAST_SEEDS}"
        )
    failed, runs = np.sum(counts, axis=0)[kept].T
    return Population(
        dataset=name,
        threshold=threshold,
        names=[cases[k].name for k in kept],
        smallest=np.array([cases[k].claim.smallest for k in kept]),
        strata=[Stratum(s.to_numpy()[kept], images.to_numpy()[kept]) for s, images in parts],
        failed=failed,
        runs=runs,
    )


def _dataset(
    study: Study,
    scored: pd.DataFrame,
    sources: Mapping[tuple[str, str], list[str]],
    cases: Sequence[Case],
    dataset: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the contrasts per seed and the amounts per source of a dataset, a row per claim.

    Seeds without a value for a claim that the dataset can answer are left out.
    """
    contrasts, images = {}, {}
    for case in cases:
        terms, _ = verdicts.terms(study, scored, case, dataset)
        levels = case.claim.weights(study.experiments[case.claim.experiment].levels[dataset])
        own = [sources.get((dataset, level.stress.name)) for _, level in levels]
        contrasts[case.name] = per_seed(terms)
        images[case.name] = per_source(terms, own)
    seeds = pd.DataFrame(contrasts, dtype=float).T
    seeds = seeds.loc[:, seeds[seeds.notna().any(axis=1)].notna().all()]
    return seeds, pd.DataFrame(images).T.fillna(0.0)


def per_seed(terms: Terms) -> dict[int, float]:
    """Return the contrast of each seed, NaN if a term has no value for it.

    >>> per_seed([(1, {0: np.array([0.5, 0.7])}), (-1, {0: np.array([0.1]), 1: np.ones(1)})])
    {0: 0.5, 1: nan}
    """
    seeds = sorted(set().union(*(sample for _, sample in terms)))
    one = {s: [(w, {s: sample[s]} if s in sample else {}) for w, sample in terms] for s in seeds}
    return {s: statistics.estimate(alone).value for s, alone in one.items()}


def per_source(terms: Terms, sources: Sequence[list[str] | None]) -> pd.Series:
    """Return the amount that each source adds to a contrast; empty if images differ by seed.

    The sum of their squares is the images' part of the error^2 (`statistics.estimate`).
    """
    estimated = statistics.estimate(terms, sources)
    variance = sum(part.variance for part in estimated.parts if not part.seeds)
    total = pd.Series(dtype=float)
    if not variance:
        return total
    for (weight, sample), own in zip(terms, sources, strict=True):
        images = pd.DataFrame(list(sample.values()), columns=own).mean()
        amounts = weight * (images - images.mean()) / images.count()
        total = total.add(amounts.groupby(level=0).sum(), fill_value=0.0)
    return total * np.sqrt(variance / (total**2).sum())


def _counted(
    study: Study, table: pd.DataFrame, cases: Sequence[Case], dataset: str
) -> list[tuple[int, int]]:
    """Return the numbers of failed and of all runs behind each claim on a dataset."""
    counts = []
    for case in cases:
        cells = []
        for _, level in case.claim.weights(
            study.experiments[case.claim.experiment].levels[dataset]
        ):
            where = study.where(dataset, level, case.setting)
            against = "tuned" if case.claim.against_tuned else case.threshold
            for loss, threshold in ((case.loss, case.threshold), (case.against, against)):
                cells.append(_failures(metrics.select(table, **where, loss=loss), threshold))
        counts.append(tuple(np.sum(cells, axis=0)) if cells else (0, 0))
    return counts


def _failures(runs: pd.DataFrame, threshold: str) -> tuple[int, int]:
    """Return the numbers of failed and of all runs of a cell."""
    scores = metrics.select(runs, threshold=threshold).groupby("seed")["val_dice"].mean()
    diverged = metrics.select(runs, status="diverged")["seed"].nunique()
    fine = scores.median() > FINE
    return int(fine * ((scores < FAILED).sum() + diverged)), len(scores) + diverged
