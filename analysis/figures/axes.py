"""Mean score against each axis of the training grid."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned
from analysis.scores import metrics
from analysis.scores.metrics import METRICS
from experiments.plan.config import Training

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study
    from experiments.plan.training import Setting


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset of a study with a training grid."""
    if len(results.study.settings) > 1:
        for dataset in results.study.datasets:
            about = {"dataset": dataset}
            yield Planned(f"axes_{dataset}", "axes", partial(draw, results, dataset), about)


def along(study: Study, experiment: str) -> dict[str, list[Setting]]:
    """Return axis -> its settings, with all other axes as in the reference setting."""
    settings = study.settings_of(experiment)
    reference = settings[0].labels
    lines = {
        axis: [s for s in settings if {**s.labels, axis: reference[axis]} == reference]
        for axis in reference
    }
    return {axis: line for axis, line in lines.items() if len(line) > 1}


def numbers(settings: list[Setting], name: str) -> list[float] | None:
    """Return the values of a training field if all are numbers above 0, else None.

    The names of models are no numbers, whatever they look like.
    """
    values = [getattr(setting.training, name, None) for setting in settings]
    found = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v > 0]
    return found if len(found) == len(values) else None


def draw(results: Results, dataset: str) -> Captioned:
    """Draw a row of panels per axis: the mean Dice score over the levels of each experiment."""
    study = results.study
    grids = {name: along(study, name) for name in study.experiments}
    axes_shown = [a for a in study.axes if any(a in lines for lines in grids.values())]
    experiments = [name for name, lines in grids.items() if lines]
    size = (style.WIDTH, 1.9 * len(axes_shown) + 0.5)
    figure, axes = style.subplots(len(axes_shown), len(experiments), size, sharey=True)
    for row, name in zip(axes, axes_shown, strict=True):
        for axis, experiment in zip(row, experiments, strict=True):
            settings = grids[experiment].get(name)
            axis.set_visible(settings is not None)
            if settings:
                where = {"dataset": dataset, "experiment": experiment, "level": ""}
                panel(axis, metrics.select(results.estimates, **where), name, settings)
                field = Training.model_fields.get(name)
                axis.set_xlabel(field.title if field else style.heading(name))
        row[0].set_ylabel(METRICS["dice"].label)
    for column, experiment in zip(axes.T, experiments, strict=True):
        axis = next(axis for axis in column if axis.get_visible())
        axis.set_title(style.wrapped(style.heading(experiment), 60, len(experiments)))
    style.legend(figure, axes)
    caption = (
        f"Mean Dice score on {dataset} over the levels of each experiment, threshold 0.5. Each "
        "row changes one axis of the training grid; the other axes have their reference "
        f"({study.settings[0].label}). {style.INTERVAL}; {style.seeds(study)}."
    )
    return figure, caption


def panel(axis: Axes, rows: pd.DataFrame, name: str, settings: list[Setting]) -> None:
    """Draw the estimates of every loss at the settings along one axis."""
    labels = [setting.labels[name] for setting in settings]
    values = numbers(settings, name)
    lines = style.lines(rows["loss"].unique())
    for i, (loss, line) in enumerate(lines.items()):
        points = rows[rows["loss"] == loss].set_index("setting")
        points = points.loc[[setting.label for setting in settings]]
        shift = style.offset(i, len(lines))
        x = style.shifted(values or range(len(labels)), shift, log=values is not None)
        line = line if values else style.points(line)
        bounds = METRICS["dice"].bounds
        style.intervals(axis, x, points, {**line, "label": style.name(loss)}, bounds=bounds)
    if values:
        axis.set_xscale("log")
    else:
        labels = [style.wrapped(label, 40, len(labels)) for label in labels]
        axis.set_xlim(-0.5, len(labels) - 0.5)
    axis.set_xticks(values or range(len(labels)), labels)
    axis.minorticks_off()
