"""Mechanism of the claims: losses on constructed predictions, without training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis import claims
from analysis.claims import Mechanism, Panel
from analysis.figures import hover, style
from analysis.figures.scope import Captioned, Planned

if TYPE_CHECKING:
    from analysis.results import Results

COMPUTED = "Computed on constructed predictions, no training."
ALL = {"color": "0.3", "marker": "o", "label": "all losses"}
"""Keywords of the one line of losses that are equal."""
TICKS = 8
"""Most values of x with a tick at each."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each claim with a mechanism."""
    for name, claim in claims.load().items():
        if claim.mechanism:
            drawing = partial(draw, results.mechanism, claim.mechanism)
            yield Planned(f"mechanism_{name}", "mechanism", drawing, {"claim": name})


def draw(measured: pd.DataFrame, mechanism: Mechanism) -> Captioned:
    """Draw the panels of a claim's mechanism, with a line per loss."""
    count = len(mechanism.panels)
    width = style.WIDTH if count > 1 else 1.4 * style.COLUMN
    tables = [table(measured, panel.quantity) for panel in mechanism.panels]
    same = all(map(coincide, tables))
    figure, axes = style.subplots(1, count, (width, 2.0 if same else 2.5))
    for axis, panel, values in zip(axes.flat, mechanism.panels, tables, strict=True):
        draw_panel(axis, values, panel)
    style.legend(figure, axes)
    caption = mechanism.caption
    text = caption if isinstance(caption, str) else caption(measured)
    return figure, f"{text} {'Here all losses are equal. ' * same}{COMPUTED}"


def table(measured: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return a quantity by x, with a column per loss in the order of the study.

    A loss that could not be measured has no column.
    """
    rows = measured[(measured["quantity"] == quantity) & measured["x"].notna()]
    values = rows.pivot(index="x", columns="loss", values="value")
    return values[[loss for loss in measured["loss"].unique() if loss in values]]


def coincide(values: pd.DataFrame) -> bool:
    """Return whether several losses have the same value at every x."""
    return values.shape[1] > 1 and np.allclose(values, values.iloc[:, :1], rtol=1e-3, atol=1e-6)


def draw_panel(axis: Axes, values: pd.DataFrame, panel: Panel) -> None:
    """Draw one quantity of every loss against its x; values: from `table`."""
    if coincide(values):
        axis.plot(values.index, values.iloc[:, 0], **ALL)
    else:
        for loss, line in style.lines(values.columns).items():
            axis.plot(values.index, values[loss], label=style.name(loss), **line)
    for line in axis.lines:
        hover.describe_line(line)
    if panel.log_x:
        axis.set_xscale("log")
    if len(values) <= TICKS:
        axis.set_xticks(
            values.index, [f"{x:g}" if x == round(x) else f"{x:.2g}" for x in values.index]
        )
        axis.minorticks_off()
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if panel.log_y:
        axis.set_yscale("log")
    if panel.ylim:
        low, high = panel.ylim
        axis.set_ylim(min(low, values.min(axis=None)), max(high, values.max(axis=None)))
    if panel.line:
        direction, position = panel.line
        draw_line = {"x": axis.axvline, "y": axis.axhline}[direction]
        draw_line(position, **style.GREY | {"color": "0.8"})
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
