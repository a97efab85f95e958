"""Share of the noisy training labels that the trained models reproduce."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, Scope, of_experiments
from analysis.scores import metrics

if TYPE_CHECKING:
    from analysis.results import Results

PANELS = {
    "noise_background": "Background labelled as foreground",
    "noise_foreground": "Foreground labelled as background",
}
"""Metric of estimates.csv -> title."""
LEAST = 0.1
"""Least range of the axis on either side of 0, so that small differences are small."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each experiment on a numeric axis with noisy training labels."""
    for scope in of_experiments(results.study):
        rows = noise(results.estimates, scope)
        if scope.experiment.axis and rows["value"].notna().any():
            stem = scope.stem(scope.experiment.name, scope.dataset, "learned")
            yield Planned(stem, "sweep", partial(draw, rows, scope), scope.about)


def noise(estimates: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Return the rows on memorised noise of a scope; only levels with noisy labels have any."""
    rows = estimates[estimates["metric"].isin(PANELS)]
    return metrics.select(rows, **scope.rows())


def draw(rows: pd.DataFrame, scope: Scope) -> Captioned:
    """Draw a panel for noisy labels on background and one for those on foreground."""
    study = scope.study
    levels = [level for level in scope.levels if level.label in set(rows["level"])]
    values = [level.value for level in levels]
    lines = style.lines(study.losses)
    figure, axes = style.subplots(1, 2, (style.WIDTH, 2.5), sharey=True)
    for axis, (metric, title) in zip(axes.flat, PANELS.items(), strict=True):
        for i, (loss, line) in enumerate(lines.items()):
            points = metrics.select(rows, metric=metric, loss=loss).set_index("level")
            points = points.reindex([level.label for level in levels])
            x = style.shifted(values, style.offset(i, len(lines)), log=scope.experiment.log)
            style.intervals(axis, x, points, {**line, "label": style.name(loss)})
        axis.axhline(0, **style.GREY)
        if scope.experiment.log:
            axis.set_xscale("log")
        if len(values) == 1:
            axis.margins(x=0.5)
        axis.set_xticks(values, [level.label for level in levels])
        axis.minorticks_off()
        axis.set_xlabel(scope.experiment.axis)
        axis.set_title(title)
    axes[0, 0].set_ylabel("Wrong pixels, share:\nfalse labels − true labels")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(min(low, -LEAST), max(high, LEAST))
    style.legend(figure, axes[0, 0])
    greatest = rows.loc[rows["value"].abs().idxmax()]
    caption = (
        f"Overfitting to noise on {scope.words}, in training images at threshold 0.5. Share of "
        "pixels that the model gets wrong where the label is false, minus the share where the "
        "label is true, within the same true class. A model that ignores the false labels is at "
        "0; one that memorises all of them is at 1. The value furthest from 0 is "
        f"{greatest['value']:.3f} ({style.name(greatest['loss'])}). Error bars: 95% intervals by "
        f"Student's t, over {style.seeds(study)}."
    )
    return figure, caption
