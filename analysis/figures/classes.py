"""Dice score of each class of a dataset with several classes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, Scope, of_datasets, shared_level
from analysis.scores import metrics, tuning
from analysis.scores.metrics import METRICS

if TYPE_CHECKING:
    from analysis.results import Results

TITLES = {"0.5": "Threshold 0.5", "tuned": "Threshold tuned on validation, per class"}
EXCLUSIVE = {"0.5": "The most probable class"}
"""Titles of panels, and those of classes that cannot overlap."""
PIXELS = ["tp", "fn", "fp", "tn"]


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset with several classes."""
    for scope in of_datasets(results.study):
        if len(results.study.datasets[scope.dataset].class_names) > 1:
            stem = scope.stem("classes", scope.dataset)
            yield Planned(stem, "classes", partial(draw, results, scope), scope.about)


def draw(results: Results, scope: Scope) -> Captioned:
    """Draw the classes from frequent to rare, at the level that most experiments share."""
    study = scope.study
    shared, level = shared_level(scope)
    ok = metrics.select(tuning.fixed(study, results.table), **shared.where(level), status="ok")
    shares = frequency(ok)
    estimates = metrics.select(results.estimates, **shared.rows(), level=level.label, metric="dice")
    lines = style.lines(study.losses)
    titles = TITLES if study.datasets[scope.dataset].multilabel else TITLES | EXCLUSIVE
    figure, axes = style.subplots(2, 1, (style.WIDTH, 4.2), sharex=True)
    for axis, threshold in zip(axes.flat, titles, strict=True):
        rows = metrics.select(estimates, threshold=threshold)
        for i, (loss, line) in enumerate(lines.items()):
            x = np.arange(len(shares)) + 0.7 * style.offset(i, len(lines))
            points = rows[rows["loss"] == loss].set_index("class").reindex(shares.index)
            line = {**style.points(line), "label": style.name(loss)}
            style.intervals(axis, x, points, line, bounds=METRICS["dice"].bounds)
        axis.set_ylim(-0.02, 1.02)
        axis.set_ylabel(METRICS["dice"].label)
        axis.set_title(titles[threshold])
        for border in range(1, len(shares)):
            axis.axvline(border - 0.5, color="0.9", linewidth=0.6, zorder=0)
    ticks = [f"{name}\n{100 * share:.2g}%" for name, share in shares.items()]
    axes[1, 0].set_xticks(range(len(shares)), ticks)
    axes[1, 0].set_xlim(-0.5, len(shares) - 0.5)
    axes[1, 0].set_xlabel("Class, and its share of the pixels of the test images")
    style.legend(figure, axes[0, 0])
    runs = ok.groupby("loss")["seed"].nunique().sum()
    planned = study.runs_at(scope.dataset, level, shared.setting, study.losses)
    total = sum(len(study.plan.seeds(*where)) for where in planned)
    caption = (
        f"Dice score of each class of {scope.words} against the rest, stress {level.stress.name}. "
        "It is the mean over seeds and over the test images that show the class, or where it is "
        f"predicted. {style.INTERVAL}. {runs} of {total} runs."
    )
    return figure, caption


def frequency(rows: pd.DataFrame) -> pd.Series:
    """Return each class's share of the pixels, in descending order.

    >>> rows = pd.DataFrame({"class": ["a", "b"], "tp": 1, "fn": [0, 1], "fp": 0, "tn": [3, 2]})
    >>> frequency(rows).to_dict()
    {'b': 0.5, 'a': 0.25}
    """
    sums = rows.groupby("class")[PIXELS].sum()
    shares = (sums["tp"] + sums["fn"]) / sums.sum(axis=1)
    return shares.sort_values(ascending=False, kind="stable")
