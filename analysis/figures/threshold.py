"""Tuned thresholds of a reference loss against half of the Dice score that they reach."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import claims
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, stress_words
from analysis.scores import tuning
from experiments.runs.table import key_columns

if TYPE_CHECKING:
    from analysis.results import Results

FIGURE = "threshold"
"""Name of this figure in a claim's file."""
MARKERS = "oXs^DPv*hd<"
"""Markers of stresses; their number has no divisor in common with that of the colours."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset and reference."""
    claim = next(name for name, claim in claims.load().items() if claim.figure == FIGURE)
    references = results.study.references
    for dataset, loss in itertools.product(results.study.datasets, references):
        stem = f"threshold_{dataset}{f'_{loss}' * (loss != references[0])}"
        about = {"claim": claim, "dataset": dataset}
        yield Planned(stem, "theory", partial(draw, results, dataset, loss), about)


def draw(results: Results, dataset: str, loss: str) -> Captioned:
    """Draw a point for each run and class, and the lines on which theory puts them."""
    study = results.study
    points = tuned_points(tuning.fixed(study, results.table), dataset, loss)
    several = len(study.datasets[dataset].class_names) > 1
    stresses = {k: v for k, v in study.stresses(dataset).items() if k in set(points["stress"])}
    figure, axes = style.subplots(
        1, 1, (style.COLUMN, 2.5 + 0.14 * (1 + len(stresses)) / (1 + (len(stresses) > 3)))
    )
    axis = axes[0, 0]
    axis.plot([0, 0.5], [0, 0.5], **style.GREY | {"color": "0.4"}, label="theory")
    for i, (name, stress) in enumerate(stresses.items()):
        rows = points[points["stress"] == name]
        colour, marker = style.MUTED[i % len(style.MUTED)], MARKERS[i % len(MARKERS)]
        label = style.wrapped(", ".join(stress_words(study, dataset, stress)), 28, 1)
        look = {"color": colour, "markeredgecolor": "0.2", "markeredgewidth": 0.4}
        axis.plot(rows["val_dice"] / 2, rows["threshold_value"], marker, label=label, **look)
        if (line := with_flips(stress)) is not None:
            axis.plot([0, 0.5], line, color=colour, linestyle="--", linewidth=0.8, zorder=0)
    axis.set_xlabel("Half the Dice score reached")
    axis.set_ylabel("Threshold tuned on validation")
    axis.set_xlim(-0.02, 0.52)
    axis.set_ylim(-0.02, 1.02)
    style.legend(figure, axes, columns=2)
    flips = any(with_flips(stress) is not None for stress in stresses.values())
    caption = (
        f"{style.name(loss)} on {dataset}: the threshold with the best pooled Dice score on "
        "validation images, against half of that score. Theory puts the two on a line if the "
        "probabilities are calibrated. A point off the line is a model that is not calibrated, or "
        "one whose score changes little with the threshold. "
        + "Dashed: the same theory where the training labels are flipped and those of validation "
        "images are not. " * flips + f"One point per run{' and class' * several}: "
        f"{style.counted(len(points), 'point' if several else 'run')}."
    )
    return figure, caption


def with_flips(stress: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the threshold at a Dice score of 0 and 1, of a model that learns flipped labels.

    It learns b + (1 - a - b) q for a share a of the foreground labels and b of the background
    labels flipped, where q is the posterior of true labels. So the threshold q = d / 2 for a Dice
    score d is b + (1 - a - b) d / 2. None without flips.

    >>> with_flips({"flips": 0.25})
    (0.25, 0.5)
    """
    flips = stress.get("flips", 0)
    a = stress.get("flips_foreground", flips)
    b = stress.get("flips_background", flips)
    return (b, b + (1 - a - b) / 2) if a or b else None


def tuned_points(table: pd.DataFrame, dataset: str, loss: str) -> pd.DataFrame:
    """Return the tuned threshold and its validation score of each run of a loss and class."""
    ok = table[(table["status"] == "ok") & (table["loss"] == loss)]
    rows = ok[(ok["dataset"] == dataset) & (ok["threshold"] == "tuned")]
    return rows.drop_duplicates([*key_columns(table), "class"])
