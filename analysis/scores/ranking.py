"""Ranks of the losses, and their stability under other seeds and images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis.scores import metrics, statistics

if TYPE_CHECKING:
    from experiments.plan.study import Study

DRAWS = 2000

COLUMNS = (
    "dataset",
    "experiment",
    "setting",
    "loss",
    "score",
    "rank",
    "low",
    "high",
    "first",
)
"""Columns of ``ranks.csv``.

score: mean DSC over the experiment's levels, seeds and images. rank: by score, 1 is the best.
low, high: 95% interval of the rank. first: share of the draws in which the loss is the best.
"""


def ranks(
    study: Study, scored: pd.DataFrame, threshold: str = "0.5", draws: int = DRAWS
) -> pd.DataFrame:
    """Return a row of COLUMNS per dataset, experiment, grid setting and loss.

    Every draw takes the same seeds and images for all losses: of the seeds that all of them have.
    Losses with a missing run are left out.
    """
    rows = []
    for case, cells in _cases(study):
        tables, seeds = {}, _common(study, case)
        for loss in study.losses:
            where = {"loss": loss, "threshold": threshold}
            of_levels = [_table(scored, cell | where, seeds) for cell in cells]
            if all(len(table) == len(seeds) for table in of_levels):
                tables[loss] = of_levels
        if not tables:
            continue
        shared = not study.datasets[case["dataset"]].controlled
        totals = _draw(list(tables.values()), len(seeds), draws, shared)
        scores = [np.mean([np.nanmean(t, 1).mean() for t in each]) for each in tables.values()]
        rank, places = places_of(np.array(scores)), places_of(totals)
        for k, loss in enumerate(tables):
            low, high = np.percentile(places[k], [2.5, 97.5])
            about = {"loss": loss, "score": scores[k], "rank": int(rank[k])}
            first = float((places[k] == 1).mean())
            rows.append(case | about | {"low": low, "high": high, "first": first})
    return pd.DataFrame(rows, columns=COLUMNS)


def _cases(study: Study) -> Iterator[tuple[dict[str, str], list[dict[str, Any]]]]:
    """Yield dataset, experiment and setting, with the cells of the experiment's levels."""
    for dataset in study.datasets:
        for name, experiment in study.experiments.items():
            for setting in study.settings_of(name):
                cells = [study.where(dataset, v, setting) for v in experiment.levels[dataset]]
                yield {"dataset": dataset, "experiment": name, "setting": setting.label}, cells


def places_of(scores: Float[np.ndarray, " losses *draws"]) -> Int[np.ndarray, " losses *draws"]:
    """Return the rank of each score along the first axis; 1 is the greatest.

    >>> places_of(np.array([0.2, 0.9, 0.5])).tolist()
    [3, 1, 2]
    """
    return 1 + (-scores).argsort(0).argsort(0)


def _common(study: Study, case: dict[str, str]) -> list[int]:
    """Return the seeds that all losses have at all levels."""
    levels = study.experiments[case["experiment"]].levels[case["dataset"]]
    settings = {setting.label: setting for setting in study.settings}
    return study.plan.common(
        where
        for level in levels
        for where in study.runs_at(case["dataset"], level, settings[case["setting"]], study.losses)
    )


def _table(scored: pd.DataFrame, where: dict[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """Return the Dice scores (seeds, images) of a loss at a level, for those of the seeds."""
    values = metrics.per_seed(scored, "dice", where)
    rows = [values[seed] for seed in sorted(seeds) if seed in values]
    return statistics.rectangle(rows) if rows else np.empty((0, 0))


def _draw(losses: list[list[np.ndarray]], n: int, draws: int, shared: bool) -> np.ndarray:
    """Return the score of each loss in each draw, (losses, draws), from its tables by level."""
    rng = np.random.default_rng(0)
    seed_picks = rng.integers(n, size=(draws, n))
    total = 0
    for level in zip(*losses, strict=True):
        picks = draw_images(rng, seed_picks, level[0].shape[1], shared)
        total = total + np.array([means(table, seed_picks, picks) for table in level])
    return total


def draw_images(
    rng: np.random.Generator, seed_picks: Int[np.ndarray, "draws n"], images: int, shared: bool
) -> Int[np.ndarray, "draws slots images"]:
    """Return the images drawn for each drawn seed; one draw for all seeds (slots = 1) if shared."""
    slots = 1 if shared else seed_picks.shape[1]
    return rng.integers(images, size=(len(seed_picks), slots, images))


def means(
    table: Float[np.ndarray, "seeds images"],
    seed_picks: Int[np.ndarray, "draws n"],
    picks: Int[np.ndarray, "draws slots images"],
) -> Float[np.ndarray, " draws"]:
    """Return per draw the mean over the drawn seeds of the means over the drawn images.

    NaN are ignored.
    """
    return _mean(_mean(table[seed_picks[:, :, None], picks]))


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN if nothing else is there."""
    known = ~np.isnan(values)
    counts = known.sum(-1)
    return np.where(known, values, 0).sum(-1) / np.where(counts, counts, np.nan)
