"""Learning curves: training loss and validation score over the steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, Scope, of_datasets, shared_level

if TYPE_CHECKING:
    from analysis.results import Results

PANELS = {"loss": "Training loss / its first value", "val_dice": "Validation DSC (pooled, 0.5)"}


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset and setting."""
    for scope in of_datasets(results.study):
        stem = scope.stem("curves", scope.dataset)
        yield Planned(stem, "curves", partial(draw, results, scope), scope.about)


def draw(results: Results, scope: Scope) -> Captioned:
    """Draw the mean curve of each loss, at the level that most experiments share."""
    shared, level = shared_level(scope)
    cell = shared.where(level) | {"learning_rate": scope.study.training.learning_rate}
    figure, axes = style.subplots(1, 2, (style.WIDTH, 2.5))
    count = 0
    for loss, line in style.lines(scope.study.losses).items():
        curves = curves_of(results.records, cell | {"loss": loss})
        count += len(curves)
        for axis, column in zip(axes.flat, PANELS, strict=True):
            if not curves:
                continue
            values = pd.concat([curve[column] for curve in curves], axis=1)
            if column == "loss":  # losses have different units, so each is divided by its first
                values = values / values.iloc[0]
            axis.plot(values.index, values.mean(axis=1), label=style.name(loss), **line)
            low, high = values.min(axis=1), values.max(axis=1)
            axis.fill_between(values.index, low, high, color=line["color"], alpha=0.12, linewidth=0)
    for axis, label in zip(axes.flat, PANELS.values(), strict=True):
        axis.set_xlabel("Training step")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    style.legend(figure, axes[0, 0])
    caption = (
        f"Learning curves on {scope.words}, stress {level.stress.name}. Lines: mean over seeds; "
        "shaded: from the smallest to the largest value. The training loss is averaged over the "
        "steps since the previous point. It is divided by its first value, since losses have "
        f"different units. {style.counted(count, 'run')}."
    )
    return figure, caption


def curves_of(records: list[dict[str, Any]], key: dict[str, Any]) -> list[pd.DataFrame]:
    """Return the learning curves, by step, of the runs with these values in their key.

    >>> record = {"key": {"loss": "dice", "seed": 0}, "curve": [{"step": 1, "loss": 0.5}]}
    >>> [curve["loss"].to_dict() for curve in curves_of([record], {"loss": "dice"})]
    [{1: 0.5}]
    """
    return [
        pd.DataFrame(record["curve"]).set_index("step")
        for record in records
        if record.get("curve") and key.items() <= record["key"].items()
    ]
