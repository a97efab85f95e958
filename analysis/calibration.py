"""How often the verdicts are right, measured on the study itself.

A loss is compared with itself under other seeds (A/A): every difference in this comparison is
false. Then a known difference is planted, and the verdict has to detect it. Every comparison
redraws its seeds from those of the study, so a study with many seeds imitates smaller ones.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis import claims
from analysis.claims import Claim
from analysis.scores import metrics, statistics, tuning
from analysis.scores.statistics import Estimate
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.layout import CALIBRATION, SIZES_NEEDED

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

COMPARISONS = 400
SIZES = (2, 3, 4, 5, 6, 8, 10, 12)
"""Simulated numbers of seeds."""
PLANTED = (0.0, 0.1, 0.15, 0.2, 0.3)
"""True effects, in the unit of the claim."""
POWER = 0.9

Terms = list[tuple[float, statistics.Sample]]


def run(results: Results) -> None:
    """Write ``calibration.csv``, ``sizes_needed.csv`` and the figure.

    ConfigError if the study has too few seeds.
    """
    from analysis.figures import calibration as figure
    from analysis.figures import style

    study = results.study
    table = rates(study, results.table)
    if not len(table):
        raise ConfigError(
            f"seeds: {study.seeds} are too few to draw two studies of two seeds from; allowed: at "
            "least four seeds"
        )
    path = study.file(CALIBRATION)
    write_whole(path, table.to_csv(index=False))
    write_whole(study.file(SIZES_NEEDED), sizes_needed(table).to_csv(index=False))
    style.save(figure.draw(table), path.with_suffix(""))
    null = metrics.select(table, planted=0)
    count = null["comparisons"].sum()
    log.info(
        f"A/A: {null['false'].sum()} false verdicts in {count} comparisons; "
        f"the interval contains 0 in {null['covered'].sum() / count:.1%}"
    )


def rates(study: Study, table: pd.DataFrame, comparisons: int = COMPARISONS) -> pd.DataFrame:
    """Return a row per claim, dataset, loss, n and planted effect: the number of each verdict.

    n: simulated seeds of each side. false: verdicts that are the opposite of the planted effect.
    covered: intervals that contain it. detectable: the least effect that 90% of the comparisons
    would have called supported. Each p is multiplied by the number of claims, which corrects at
    least as much as a study's Holm correction. All at the reference setting.
    """
    scored = metrics.scores(tuning.fixed(study, table))
    trained = {k: c for k, c in claims.load().items() if c.experiment in study.experiments}
    rows = []
    for name, claim in trained.items():
        for dataset in study.datasets:
            for loss in study.losses:
                terms = one_side(study, scored, claim, dataset, loss)
                sizes = [n for n in SIZES if terms and 2 * n <= min(len(v) for _, v in terms)]
                about = {"claim": name, "dataset": dataset, "loss": loss}
                for n in sizes:
                    counts = _of_size(terms, n, comparisons, claim.smallest, len(trained))
                    rows += [about | row for row in counts]
                log.info(f"{name} ({dataset}), {loss}: {len(sizes)} sizes")
    return pd.DataFrame(rows)


def _of_size(
    terms: Terms, n: int, comparisons: int, smallest: float, claim_count: int
) -> list[dict[str, Any]]:
    """Return a row per planted effect for comparisons of n seeds with n others."""
    rng = np.random.default_rng(0)
    null = [compare(rng, terms, n) for _ in range(comparisons)]
    least = detectable(null, smallest, n, claim_count)
    rows = []
    for planted in PLANTED:
        estimates = [plant(estimated, planted) for estimated in null]
        about = {"n": n, "planted": planted, "smallest": smallest, "detectable": least}
        rows.append(about | _count(estimates, smallest, planted, n, claim_count))
    return rows


def one_side(study: Study, scored: pd.DataFrame, claim: Claim, dataset: str, loss: str) -> Terms:
    """Return the terms [(weight, {seed: values per image})] of one loss.

    Both sides of a comparison are drawn from them.
    """
    fixed = {"loss": loss, "threshold": "tuned" if claim.against_tuned else "0.5"}
    reference = study.settings_of(claim.experiment)[0]
    return [
        (
            weight,
            metrics.per_seed(scored, claim.metric, study.where(dataset, level, reference) | fixed),
        )
        for weight, level in claim.weights(study.experiments[claim.experiment].levels[dataset])
    ]


def compare(rng: np.random.Generator, terms: Terms, n: int) -> Estimate:
    """Return the estimate of one comparison of n seeds with n others."""
    seeds = rng.permutation(sorted(set.intersection(*(set(values) for _, values in terms))))
    ours, theirs = seeds[:n], seeds[n : 2 * n]
    differences = [
        (weight, {a: values[a] - values[b] for a, b in zip(ours, theirs, strict=True)})
        for weight, values in terms
    ]
    return statistics.estimate(differences)


def plant(estimated: Estimate, effect: float) -> Estimate:
    """Return the estimate as if one side were better by `effect` in every image.

    >>> plant(Estimate(0.0, 0.1, 3, 4), 0.5).value
    0.5
    """
    return replace(estimated, value=estimated.value + effect)


def detectable(null: Sequence[Estimate], smallest: float, n: int, comparisons: int) -> float:
    """Return the effect that a share POWER of the A/A comparisons would have detected.

    An estimate v with standard error s is called supported if v >= smallest + t s, with t the
    quantile of Student's t at 1 - 0.05 / comparisons.
    """
    t = stats.t.ppf(1 - statistics.LEVEL / comparisons, n - 1)
    needed = [smallest + t * e.error - e.value for e in null]
    return float(np.quantile(needed, POWER))


def _count(
    estimates: list[Estimate], smallest: float, planted: float, n: int, claim_count: int
) -> dict[str, int]:
    """Return the numbers of each verdict, of false ones and of intervals with the effect."""
    verdicts = [statistics.decide(e, smallest, claim_count * e.p(smallest)) for e in estimates]
    wrong = "contradicted" if planted >= smallest else "supported"
    return {
        "comparisons": len(estimates),
        **{v: verdicts.count(v) for v in ("supported", "contradicted", "undecided")},
        "false": verdicts.count(wrong),
        "covered": sum(e.low <= planted <= e.high for e in estimates),
    }


def sizes_needed(table: pd.DataFrame) -> pd.DataFrame:
    """Return per claim, dataset, loss and planted effect the least n that detects it 90% of times.

    n is NaN if no simulated number of seeds is enough.
    """
    key = ["claim", "dataset", "loss", "planted"]
    real = table[table["planted"] > table["smallest"]]
    power = real["supported"] / real["comparisons"]
    enough = real[power >= POWER].groupby(key, sort=False)["n"].min()
    return real[key].drop_duplicates().merge(enough.reset_index(), how="left", on=key)
