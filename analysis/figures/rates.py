"""Test score against the learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned
from analysis.scores import metrics, tuning
from analysis.scores.metrics import METRICS

if TYPE_CHECKING:
    from analysis.results import Results


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figure if the study has a grid of learning rates."""
    if len(results.study.rates) > 1:
        yield Planned("learning_rates", "tuning", partial(draw, results), {})


def draw(results: Results) -> Captioned:
    """Draw a panel per dataset, with a line per loss: the mean over all cells."""
    study = results.study
    grid = tuning.grid(results.table)
    grid = grid[grid["threshold"] == "0.5"]
    size = (style.WIDTH, 2.5)
    figure, axes = style.subplots(1, len(study.datasets), size, sharey=True)
    for axis, dataset in zip(axes.flat, study.datasets, strict=True):
        for loss, line in style.lines(study.losses).items():
            rows = metrics.select(grid, dataset=dataset, loss=loss)
            mean = rows.groupby("learning_rate")["test_dice"].mean()
            axis.plot(mean.index, mean, label=style.name(loss), **line)
        axis.axvline(study.training.learning_rate, **style.GREY | {"color": "0.8"})
        axis.set_xscale("log")
        axis.set_xticks(study.rates, [f"{rate:g}" for rate in study.rates])
        axis.minorticks_off()
        axis.set_xlabel(f"Learning rate of {study.training.optimizer.name}")
        axis.set_title(dataset)
    axes[0, 0].set_ylabel(METRICS["dice"].label)
    style.legend(figure, axes[0, 0])
    settings = ", settings" * (len(study.settings) > 1)
    caption = (
        "Test Dice score at threshold 0.5 against the learning rate: mean over all stresses"
        f"{settings}, seeds and test images; {len(study.runs)} planned runs, no intervals. Grey: "
        "the fixed rate. Every loss has the same grid and budget. The tuned rate of a cell is the "
        "best one on its validation images."
    )
    return figure, caption
