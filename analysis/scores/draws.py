"""Draws of the losses' mean scores: ranks, regret and advice come from them.

A draw is a set of mean scores, one per loss, that the runs are compatible with. Seeds: with n seeds
and mean scores x_s of all losses, a draw is

    mean x + sum_s g_s (x_s - mean x) / sqrt(n (n - 1)) * sqrt((n - 1) / chi2),

g_s standard normal, chi2 of n - 1 degrees, both the same for all losses. So a difference of two
losses has Student's t distribution of n - 1 degrees with the paired standard error. Images that all
seeds share add a part by source image (`images_part`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float
from scipy import stats

DRAWS = 4000
NEAR = 0.01
"""Dice score that a loss may be below the best one and still count as good as it."""
SURE = 0.95
"""Probability of a bound."""


@dataclass(frozen=True)
class Scores:
    """Scores of all losses at one level of a dataset; NaN: a missing run, an undefined score.

    sources: source image of each test image, if all seeds share the images; None: each seed has
    its own images.
    """

    scores: Float[np.ndarray, "seeds images losses"]
    sources: Sequence[str] | None = None


def seed_scores(level: Scores) -> Float[np.ndarray, "seeds losses"]:
    """Return the means over a level's images; NaN for a missing run."""
    return _mean(level.scores, 1)


def mean_scores(levels: Sequence[Scores]) -> Float[np.ndarray, " losses"]:
    """Return the means over seeds, then over the levels; NaN for a loss without runs at a level."""
    return np.mean([_mean(seed_scores(level), 0) for level in levels], axis=0)


def seeds(levels: Sequence[Scores]) -> np.ndarray:
    """Return the number of seeds of each loss: the smallest of the levels."""
    return np.min([(~np.isnan(seed_scores(level))).sum(0) for level in levels], axis=0)


def of_dataset(
    levels: Sequence[Scores], rng: np.random.Generator, size: int = DRAWS
) -> Float[np.ndarray, "draws losses"]:
    """Return draws of the mean scores on a dataset; NaN for a loss with one seed or none.

    levels: averaged with equal weight. All levels have the same seeds along the first axis.
    """
    draws = mean_scores(levels) + _student([seed_scores(level) for level in levels], rng, size)
    shared = all(level.sources is not None for level in levels)
    return draws + images_part(levels, rng, size) if shared else draws


def _student(
    levels: Sequence[Float[np.ndarray, "seeds losses"]], rng: np.random.Generator, size: int
) -> Float[np.ndarray, "draws losses"]:
    """Return the seeds' part of the draws, a mean over levels.

    Seeds that a loss lacks at a level are left out of its sum there, so every loss uses all its
    seeds, and common seeds stay paired: across losses, and across the levels of a seed, which may
    show the same images. Losses with other numbers of seeds have other degrees of freedom; their
    chi2 are the quantiles of one uniform number.
    """
    normal = rng.standard_normal((size, len(levels[0])))
    uniform = rng.random(size)
    total = np.zeros((size, levels[0].shape[1]))
    for scores in levels:
        n = (~np.isnan(scores)).sum(0)
        scale = np.full_like(total, np.nan)
        for k in np.unique(n[n > 1]):
            scale[:, n == k] = 1 / np.sqrt(k * stats.chi2.ppf(uniform, k - 1))[:, None]
        total += normal @ np.nan_to_num(scores - _mean(scores, 0)) * scale
    return total / len(levels)


def images_part(
    levels: Sequence[Scores], rng: np.random.Generator, size: int = DRAWS
) -> Float[np.ndarray, "draws losses"]:
    """Return the part of the draws that test images add which all seeds share; 0 for one source.

    Windows of one source image are no independent images, so the covariance of the mean scores is
    taken between sources: with k sources k / (k - 1) sum_c z_c z_c', z_c the sum over the images of
    source c of their deviations from the mean over images, divided by their number. The part of it
    that seeds and images have together is subtracted, as the seeds' part holds it already; negative
    eigenvalues count as 0. The draws are Student's t of k - 1 degrees.
    """
    names = sorted({source for level in levels for source in level.sources})
    k, losses = len(names), levels[0].scores.shape[2]
    if k < 2:
        return np.zeros((size, losses))
    sums, both = np.zeros((k, losses)), np.zeros((losses, losses))
    for level in levels:
        member = np.equal.outer(names, level.sources).astype(float)
        images, rest = _parts(level.scores)
        sums += member @ images / len(levels)
        by_source = np.einsum("ci,sil->scl", member, rest) / len(levels)
        both += np.einsum("scl,scm->lm", by_source, by_source)
    covariance = (sums.T @ sums - both) * k / (k - 1)
    values, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((size, losses)) * np.sqrt(np.clip(values, 0, None))
    return normal @ vectors.T * np.sqrt((k - 1) / rng.chisquare(k - 1, (size, 1)))


def _parts(
    scores: Float[np.ndarray, "seeds images losses"],
) -> tuple[Float[np.ndarray, "images losses"], Float[np.ndarray, "seeds images losses"]]:
    """Return a level's deviations by image, and those by seed and image that are left.

    Both are divided by the numbers that make their sums deviations of the mean score.
    """
    image, seed = _mean(scores, 0), _mean(scores, 1)
    grand = _mean(seed, 0)
    count = np.maximum((~np.isnan(image)).sum(0), 1)
    n = np.maximum((~np.isnan(seed)).sum(0), 2)
    rest = np.nan_to_num(scores - seed[:, None] - image + grand)
    return np.nan_to_num(image - _mean(image, 0)) / count, rest / count / np.sqrt(n * (n - 1))


def new_dataset(
    means: Float[np.ndarray, "datasets losses"], rng: np.random.Generator, size: int = DRAWS
) -> Float[np.ndarray, "draws losses"]:
    """Return draws of the scores on one more dataset, as if all were drawn from one population.

    Student's t of d - 1 degrees on the d datasets' means, with the standard error sd sqrt(1 + 1/d)
    of a prediction. The means' own errors are part of their spread.
    """
    return means.mean(0) + _student([means], rng, size) * np.sqrt(len(means) + 1)


@dataclass(frozen=True)
class Summary:
    """Scores and draws in numbers: arrays with a value per loss, NaN for a loss without draws.

    score: mean score. rank: by score; ties share the smaller rank. low, high: 95% interval of the
    rank. best: probability to have the greatest score, ties included. near: probability to be
    within NEAR of it. regret: expected loss of score against the best loss; bound: its 95%
    quantile.
    """

    score: np.ndarray
    rank: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray
    near: np.ndarray
    regret: np.ndarray
    bound: np.ndarray

    @property
    def advised(self) -> np.ndarray:
        """Whether a loss is the one of least expected regret."""
        least = np.nanargmin(self.regret) if np.isfinite(self.regret).any() else -1
        return np.arange(len(self.regret)) == least

    @property
    def may_be_as_good(self) -> np.ndarray:
        """Whether a loss may be the best: it is near the best with a probability of at least 5%."""
        return self.near >= 1 - SURE

    @property
    def poor(self) -> np.ndarray:
        """Whether a loss is not as good: its regret's lower 95% bound is above NEAR."""
        return self.near < 1 - SURE


def summary(
    score: Float[np.ndarray, " losses"], draws: Float[np.ndarray, "draws losses"]
) -> Summary:
    """Return the summary of mean scores and their draws; NaN for a loss without them.

    A regret above 1 counts as 1, the greatest Dice score.
    """
    known = ~np.isnan(draws).any(0)
    result = {
        name: np.full(len(score), np.nan) for name in [field.name for field in fields(Summary)]
    }
    result["score"] = score
    result["rank"][~np.isnan(score)] = places(score[~np.isnan(score)])
    if known.any():
        draws = draws[:, known]
        regret = np.clip(draws.max(1, keepdims=True) - draws, 0, 1)
        rank = places(draws)
        low, high = np.percentile(rank, [2.5, 97.5], axis=0, method="nearest")
        of_draws = {"low": low, "high": high, "best": (rank == 1).mean(0)}
        of_draws |= {"near": (regret <= NEAR).mean(0), "regret": regret.mean(0)}
        for name, values in (of_draws | {"bound": np.quantile(regret, SURE, axis=0)}).items():
            result[name][known] = values
    return Summary(**result)


def places(scores: Float[np.ndarray, "*draws losses"]) -> np.ndarray:
    """Return the rank of each score along the last axis; 1 is the greatest, ties share a rank.

    >>> places(np.array([0.2, 0.9, 0.2])).tolist()
    [2.0, 1.0, 2.0]
    """
    return stats.rankdata(-scores, method="min", axis=-1).astype(float)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean over an axis without NaN; NaN if nothing else is there."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    return np.where(known, values, 0).sum(axis) / np.where(count, count, np.nan)
