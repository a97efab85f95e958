"""Scores of every loss against the levels of one experiment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import claims, theory
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, Scope, of_experiments
from analysis.scores import metrics, tuning
from analysis.scores.metrics import METRICS, Metric
from experiments.plan.knobs import CONTROLLED_FRACTION

if TYPE_CHECKING:
    from analysis.results import Results

THEORY = ("flips", "area_ratio")
"""Knob and metric with a theory: the value of each loss's minimiser."""
PALE = {"alpha": 0.35, "linewidth": 2.5}
THEORY_LINE = Line2D([], [], color="0.4", label="theory (pale lines)", **PALE)
RATIOS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Ticks of a ratio."""


NOTHING = "no value"
"""Mark of a level where a score has no value."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset, experiment and setting."""
    for scope in of_experiments(results.study):
        stem = scope.stem(scope.experiment.name, scope.dataset)
        yield Planned(stem, "sweep", partial(draw, results, scope), scope.about)


def draw(results: Results, scope: Scope) -> Captioned:
    """Draw Dice score at threshold 0.5 and at the tuned one, and the claim's other metric."""
    study = scope.study
    panels = [("dice", "0.5"), ("dice", "tuned"), (other_metric(scope.experiment.name), "0.5")]
    figure, axes = style.subplots(1, 3, (style.WIDTH, 2.8))
    handles: list[Line2D] = []
    estimates = metrics.select(results.estimates, **scope.rows(), **{"class": ""})
    runs = runs_per_cell(metrics.select(results.table, status="ok"), scope)
    for axis, (metric, threshold) in zip(axes.flat, panels, strict=True):
        rows = metrics.select(estimates, metric=metric, threshold=threshold)
        panel(axis, rows, scope, runs, METRICS[metric].bounds)
        words = "threshold 0.5" if threshold == "0.5" else "threshold tuned on validation"
        axis.set_title(f"{METRICS[metric].label}\n{words}")
        if (scope.experiment.knob, metric) == THEORY and study.datasets[scope.dataset].controlled:
            expected(axis, scope)
            handles = [THEORY_LINE]
        scale(axis, METRICS[metric])
        label_levels(axis, scope)
    style.legend(figure, axes[0, 0], handles=handles)
    return figure, caption(results, scope, int(runs.sum()))


def other_metric(experiment: str) -> str:
    """Return the metric that the experiment's claim names next to the Dice score."""
    about = [claim for claim in claims.load().values() if claim.experiment == experiment]
    return about[0].also if about else "area_ratio"


def runs_per_cell(table: pd.DataFrame, scope: Scope) -> np.ndarray:
    """Return the number of runs in the table at the fixed learning rate, (losses, levels)."""
    table = tuning.fixed(scope.study, table)
    cells = [metrics.select(table, **scope.where(level)) for level in scope.levels]
    seeds = [cell.groupby("loss")["seed"].nunique() for cell in cells]
    return np.array([[each.get(loss, 0) for each in seeds] for loss in scope.study.losses])


def seeds_per_cell(scope: Scope) -> np.ndarray:
    """Return the number of planned seeds, (losses, levels)."""
    study, dataset, setting = scope.study, scope.dataset, scope.setting
    cells = [study.runs_at(dataset, level, setting, study.losses) for level in scope.levels]
    return np.array([[len(study.plan.seeds(*where)) for where in runs] for runs in cells]).T


def positions(scope: Scope, shift: float) -> np.ndarray:
    """Return the positions of the levels on the axis, moved by `shift`, from -1/2 to 1/2."""
    if scope.experiment.axis is None:
        return np.arange(len(scope.levels)) + 0.5 * shift
    return style.shifted([v.value for v in scope.levels], shift, log=scope.experiment.log)


def panel(
    axis: Axes,
    rows: pd.DataFrame,
    scope: Scope,
    runs: np.ndarray,
    bounds: tuple[float, float],
) -> None:
    """Draw each loss's estimates against the levels, with a cross for each incomplete cell."""
    lines = style.lines(scope.study.losses)
    for i, (loss, line) in enumerate(lines.items()):
        x = positions(scope, style.offset(i, len(lines)))
        points = rows[rows["loss"] == loss].set_index("level")
        points = points.reindex([level.label for level in scope.levels])
        line = line if scope.experiment.axis else style.points(line)
        style.intervals(axis, x, points, {**line, "label": style.name(loss)}, bounds=bounds)
        for position in x[runs[i] < seeds_per_cell(scope)[i]]:
            bottom = axis.get_xaxis_transform()
            axis.plot(position, 0.02, "x", color=line["color"], transform=bottom)
    for level, x in zip(scope.levels, positions(scope, 0), strict=True):
        if scope.experiment.axis:
            axis.axvline(x, color="0.9", linewidth=0.6, zorder=0)
        if not rows.loc[rows["level"] == level.label, "value"].notna().any():
            middle = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "center"}
            axis.text(x, 0.5, NOTHING, rotation=90, color="0.4", fontsize=7, **middle)


def scale(axis: Axes, metric: Metric) -> None:
    """Set the limits of a score from 0 to 1; a ratio above 2 gets a logarithmic scale above 1."""
    if metric.bounds == (0, 1):
        axis.set_ylim(-0.02, 1.02)
    elif metric.ratio:
        top = max(1.2, axis.get_ylim()[1])
        axis.axhline(1, **style.GREY)
        if top > 2:
            axis.set_yscale("symlog", linthresh=1)
            axis.set_yticks([ratio for ratio in RATIOS if ratio <= top], minor=False)
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
            axis.set_ylabel("logarithmic above 1", fontsize=7, labelpad=1)
        axis.set_ylim(-0.03, top)


def label_levels(axis: Axes, scope: Scope) -> None:
    """Label the levels on the horizontal axis."""
    labels = [level.label for level in scope.levels]
    if scope.experiment.axis is None:
        axis.set_xticks(range(len(labels)), [style.wrapped(v, 30, len(labels)) for v in labels])
        axis.set_xlim(-0.5, len(labels) - 0.5)
        axis.set_xlabel(style.heading(scope.experiment.name))
        return
    if scope.experiment.log:
        axis.set_xscale("log")
    axis.set_xticks([level.value for level in scope.levels], labels)
    axis.minorticks_off()
    axis.set_xlabel(scope.experiment.axis)


def true_share(scope: Scope) -> float:
    """Return the foreground fraction of the controlled images of an experiment."""
    return scope.levels[0].stress.get("fraction", CONTROLLED_FRACTION)


def expected(axis: Axes, scope: Scope) -> None:
    """Draw the predicted / true area by theory: a faint line per loss with a known minimiser."""
    f = true_share(scope)
    rates = np.linspace(0, max(level.value for level in scope.levels), 301)
    for loss, line in style.lines(scope.study.losses).items():
        if loss in theory.MINIMISERS:
            area = [theory.predicted_share(loss, f, rate) / f for rate in rates]
            axis.plot(rates, area, color=line["color"], zorder=0, **PALE)


def without_value(results: Results, scope: Scope) -> bool:
    """Return whether the third score has no value at some level, under any loss."""
    where = {"metric": other_metric(scope.experiment.name), "threshold": "0.5", "class": ""}
    rows = metrics.select(results.estimates, **scope.rows(), **where)
    return not rows.groupby("level")["value"].any().all()


def caption(results: Results, scope: Scope, runs: int) -> str:
    """Return the caption: the scores, the intervals, and the runs that they are computed from."""
    study = scope.study
    planned = seeds_per_cell(scope).sum()
    images = [
        metrics.select(results.scored, **scope.where(v))["image"].nunique() for v in scope.levels
    ]
    text = (
        f"{style.heading(scope.experiment.name)} on {scope.words}: mean scores over test images "
        f"and seeds. {style.INTERVAL}. {runs} of {planned} runs ({style.seeds(study)}, "
        f"{style.counted(min(images), 'test image')} each)."
    )
    if scope.experiment.axis:
        text += " Markers are moved a little from their level, the vertical line."
    if without_value(results, scope):
        text += f' "{NOTHING.capitalize()}": no test image of the level has the objects to score.'
    dataset = study.datasets[scope.dataset]
    if len(dataset.class_names) > 1:
        text += " The score of an image is the mean over the classes in it"
        text += "." if dataset.multilabel else "; at 0.5 the most probable class is predicted."
    if scope.experiment.knob == THEORY[0] and study.datasets[scope.dataset].controlled:
        text += (
            " Pale lines (right): the theory, the minimiser of each loss in expectation. Dice's "
            f"jumps at a flip rate of {theory.breakdown('dice', true_share(scope)):.3f}."
        )
    if runs < planned:
        text += (
            " A cross at the bottom marks a cell with failed runs, or diverged ones, which score 0."
        )
    return text
