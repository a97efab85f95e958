"""Step `recommendation`: the loss to use in each situation, as ``recommendation.csv``.

``comparisons.csv`` (`analysis.comparisons`) is written with it: differences from the references.

For each situation, scope, threshold and training setting: draws of the losses' mean Dice scores
(`analysis.scores.draws`), at the fixed learning rate. Images count alike, then seeds, then the
situation's levels on a dataset, then datasets. The advice is the loss of least expected regret:
the score that is lost against the best loss.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.comparisons import SEVERAL, SUITE, comparisons, measured, public
from analysis.figures import style
from analysis.scores import draws
from analysis.steps import COMPARISONS, RECOMMENDATION
from experiments.files import write_whole
from experiments.plan.seeds import stable_seed

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

NEW = "a new dataset"
"""Scope of several public datasets: one more dataset. SUITE is their mean."""
POPULATION = 3
"""Smallest number of datasets for NEW."""
COLUMNS = {
    "situation": "situation that the levels show",
    "scope": f"dataset; or {SUITE}: mean over the public ones; or {NEW}: one more such dataset",
    "threshold": "0.5 or tuned",
    "setting": "label of the training setting; empty for a study without axes",
    "loss": "name of the loss in the configuration",
    "score": "mean Dice score over images, seeds, levels and datasets; a diverged run scores 0",
    "rank": "rank by score, 1 is the best; ties share the smaller rank",
    "low": "lower end of the 95% interval of the rank",
    "high": "upper end",
    "best": "probability to have the greatest score",
    "near": f"probability to be within {draws.NEAR:g} of the greatest score",
    "regret": "expected loss of Dice score against the best loss",
    "bound": "95% upper bound of that loss",
    "advised": "yes: the loss of least expected regret",
    "may_be_as_good": f"yes: near is at least {1 - draws.SURE:.0%}",
    "fails_on": "public datasets on which the loss is not as good: near is below "
    f"{1 - draws.SURE:.0%} there",
    "datasets": "number of datasets",
    "levels": "number of levels that are averaged, over all datasets",
    "n": "smallest number of seeds of a level; one seed gives no draws on a dataset",
}
"""Columns of ``recommendation.csv``. Without draws the columns from `low` to `fails_on` are empty,
as are `yes` and `fails_on` where they do not apply."""
JOINED = "; "
"""Separator of `fails_on`."""
YES = "yes"
CASE = ["setting", "situation", "scope", "threshold"]
"""Columns that identify a recommendation."""
NUMBERS = [field.name for field in fields(draws.Summary)]
"""Columns of numbers for each loss."""


def run(results: Results) -> None:
    """Write ``recommendation.csv`` and ``comparisons.csv``; log a sentence per case."""
    table = recommendation(results)
    write_whole(results.study.file(RECOMMENDATION), table.to_csv(index=False))
    write_whole(results.study.file(COMPARISONS), comparisons(results).to_csv(index=False))
    for case in cases(table):
        log.info("%s%s", heading(case), case["sentence"])


def recommendation(results: Results) -> pd.DataFrame:
    """Return a row of COLUMNS per situation, scope, threshold, training setting and loss."""
    study, rows = results.study, []
    for about, found in measured(results):
        own = _rows(list(study.losses), found, public(study, found))
        rows += [about | row for row in own]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    losses: Sequence[str], found: Mapping[str, Sequence[draws.Scores]], public: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one situation, threshold and setting: scopes, then losses.

    found: dataset -> scores of the situation's levels.
    """
    rng = {scope: np.random.default_rng(stable_seed(scope)) for scope in [*found, NEW]}
    means = {name: draws.mean_scores(levels) for name, levels in found.items()}
    drawn = {name: draws.of_dataset(levels, rng[name]) for name, levels in found.items()}
    scopes = {name: ([name], drawn[name]) for name in found}
    if len(public) >= SEVERAL:
        scopes[SUITE] = public, np.mean([drawn[name] for name in public], axis=0)
    if len(public) >= POPULATION:
        of_public = np.array([means[name] for name in public])
        scopes[NEW] = public, draws.new_dataset(of_public, rng[NEW])
    poor: dict[str, set[str]] = {loss: set() for loss in losses}
    for scope, (datasets, values) in scopes.items():
        score = np.mean([means[name] for name in datasets], axis=0)
        n = np.min([draws.seeds(found[name]) for name in datasets], axis=0)
        summary = draws.summary(score, values)
        for k, loss in enumerate(losses):
            if scope in public and summary.poor[k]:
                poor[loss].add(scope)
            yield {name: getattr(summary, name)[k] for name in NUMBERS} | {
                "scope": scope,
                "loss": loss,
                "advised": YES * int(summary.advised[k]),
                "may_be_as_good": YES * int(summary.may_be_as_good[k]),
                "fails_on": JOINED.join(
                    d for d in public if scope not in found and d in poor[loss]
                ),
                "datasets": len(datasets),
                "levels": sum(len(found[name]) for name in datasets),
                "n": int(n[k]),
            }


def cases(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return setting, situation, scope, threshold, the advised loss and a sentence, per case."""
    of_cases: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for key, rows in table.groupby(CASE, sort=False):
        advised = rows.loc[rows["advised"] == YES, "loss"]
        loss = style.name(advised.iloc[0]) if len(advised) else ""
        case = dict(zip(CASE, key, strict=True)) | {"loss": loss, "sentence": sentence(rows)}
        of_cases.setdefault(key[:-1], []).append(case)
    return [case for thresholds in of_cases.values() for case in thresholds]


def headline(study: Study, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the cases at the reference setting, without single datasets of a mean over several."""
    reference = [case for case in cases(table) if case["setting"] == study.settings[0].label]
    pooled = {case["situation"] for case in reference if case["scope"] == SUITE}
    shown = {SUITE, NEW} | {name for name, dataset in study.datasets.items() if dataset.controlled}
    return [c for c in reference if c["situation"] not in pooled or c["scope"] in shown]


def heading(case: Mapping[str, Any]) -> str:
    """Return the words before a logged sentence.

    >>> heading({"situation": "as is", "scope": "wbc", "threshold": "0.5", "setting": ""})
    'as is (wbc, threshold 0.5): '
    """
    where = [case["scope"], f"threshold {case['threshold']}", case["setting"]]
    return f"{case['situation']} ({', '.join(filter(None, where))}): "


def sentence(rows: pd.DataFrame) -> str:
    """Return the advice of one situation, scope, threshold and setting in words."""
    advised = rows[rows["advised"] == YES]
    if not len(advised):
        return "no advice: one seed does not show how seeds differ."
    best = advised.iloc[0]
    bound = max(np.ceil(best["bound"] * 1000) / 1000, 0.001)
    words = f"{style.name(best['loss'])}: you lose at most {bound:.3f} DSC (95%)."
    others = rows[(rows["may_be_as_good"] == YES) & (rows["advised"] != YES)]
    if len(others):
        words += f" May be as good: {', '.join(map(style.name, others['loss']))}."
    if best["fails_on"] and best["scope"] in (SUITE, NEW):
        names = best["fails_on"].replace(JOINED, ", ")
        words += f" Another loss is better by more than {draws.NEAR:g} on {names}."
    unknown = rows[rows["bound"].isna()]
    if len(unknown):
        words += f" Too few seeds of: {', '.join(map(style.name, unknown['loss']))}."
    return words
