"""Simulated families of claims: the procedure of the verdicts, for thousands of families at once.

The arithmetic is that of `analysis.scores.statistics`, on arrays; a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from analysis.looks import CHANCE, MATTERS
from analysis.scores import statistics
from analysis.scores.statistics import LEVEL, NO_SPREAD
from experiments.plan.looks import shares

KERNEL = 0.3
"""Width of the kernel that smooths a population's seeds, in their standard deviations."""

Cells = Float[np.ndarray, "families claims"]
Chosen = Bool[np.ndarray, "families claims"]


@dataclass(frozen=True)
class Stratum:
    """A dataset of the population: the contrasts of its claims.

    seeds: contrast per claim and seed; a row of NaN if the dataset cannot answer the claim.
    images: amount that each source image adds to the contrast, with a sum of 0 per claim; two or
    more columns, or none if the images differ by seed: the seeds' contrasts then hold their noise.
    """

    seeds: Float[np.ndarray, "claims seeds"]
    images: Float[np.ndarray, "claims sources"]

    @cached_property
    def answers(self) -> Bool[np.ndarray, " claims"]:
        """Claims that the dataset can answer."""
        return ~np.isnan(self.seeds).any(1)

    @cached_property
    def deviations(self) -> Float[np.ndarray, "claims seeds"]:
        """The seeds' contrasts minus their mean; 0 for a claim without an answer."""
        return np.nan_to_num(self.seeds - self.seeds.mean(1, keepdims=True))

    def draw_seeds(
        self, rng: np.random.Generator, families: int, n: int, kernel: float
    ) -> Float[np.ndarray, "families claims n"]:
        """Return deviations of n seeds, drawn with replacement and jointly over the claims.

        A drawn seed is moved by a normal deviate of `kernel` standard deviations that has the
        covariance of the seeds (smoothed bootstrap; Silverman and Young, 1987). The deviates are
        scaled to the unbiased variance of the seeds.
        """
        count = self.seeds.shape[1]
        drawn = self.deviations.T[rng.integers(count, size=(families, n))]
        if kernel:
            drawn += kernel * self._normal(rng, (families, n))
        return np.swapaxes(drawn, 1, 2) * np.sqrt(count / ((count - 1) * (1 + kernel**2)))

    def _normal(
        self, rng: np.random.Generator, shape: tuple[int, ...]
    ) -> Float[np.ndarray, "*shape claims"]:
        """Return normal deviates with the covariance of the deviations."""
        left, spread, _ = np.linalg.svd(self.deviations, full_matrices=False)
        root = left * (spread / np.sqrt(self.seeds.shape[1]))
        return rng.normal(size=(*shape, len(spread))) @ root.T

    def normal(self, rng: np.random.Generator) -> Stratum:
        """Return a dataset with as many seeds, drawn from a normal distribution.

        Its means, covariance and images are those of this one.
        """
        count = self.seeds.shape[1]
        drawn = self._normal(rng, (count,)).T * np.sqrt(count / (count - 1))
        return replace(self, seeds=self.seeds.mean(1, keepdims=True) + drawn)

    def draw_images(
        self, rng: np.random.Generator, families: int
    ) -> Float[np.ndarray, "families claims sources"]:
        """Return as many sources as there are, drawn with replacement and jointly over the claims.

        All seeds share them.
        """
        count = self.images.shape[1]
        picks = rng.integers(max(count, 1), size=(families, count))
        return np.swapaxes(self.images[:, picks], 0, 1)


@dataclass(frozen=True)
class Estimates:
    """Estimates of simulated families.

    seeds, images: the variance of the seeds and of the images that they share. Both have the sum
    over the datasets of variance^2 / degrees of freedom: seeds_squares, images_squares. n: seeds.
    """

    value: Cells
    seeds: Cells
    seeds_squares: Cells
    images: Cells
    images_squares: Cells
    n: Int[np.ndarray, "families claims"]

    @cached_property
    def error(self) -> Cells:
        """Standard errors."""
        return np.sqrt(self.seeds + self.images)

    @cached_property
    def df(self) -> Cells:
        """Degrees of freedom by Welch and Satterthwaite over all parts of the variance."""
        with np.errstate(invalid="ignore"):
            return self.error**4 / (self.seeds_squares + self.images_squares)

    def p(
        self, smallest: Float[np.ndarray, " claims"], sides: int | Int[np.ndarray, " claims"] = 1
    ) -> Cells:
        """Return the p of the effect being on the other side of `smallest`: `Estimate.p`.

        Without any spread p is 0 for the value 0, and NaN for any other.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            p = special.stdtr(self.df, -np.abs(self.value - smallest) / self.error)
        constant = np.where(np.abs(self.value) <= NO_SPREAD, 0.0, np.nan)
        return np.where(self.error > NO_SPREAD, np.minimum(1.0, sides * p), constant)

    def half_width(self, level: float) -> Cells:
        """Return half the width of the two-sided interval with an error of `level`."""
        return special.stdtrit(self.df, 1 - level / 2) * self.error

    def with_seeds(self, n: int) -> Estimates:
        """Return the estimates from n seeds if value and spread stayed."""
        less = self.n / n
        return replace(
            self,
            seeds=self.seeds * less,
            seeds_squares=self.seeds_squares * less**2 * (self.n - 1) / (n - 1),
            n=np.full_like(self.n, n),
        )

    def chance(
        self, smallest: Float[np.ndarray, " claims"], level: Float[np.ndarray, " claims"], most: int
    ) -> Cells:
        """Return the probability that `most` seeds will decide: `forecast.chance`."""
        later = self.with_seeds(most)
        bound, distance = special.stdtrit(later.df, 1 - level) * later.error, self.value - smallest
        spread = np.sqrt(self.seeds * (1 - self.n / most))
        ends = (distance - bound) / spread, (-distance - bound) / spread
        return sum(special.stdtr(self.df, end) for end in ends)

    def where(self, chosen: Chosen, others: Estimates) -> Estimates:
        """Return the chosen estimates, and `others` in all other places."""
        columns = {
            f.name: np.where(chosen, getattr(self, f.name), getattr(others, f.name))
            for f in fields(self)
        }
        return Estimates(**columns)


@dataclass(frozen=True)
class Families:
    """Simulated families, as deviations from the population's mean.

    seeds: of each dataset, (families, claims, n). images: of each dataset, the amounts that its
    source images add, (families, claims, sources). answers: datasets that can answer each claim,
    (claims, datasets).
    """

    seeds: Sequence[Float[np.ndarray, "families claims n"]]
    images: Sequence[Float[np.ndarray, "families claims sources"]]
    answers: Bool[np.ndarray, "claims datasets"]

    def estimate(self, n: int) -> Estimates:
        """Return the estimates of the first n seeds: the mean over the datasets that can answer."""
        value, own, own_squares, shared, shared_squares = np.zeros((5, *self.seeds[0].shape[:2]))
        for k, (seeds, images) in enumerate(zip(self.seeds, self.images, strict=True)):
            weight = self.answers[:, k] / self.answers.sum(1)
            value += weight * (seeds[..., :n].mean(2) + images.sum(2))
            part = weight**2 * seeds[..., :n].var(2, ddof=1) / n
            own += part
            own_squares += part**2 / (n - 1)
            variance, df = _of_images(images)
            shared += weight**2 * variance
            shared_squares += (weight**2 * variance) ** 2 / df
        count = np.full(value.shape, n)
        return Estimates(value, own, own_squares, shared, shared_squares, count)


def _of_images(images: Float[np.ndarray, "families claims sources"]) -> tuple[Cells, Cells]:
    """Return the variance that drawn sources show, and its degrees of freedom.

    A source without an amount shows nothing that the claim needs.
    """
    shown = images != 0
    count = np.maximum(shown.sum(2), 2)  # a single source shows no variance
    centred = images - shown * (images.sum(2) / count)[..., None]
    return (centred**2).sum(2) * count / (count - 1) * (shown.sum(2) > 1), count - 1


def draw(
    rng: np.random.Generator,
    strata: Sequence[Stratum],
    families: int,
    n: int,
    kernel: float = KERNEL,
) -> Families:
    """Return simulated families of n seeds in each dataset."""
    return Families(
        seeds=[stratum.draw_seeds(rng, families, n, kernel) for stratum in strata],
        images=[stratum.draw_images(rng, families) for stratum in strata],
        answers=np.stack([stratum.answers for stratum in strata], axis=1),
    )


def hopeless(
    estimates: Estimates,
    smallest: Float[np.ndarray, " claims"],
    level: Float[np.ndarray, " claims"],
    most: int,
) -> Chosen:
    """Return whether an estimate is not worth the seeds of the last look: `looks.outlook`.

    level: of the one-sided tests at the last look. most: its number of seeds.
    """
    within = np.abs(estimates.value - smallest) + estimates.half_width(LEVEL)
    return (within <= MATTERS) | (estimates.chance(smallest, level, most) < CHANCE)


@dataclass(frozen=True)
class Outcome:
    """Verdicts of simulated families, and the estimates that they rest on.

    verdict: 1 supported, -1 contradicted, 0 undecided.
    """

    verdict: Int[np.ndarray, "families claims"]
    estimates: Estimates


def play(
    looks: Sequence[Estimates],
    planted: Float[np.ndarray, " claims"],
    smallest: Float[np.ndarray, " claims"],
    sides: int | Int[np.ndarray, " claims"] = 1,
) -> Outcome:
    """Return the verdicts of families with the effects `planted`, after all looks.

    looks: estimates with the seeds of each look, as deviations from the effects; a single one is a
    study with a fixed number of seeds. sides: of the tests.

    Each look spends its share of the error. A decided claim stays decided. It gets no more seeds,
    nor does one that is hopeless; a study without any other claim ends.
    """
    looks = [replace(each, value=each.value + planted) for each in looks]
    numbers = [int(each.n.max()) for each in looks]
    *_, last = levels = [share * LEVEL for share in shares(numbers)]
    verdict = np.zeros(looks[0].value.shape, int)
    going, current = np.ones(verdict.shape, bool), looks[0]
    for estimates, level in zip(looks, levels, strict=True):
        current = estimates.where(going, current)
        decided = statistics.correct(current.p(smallest, sides)) <= level
        new = decided & (verdict == 0) & going.any(1, keepdims=True)
        verdict[new] = np.where(current.value >= smallest, 1, -1)[new]
        going &= verdict == 0
        if estimates is not looks[-1]:
            going &= ~hopeless(current, smallest, last / np.asarray(sides), numbers[-1])
    return Outcome(verdict, current)
