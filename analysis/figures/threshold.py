"""Tuned thresholds of a reference loss against half of the Dice score that they reach."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from analysis import claims
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned
from analysis.scores import tuning
from experiments.runs.table import key_columns

if TYPE_CHECKING:
    from analysis.results import Results

FIGURE = "threshold"
"""Name of this figure in a claim's file."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset and reference."""
    claim = next(name for name, claim in claims.load().items() if claim.figure == FIGURE)
    references = results.study.references
    for dataset, loss in itertools.product(results.study.datasets, references):
        stem = f"threshold_{dataset}{f'_{loss}' * (loss != references[0])}"
        about = {"claim": claim, "dataset": dataset}
        yield Planned(stem, "theory", partial(draw, results, dataset, loss), about)


def draw(results: Results, dataset: str, loss: str) -> Captioned:
    """Draw a point for each run and class, and the line on which theory puts them."""
    points = tuned_points(tuning.fixed(results.study, results.table), dataset, loss)
    several = len(results.study.datasets[dataset].class_names) > 1
    figure, axes = style.subplots(1, 1, (style.COLUMN, 2.8))
    axis = axes[0, 0]
    for label, marker, face, flipped in (
        ("labels unchanged", "o", "black", False),
        ("labels flipped", "s", "white", True),
    ):
        rows = points[points["stress"].str.contains("flips") == flipped]
        if len(rows):
            axis.plot(
                rows["val_dice"] / 2,
                rows["threshold_value"],
                marker,
                color="black",
                markerfacecolor=face,
                label=label,
            )
    axis.plot([0, 0.5], [0, 0.5], **style.GREY | {"color": "0.6"}, label="theory")
    axis.set_xlabel("Half the Dice score reached")
    axis.set_ylabel("Threshold tuned on validation")
    axis.set_xlim(-0.02, 0.52)
    axis.set_ylim(-0.02, 1)
    axis.legend(loc="upper left")
    caption = (
        f"{style.name(loss)} on {dataset}: the threshold with the best pooled Dice score on "
        "validation images, against half of that score, its value by theory for calibrated "
        f"probabilities. One point per run{' and class' * several}, "
        f"{style.counted(len(points), 'point' if several else 'run')} of all stresses."
    )
    return figure, caption


def tuned_points(table: pd.DataFrame, dataset: str, loss: str) -> pd.DataFrame:
    """Return the tuned threshold and its validation score of each run of a loss and class."""
    ok = table[(table["status"] == "ok") & (table["loss"] == loss)]
    rows = ok[(ok["dataset"] == dataset) & (ok["threshold"] == "tuned")]
    return rows.drop_duplicates([*key_columns(table), "class"])
