"""How often the verdicts are right, measured on the study's own runs.

Each claim of a population (`analysis.population`) is moved to a planted effect, seeds are drawn
jointly over the claims, and the whole procedure of the verdicts is played on every drawn family
(`analysis.scores.simulation`). So a study with many seeds imitates smaller ones: its failed runs,
its skew and the dependence of its claims are kept. Real images: seeds and source images are drawn
within each dataset, and each dataset keeps its distance to the mean over all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis import claims
from analysis.population import Population, populations
from analysis.scores import metrics, simulation
from analysis.scores.simulation import Outcome
from experiments.files import write_whole
from experiments.layout import CALIBRATION, SIZES_NEEDED

if TYPE_CHECKING:
    from analysis.results import Results

log = logging.getLogger("dicebench")

FAMILIES = 10_000
"""Simulated families of each size."""
NORMAL, NORMAL_FAMILIES = 40, 500
"""Populations of normal seeds for comparison, and the simulated families of each."""
SIZES = (3, 4, 6, 8, 12, 16, 24, 32)
"""Simulated numbers of seeds."""
STUDIES = (*((n,) for n in SIZES), claims.LOOKS)
"""Numbers of seeds at the looks of a simulated study; a single one is fixed."""
MOST = max(map(max, STUDIES))
DISTANCES = (-0.1, 0.1, 0.2, 0.3)
"""Planted effects, as distances from the smallest difference that matters."""
SMALLEST = ("below", "smallest")
"""Planted effects at which false verdicts are most frequent."""
POWER = 0.9
FAMILY = ""
"""Claim of the rows about whole families."""

COLUMNS = {
    "dataset": "dataset of generated images, or the mean of the real datasets",
    "threshold": "0.5; tuned: the same claims at tuned thresholds, as a family of their own",
    "claim": "a primary claim; empty: all of them as one family",
    "looks": "numbers of seeds at the looks of adaptive seeds; empty: seeds are fixed",
    "n": "simulated seeds of each dataset; of looks, at most",
    "effect": "planted effect: at the smallest difference that matters (smallest), infinitely "
    "little below it (below), at a distance from it (+0.1), or the measured one (measured)",
    "planted": "planted effect in the unit of the claim",
    "smallest": "smallest difference that matters",
    "sides": "of the test: 2 on generated images at threshold 0.5",
    "families": "simulated families",
    "supported": "number of such verdicts; of a family, over all its claims",
    "contradicted": "number of such verdicts",
    "undecided": "number of such verdicts",
    "false": "number of verdicts that are the opposite of the planted effect; of a family, the "
    "number of families with such a verdict",
    "false_rate": "false / families",
    "power": "share of verdicts that are right; of a family, mean over its claims",
    "covered_95": "share of the 95% intervals that contain the planted effect",
    "covered_90": "share of the 90% intervals that contain it",
    "seeds": "mean number of seeds that a claim got",
    **{
        f"{rate}_error": f"Monte-Carlo standard error of {rate}"
        for rate in ("false_rate", "power", "covered_95", "covered_90")
    },
    "normal_false": "mean false_rate of populations of as many normal seeds with the same "
    "covariance, at the smallest difference: more than 5% is an error of so small a population",
    "normal_false_sd": "its standard deviation between such populations",
    "normal_covered": "mean covered_95 of such populations",
    "datasets": "datasets that can answer the claim",
    "population": "least number of seeds of a dataset, from which seeds are drawn",
    "skew": "skewness of the population: of the mean over the datasets of one seed each",
    "failed": "runs of the population with a validation Dice score below 0.4 (or diverged) where "
    "the median of their cell is above 0.6",
    "runs": "runs of the population",
}
"""Columns of ``calibration.csv``."""


def run(results: Results) -> None:
    """Write ``calibration.csv``, ``sizes_needed.csv`` and the figure.

    ConfigError if the study has too few seeds, or no runs of a primary claim.
    """
    from analysis.figures import calibration as figure
    from analysis.figures import style

    style.use()
    table = rates(populations(results))
    study = results.study
    path = study.file(CALIBRATION)
    write_whole(path, table.round(6).to_csv(index=False))
    write_whole(study.file(SIZES_NEEDED), sizes_needed(table).round(6).to_csv(index=False))
    style.save(figure.draw(table), path.with_suffix(""))


def rates(populations: Sequence[Population], families: int = FAMILIES) -> pd.DataFrame:
    """Return the rows of COLUMNS: per population, number of seeds, planted effect and claim."""
    rows = []
    for population in populations:
        where = f"{population.dataset}, threshold {population.threshold}"
        numbers = sorted({stratum.seeds.shape[1] for stratum in population.strata})
        log.info(f"{where}: {families} families of {len(population.names)} claims, seeds {numbers}")
        own = pd.DataFrame(list(_of_population(population, families)), columns=list(COLUMNS))
        log.info("%s", summary(own))
        rows.append(own)
    return pd.concat(rows, ignore_index=True)


def _of_population(population: Population, families: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a population."""
    rng = np.random.default_rng(0)
    drawn = simulation.draw(rng, population.strata, families, MOST)
    normal = _normal(population, rng)
    for looks in STUDIES:
        about = {"looks": " ".join(map(str, looks)) if len(looks) > 1 else "", "n": looks[-1]}
        estimates = [drawn.estimate(n) for n in looks]
        for effect, planted in effects(population).items():
            outcome = simulation.play(estimates, planted, population.smallest, population.sides)
            at_smallest = effect in SMALLEST
            for row in _counts(population, outcome, effect, planted):
                yield about | row | (normal[looks, row["claim"]] if at_smallest else {})


def _normal(
    population: Population, rng: np.random.Generator
) -> dict[tuple[Sequence[int], str], dict[str, float]]:
    """Return (looks, claim) -> the columns about populations of normal seeds.

    Even if the contrasts are normal, so few seeds do not show their tails: the rates of a
    population are not those of the distribution that it is from.
    """
    found: dict[tuple[Sequence[int], str], list[tuple[float, float]]] = {}
    smallest = population.smallest
    for _ in range(NORMAL):
        strata = [stratum.normal(rng) for stratum in population.strata]
        drawn = simulation.draw(rng, strata, NORMAL_FAMILIES, MOST)
        for looks in STUDIES:
            estimates = [drawn.estimate(n) for n in looks]
            outcome = simulation.play(estimates, smallest, smallest, population.sides)
            for row in _counts(population, outcome, "smallest", smallest):
                rates = row["false_rate"], row["covered_95"]
                found.setdefault((looks, row["claim"]), []).append(rates)
    return {
        key: {
            "normal_false": np.mean(values, axis=0)[0],
            "normal_false_sd": np.std(values, axis=0)[0],
            "normal_covered": np.mean(values, axis=0)[1],
        }
        for key, values in found.items()
    }


def effects(population: Population) -> dict[str, Float[np.ndarray, " claims"]]:
    """Return the planted effects of the claims by name."""
    smallest = population.smallest
    moved = {f"{distance:+g}": smallest + distance for distance in DISTANCES}
    return {"below": smallest, "smallest": smallest, **moved, "measured": population.measured}


def _counts(
    population: Population, outcome: Outcome, effect: str, planted: Float[np.ndarray, " claims"]
) -> Iterator[dict[str, Any]]:
    """Yield a row per claim, then one of the families."""
    verdict, estimates = outcome.verdict, outcome.estimates
    truth = np.where((planted >= population.smallest) & (effect != "below"), 1, -1)
    false = verdict == -truth
    p = estimates.p(planted, sides=2)  # an interval contains the truth if p is above its error
    shares = {"power": verdict == truth, "covered_95": p > 0.05, "covered_90": p > 0.1}
    answers = population.answers.sum(1).astype(int)
    about = {
        "dataset": population.dataset,
        "threshold": population.threshold,
        "effect": effect,
        "families": len(verdict),
        "population": min(s.seeds.shape[1] for s in population.strata),
    }
    for k, name in enumerate([*population.names, FAMILY]):
        own = slice(None) if name == FAMILY else [k]
        one = (
            {}
            if name == FAMILY
            else {
                "planted": planted[k],
                "smallest": population.smallest[k],
                "sides": population.sides[k],
                "datasets": answers[k],
                "skew": population.skew[k],
                "failed": population.failed[k],
                "runs": population.runs[k],
            }
        )
        any_false = false[:, own].any(1)
        row = {"claim": name, "false": any_false.sum(), "seeds": estimates.n[:, own].mean()}
        for value, label in ((1, "supported"), (-1, "contradicted"), (0, "undecided")):
            row[label] = (verdict[:, own] == value).sum()
        row |= _share("false_rate", any_false)
        for column, hits in shares.items():
            row |= _share(column, hits[:, own].mean(1))
        yield about | one | row


def _share(name: str, per_family: Float[np.ndarray, " families"]) -> dict[str, float]:
    """Return a mean over the families and its Monte-Carlo standard error."""
    return {name: per_family.mean(), f"{name}_error": per_family.std() / len(per_family) ** 0.5}


def summary(table: pd.DataFrame) -> str:
    """Return a population's worst rates in words."""
    fixed = metrics.select(table, looks="")
    worst = fixed[(fixed["claim"] == FAMILY) & fixed["effect"].isin(SMALLEST)]
    false, normal, covered = (
        f"{values.min():.1%} to {values.max():.1%}"
        for values in (worst["false_rate"], worst["normal_false"], fixed["covered_95"])
    )
    return (
        f"{table['dataset'].iloc[0]}, threshold {table['threshold'].iloc[0]}: false verdicts in "
        f"{false} of the families at their smallest differences (of as many normal seeds in "
        f"{normal}); 95% intervals cover {covered}"
    )


def sizes_needed(table: pd.DataFrame) -> pd.DataFrame:
    """Return per dataset, threshold, claim and effect the least n that decides it rightly.

    n: of the simulated numbers of seeds, the least with a power of at least 90%; NaN if none has.
    """
    key = ["dataset", "threshold", "claim", "effect", "planted"]
    fixed = table[(table["looks"] == "") & ~table["effect"].isin(SMALLEST)]
    enough = fixed[fixed["power"] >= POWER].groupby(key, sort=False, dropna=False)["n"].min()
    return fixed[key].drop_duplicates().merge(enough.reset_index(), how="left", on=key)
