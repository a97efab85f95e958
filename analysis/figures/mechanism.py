"""Mechanism of the claims: losses on constructed predictions, without training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes

from analysis import claims
from analysis.claims import Mechanism, Panel
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned

if TYPE_CHECKING:
    from analysis.results import Results

COMPUTED = "Computed on constructed predictions, no training."


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
    figure, axes = style.subplots(1, count, (width, 2.5))
    for axis, panel in zip(axes.flat, mechanism.panels, strict=True):
        draw_panel(axis, measured, panel)
    style.legend(figure, axes[0, 0], columns=6 if count > 1 else 3)
    caption = mechanism.caption
    text = caption if isinstance(caption, str) else caption(measured)
    return figure, f"{text} {COMPUTED}"


def draw_panel(axis: Axes, measured: pd.DataFrame, panel: Panel) -> None:
    """Draw one quantity of every loss against its x."""
    for loss, line in style.lines(measured["loss"].unique()).items():
        rows = measured[(measured["quantity"] == panel.quantity) & (measured["loss"] == loss)]
        axis.plot(rows["x"], rows["value"], label=style.name(loss), **line)
    if panel.log_x:
        axis.set_xscale("log")
    if panel.log_y:
        axis.set_yscale("log")
    if panel.ylim:
        low, high = panel.ylim
        values = measured.loc[measured["quantity"] == panel.quantity, "value"]
        axis.set_ylim(min(low, values.min()), max(high, values.max()))
    if panel.line:
        direction, position = panel.line
        draw_line = {"x": axis.axvline, "y": axis.axhline}[direction]
        draw_line(position, **style.GREY | {"color": "0.8"})
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
