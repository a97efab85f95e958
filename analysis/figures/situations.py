"""Difference of each loss from the first reference, by situation: comparisons.csv drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from analysis import situations
from analysis.comparisons import SUITE
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned
from analysis.scores.metrics import select

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from analysis.results import Results
    from experiments.plan.study import Study


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figure if losses are compared with the first reference."""
    if len(select(results.comparisons, against=results.study.references[0])):
        yield Planned("situations", "situations", partial(draw, results), {})


def scopes(study: Study) -> dict[str, str]:
    """Return the scopes that are shown, with their titles: the public datasets, each generated one.

    Of several public datasets it is their mean.
    """
    real = [name for name, dataset in study.datasets.items() if not dataset.controlled]
    made = [name for name in study.datasets if name not in real]
    mean = {SUITE: f"mean of {len(real)} datasets"} if len(real) > 1 else {n: n for n in real}
    return mean | {name: "generated images" if len(made) == 1 else name for name in made}


def draw(results: Results) -> Captioned:
    """Draw a panel per scope, with a row per situation, and a point per loss and threshold."""
    study = results.study
    reference, setting = study.references[0], study.settings[0].label
    rows = select(results.comparisons, against=reference, setting=setting)
    shown = {scope: title for scope, title in scopes(study).items() if scope in set(rows["scope"])}
    named = [name for name in situations.KNOBS if name in set(rows["situation"])]
    name = style.name(reference)
    lines = {loss: line for loss, line in style.lines(study.losses).items() if loss != reference}
    height = len(named) * (0.16 * len(lines) + 0.1) + 0.9
    figure, axes = style.subplots(1, len(shown), (style.WIDTH, height), sharey=True)
    for axis, (scope, title) in zip(axes[0], shown.items(), strict=True):
        panel(axis, select(rows, scope=scope), named, lines)
        axis.set_title(title)
        axis.set_xlabel(f"Mean DSC minus that of {name}")
    axes[0, 0].set_yticks(range(len(named)), [style.wrapped(words, 18, 1) for words in named])
    style.legend(figure, axes, handles=style.threshold_handles())
    caption = (
        f"Mean Dice score (DSC) of each loss minus that of {name}, by situation, with the fixed "
        "learning rate. Filled: threshold 0.5; open: both thresholds tuned on validation images. "
        f"Paired by seed and image. {style.INTERVAL}; each by itself, {style.seeds(study)}."
        f"{' Each panel has a scale of its own.' * (len(shown) > 1)}"
    )
    return figure, caption


def panel(
    axis: Axes, rows: pd.DataFrame, named: Sequence[str], lines: Mapping[str, Mapping[str, str]]
) -> None:
    """Draw the rows of a scope; named: the situations; lines: line style of each loss."""
    points = list(itertools.product(lines, style.FILLS))
    for i, (loss, threshold) in enumerate(points):
        found = select(rows, loss=loss, threshold=threshold).set_index("situation")
        shift = 0.85 * style.offset(i, len(points))
        marker = {"fillstyle": style.FILLS[threshold], "label": style.name(loss)}
        style.intervals(
            axis,
            [named.index(situation) + shift for situation in found.index],
            found,
            style.points(lines[loss]) | marker,
            bounds=(-1, 1),
            horizontal=True,
        )
    axis.axvline(0, **style.GREY)
    for i in range(1, len(named), 2):
        axis.axhspan(i - 0.5, i + 0.5, color="0.95", linewidth=0, zorder=-1)
    axis.set_ylim(len(named) - 0.5, -0.5)
