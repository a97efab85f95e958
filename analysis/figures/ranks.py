"""Rank of each loss in each experiment, with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, cell_labels
from analysis.scores import ranking

if TYPE_CHECKING:
    from analysis.results import Results


MANY = 40
"""Rows of the figure from which on they are closer together."""
BAR = {"linewidth": 4, "alpha": 0.3, "solid_capstyle": "butt"}


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figure if the study has ranks."""
    if len(results.ranks):
        yield Planned("ranking", "ranking", partial(draw, results), {})


def draw(results: Results) -> Captioned:
    """Draw a panel per experiment, with a row of panels per dataset and setting."""
    study = results.study
    tables = {"0.5": results.ranks, "tuned": ranking.ranks(results, "tuned")}
    cells = list(
        dict.fromkeys(zip(results.ranks["dataset"], results.ranks["setting"], strict=True))
    )
    experiments = list(dict.fromkeys(results.ranks["experiment"]))
    losses = [loss for loss in study.losses if loss in set(results.ranks["loss"])]
    labels = cell_labels(cells)
    longest = max(len(line) for label in labels for line in label.split("\n"))
    row = 0.18 if len(losses) * len(cells) < MANY else 0.13
    height = max(row * len(losses) + 0.1, 0.06 * longest)
    figure, axes = style.subplots(
        len(cells),
        len(experiments),
        (style.WIDTH, height * len(cells) + 0.95),
        {"h_pad": 0.01, "w_pad": 0.02},
        sharex=True,
        sharey=True,
    )
    lines = style.lines(study.losses)
    for i, (threshold, ranks) in enumerate(tables.items()):
        for row in ranks.to_dict("records"):
            cell = cells.index((row["dataset"], row["setting"]))
            axis = axes[cell, experiments.index(row["experiment"])]
            position = losses.index(row["loss"]) + 0.8 * style.offset(i, len(tables))
            point(axis, position, row, lines[row["loss"]] | {"fillstyle": style.FILLS[threshold]})
    for axis, experiment in zip(axes[0], experiments, strict=True):
        axis.set_title(style.wrapped(style.heading(experiment), 60, len(experiments)))
    for axis, label in zip(axes[:, -1], labels, strict=True):
        axis.annotate(
            label, (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center", fontsize=7
        )
    for axis in axes[:, 1:].flat:
        if not axis.has_data():
            axis.set_axis_off()
    axes[0, 0].set_yticks(range(len(losses)), [style.name(loss) for loss in losses])
    axes[0, 0].set_ylim(len(losses) - 0.5, -0.5)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes[0, 0].set_xlim(0.3, len(losses) + 0.7)
    one = f" on {cells[0][0]}" * (len(study.datasets) == 1)
    figure.suptitle(f"Rank by mean Dice score{one} (1 is the best)", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("Rank")
    bar = Line2D([], [], color="0.3", label="ranks in the 95% interval", **BAR)
    style.legend(figure, handles=[*style.threshold_handles(), bar])
    caption = (
        f"Rank of each loss by its mean Dice score over the levels of an experiment{one}. Filled: "
        "threshold 0.5; open: threshold tuned on validation images. The pale bar has all ranks in "
        "the 95% interval; a bar of one rank is certain, no bar is a rank without an interval. "
        "The interval is over seeds and, for real images, over images; "
        f"{style.seeds(study)}. Ties share a rank. This study does not separate losses whose bars "
        "overlap. The learning rate is the fixed one."
    )
    return figure, caption


def point(axis: Axes, position: float, row: Mapping[str, Any], line: Mapping[str, Any]) -> None:
    """Draw a rank, and a bar over the ranks of its interval if it has one."""
    low, high = row["low"] - 0.35, row["high"] + 0.35
    axis.plot([low, high], [position] * 2, **BAR, color=line["color"])
    axis.plot(row["rank"], position, **style.points(line))
