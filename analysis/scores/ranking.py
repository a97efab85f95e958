"""Ranks of the losses, and their stability under other seeds and images."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.scores import draws
from analysis.scores.cells import Cells
from experiments.plan.seeds import stable_seed

if TYPE_CHECKING:
    from analysis.results import Results

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

score: mean DSC over the experiment's levels, seeds and images; a diverged run scores 0. rank: by
score, 1 is the best; ties share the smaller rank. low, high: 95% interval of the rank, and first:
share of draws in which the loss is the best, ties included; empty with one seed.
"""


def ranks(results: Results, threshold: str = "0.5") -> pd.DataFrame:
    """Return a row of COLUMNS per dataset, experiment, grid setting and loss that has runs."""
    study, cells, rows = results.study, Cells(results), []
    for dataset, (name, experiment) in product(study.datasets, study.experiments.items()):
        for setting in study.settings_of(name):
            wheres = [study.where(dataset, v, setting) for v in experiment.levels[dataset]]
            levels = [cells.scores(where, threshold) for where in wheres]
            rng = np.random.default_rng(stable_seed(dataset))
            summary = draws.summary(draws.mean_scores(levels), draws.of_dataset(levels, rng))
            about = {"dataset": dataset, "experiment": name, "setting": setting.label}
            frame = pd.DataFrame(vars(summary)).assign(**about, loss=list(study.losses))
            rows.append(frame.rename(columns={"best": "first"}).dropna(subset="rank"))
    return pd.concat(rows, ignore_index=True)[list(COLUMNS)].astype({"rank": int})
