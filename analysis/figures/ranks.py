"""Rank of each loss in each experiment, with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, cell_labels

if TYPE_CHECKING:
    from analysis.results import Results


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figure if the study has ranks."""
    if len(results.ranks):
        yield Planned("ranking", "ranking", partial(draw, results), {})


def draw(results: Results) -> Captioned:
    """Draw a panel per experiment, with a row of panels per dataset and setting."""
    study, ranks = results.study, results.ranks
    cells = list(dict.fromkeys(zip(ranks["dataset"], ranks["setting"], strict=True)))
    experiments = list(dict.fromkeys(ranks["experiment"]))
    losses = [loss for loss in study.losses if loss in set(ranks["loss"])]
    labels = cell_labels(cells)
    longest = max(len(line) for label in labels for line in label.split("\n"))
    height = max(0.12 * len(losses) + 0.1, 0.06 * longest)
    figure, axes = style.subplots(
        len(cells),
        len(experiments),
        (style.WIDTH, height * len(cells) + 0.7),
        {"h_pad": 0.01, "w_pad": 0.02},
        sharex=True,
        sharey=True,
    )
    lines = style.lines(study.losses)
    for row in ranks.to_dict("records"):
        cell = cells.index((row["dataset"], row["setting"]))
        axis = axes[cell, experiments.index(row["experiment"])]
        line = style.points(lines[row["loss"]]) | {"label": style.name(row["loss"])}
        point = row | {"value": row["rank"]}
        style.intervals(axis, [losses.index(row["loss"])], point, line, horizontal=True)
    for axis, experiment in zip(axes[0], experiments, strict=True):
        axis.set_title(style.wrapped(style.title(experiment), 60, len(experiments)))
    for axis, label in zip(axes[:, -1], labels, strict=True):
        axis.annotate(
            label, (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center", fontsize=7
        )
    for axis in axes[:, 1:].flat:
        if not axis.has_data():
            axis.set_axis_off()
    axes[0, 0].set_yticks(range(len(losses)), [style.name(loss) for loss in losses])
    axes[0, 0].set_ylim(len(losses) - 0.5, -0.5)
    axes[0, 0].set_xticks(range(1, len(losses) + 1))
    axes[0, 0].set_xlim(0.5, len(losses) + 0.5)
    figure.supxlabel("Rank by mean Dice score (1 is the best)", fontsize=8)
    caption = (
        "Rank of each loss by its mean Dice score over the levels of an experiment, threshold 0.5, "
        f"fixed learning rate; {style.seeds(study)}. Lines: 95% "
        "intervals of the rank, from draws of all losses' scores: Student's t on the seeds and, "
        "for public images, on their source images. Ties share a rank. This study does not "
        "separate losses with overlapping lines."
    )
    return figure, caption
