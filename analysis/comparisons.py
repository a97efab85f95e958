"""The losses' mean Dice scores by situation, each compared with the references: comparisons.csv.

A difference is paired: per seed and test image, the score of the loss minus that of the reference.
Levels of a situation on a dataset have equal weight, and so have public datasets. Its error is that
of the verdicts (`analysis.scores.statistics`): seeds, and images by source where all seeds share
them; Student's t. A loss has a mark if a two-sided test finds a difference from the reference after
Holm's correction for the situations of the row: one loss, reference, scope, threshold and setting.
So a row without any difference has a mark with a probability of at most 5%, and other losses of the
study do not matter to it; of twenty such rows one may have a mark. Marks have no correction for the
looks of adaptive seeds, as secondary verdicts have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import situations
from analysis.scores import forecast, statistics
from analysis.scores.cells import Cells
from analysis.scores.draws import Scores
from analysis.scores.statistics import LEAST, LEVEL, NAN, Estimate

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

THRESHOLDS = ("0.5", "tuned")
SUITE = "all datasets"
"""Scope of several public datasets: their mean."""
SEVERAL = 2
"""Smallest number of datasets for SUITE."""
BETTER, WORSE = "better", "worse"
MARKS = {BETTER: "▲", WORSE: "▼"}
"""Signs of the two in tables."""
COLUMNS = {
    "situation": "situation that the levels show",
    "scope": f"dataset; or {SUITE}: mean over the public ones",
    "threshold": "0.5 or tuned, of both losses",
    "setting": "label of the training setting; empty for a study without axes",
    "loss": "name of the loss in the configuration",
    "against": "reference loss; empty: the row has the loss's own score",
    "value": "mean Dice score of the loss, or its paired difference from the reference",
    "low": "lower end of the 95% interval; empty for one seed",
    "high": "upper end",
    "n": "smallest number of seeds, or pairs of seeds, of a dataset",
    "p": "two-sided p of no difference",
    "p_corrected": "by Holm, for the situations of the same loss, reference, scope, threshold and "
    "setting",
    "told": f"{BETTER} or {WORSE} than the reference: p_corrected is at most {LEVEL:g}; else empty",
    "detectable": f"difference that is found with a probability of {forecast.POWER:.0%} at "
    "the first step of Holm's correction, if the spread stays",
}
"""Columns of ``comparisons.csv``."""
FAMILY = ["scope", "threshold", "setting", "loss", "against"]
"""Columns that identify a row of the answer, whose p values are corrected together."""

Found = Mapping[str, Sequence[Scores]]
"""Dataset -> the scores of a situation's levels."""


def measured(results: Results) -> Iterator[tuple[dict[str, str], Found]]:
    """Yield situation, threshold and setting, with the scores of all losses, if there are any."""
    study, cells = results.study, Cells(results)
    for setting in study.settings:
        of_datasets = {name: situations.cells(study, name, setting) for name in study.datasets}
        for situation, threshold in itertools.product(situations.KNOBS, THRESHOLDS):
            found = {
                name: [cells.scores(where, threshold) for where in each[situation]]
                for name, each in of_datasets.items()
                if situation in each
            }
            about = {"situation": situation, "threshold": threshold, "setting": setting.label}
            if found:
                yield about, found


def public(study: Study, found: Found) -> list[str]:
    """Return the datasets that the suite does not generate."""
    return [name for name in found if not study.datasets[name].controlled]


def comparisons(results: Results) -> pd.DataFrame:
    """Return a row of COLUMNS per situation, scope, threshold, setting, loss and reference."""
    study, rows = results.study, []
    for about, found in measured(results):
        for loss, against in _pairs(study):
            for scope, estimated, enough in _scopes(study, found, loss, against):
                row = about | {"scope": scope, "loss": loss, "against": against}
                rows.append((row, estimated, enough))
    table = pd.DataFrame([row for row, *_ in rows], columns=list(COLUMNS)[:6])
    families = table.groupby(FAMILY, sort=False).indices if len(table) else {}
    numbers: dict[int, dict[str, Any]] = {}
    for places in families.values():
        members = [rows[i][1:] for i in places]
        numbers |= dict(zip(places, _settle(members, table["against"][places[0]]), strict=True))
    table = table.join(pd.DataFrame.from_dict(numbers, orient="index"))
    return table.reindex(columns=list(COLUMNS)).fillna({"told": ""})


def _pairs(study: Study) -> Iterator[tuple[str, str]]:
    """Yield each loss alone, then with each reference that it is not."""
    for loss in study.losses:
        yield loss, ""
        yield from ((loss, against) for against in study.references if against != loss)


def _scopes(
    study: Study, found: Found, loss: str, against: str
) -> Iterator[tuple[str, Estimate, bool]]:
    """Yield scope, estimate, and whether it has the seeds for a mark."""
    least = needed(study)
    of_datasets = {name: _of_levels(study, levels, loss, against) for name, levels in found.items()}
    for name, estimated in of_datasets.items():
        yield name, estimated, estimated.n >= least
    real = [of_datasets[name] for name in public(study, found)]
    if len(real) >= SEVERAL:
        mean = float(np.mean([e.value for e in real]))
        pooled, n = statistics.pool(real), min(e.n for e in real)
        whole = pooled.n == len(real)  # else some dataset has no error
        pooled = pooled if whole else Estimate(mean, NAN, NAN, n)
        yield SUITE, replace(pooled, n=n), whole and n >= least


def _of_levels(study: Study, levels: Sequence[Scores], loss: str, against: str) -> Estimate:
    """Return the mean of the levels of a dataset: a score, or a paired difference of two."""
    names = list(study.losses)
    terms = []
    for level in levels:
        values = level.scores[:, :, names.index(loss)]
        if against:
            values = values - level.scores[:, :, names.index(against)]
        terms.append((1 / len(levels), dict(enumerate(values))))
    return statistics.estimate(terms, [level.sources for level in levels])


def needed(study: Study) -> int:
    """Return the number of seeds that a mark needs: three, or two if no more are planned."""
    return max(2, min(LEAST, len(study.seeds)))


def told_apart(study: Study, estimates: Sequence[Estimate]) -> list[str]:
    """Return BETTER, WORSE or "" for each difference of a family, by Holm's correction."""
    corrected = statistics.correct([_p(estimated) for estimated in estimates])
    least = needed(study)
    return [_told(e, p, e.n >= least) for e, p in zip(estimates, corrected, strict=True)]


def _settle(members: Sequence[tuple[Estimate, bool]], against: str) -> Iterator[dict[str, Any]]:
    """Yield the columns of numbers of one family; scores have no p values."""
    p_values = [_p(estimated) if against else NAN for estimated, _ in members]
    count = max(1, int(np.isfinite(p_values).sum()))
    corrected = statistics.correct(p_values)
    for (estimated, enough), p, p_corrected in zip(members, p_values, corrected, strict=True):
        yield {
            "value": estimated.value,
            "low": estimated.low,
            "high": estimated.high,
            "n": estimated.n,
            "p": p,
            "p_corrected": float(p_corrected),
            "told": _told(estimated, p_corrected, enough),
            "detectable": forecast.detectable(estimated, LEVEL / count) if against else NAN,
        }


def _told(estimated: Estimate, p_corrected: float, enough: bool) -> str:
    """Return BETTER, WORSE or "": enough says whether there are the seeds for a mark."""
    if not enough or not p_corrected <= LEVEL:
        return ""
    return BETTER if estimated.value > 0 else WORSE


def _p(estimated: Estimate) -> float:
    """Return the two-sided p of no difference; two losses that are equal in all seeds have 1."""
    return 1.0 if estimated.error == 0 else estimated.p(0, sides=2)
