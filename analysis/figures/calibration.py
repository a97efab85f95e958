"""Error rates of the verdicts: false verdicts, coverage and power against the number of seeds."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style

DASHES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 1)))
STRONG = 0.3
"""Planted effect of the panel on power."""
PANELS = (
    ("false", 0.0, "False verdicts, A/A (%)", 5),
    ("covered", 0.0, "Intervals that contain 0, A/A (%)", 95),
    ("supported", STRONG, f"Effect of {STRONG} detected (%)", 90),
)
"""Column, planted effect, label, reference line in percent."""


def draw(table: pd.DataFrame) -> Figure:
    """Draw a panel per rate, with a line per loss and claim; table: as calibration.csv."""
    figure, axes = style.subplots(1, len(PANELS), (style.WIDTH, 2.6))
    lines = style.lines(table["loss"].unique())
    dashes = dict(zip(table["claim"].unique(), DASHES, strict=False))
    for axis, (column, planted, label, reference) in zip(axes.flat, PANELS, strict=True):
        rows = table[table["planted"] == planted]
        for (claim, _, loss), group in rows.groupby(["claim", "dataset", "loss"], sort=False):
            line = lines[loss] | {"linestyle": dashes[claim]}
            axis.plot(group["n"], 100 * group[column] / group["comparisons"], **line)
        axis.axhline(reference, **style.GREY | {"color": "0.6"})
        axis.set_xlabel("Seeds n")
        axis.set_ylabel(label)
        axis.set_xticks(sorted(set(table["n"])))
    axes[0, 0].set_ylim(-0.5, max(10, axes[0, 0].get_ylim()[1]))
    axes[0, 2].set_ylim(-3, 103)
    losses = [
        Line2D([], [], color=line["color"], label=style.name(loss)) for loss, line in lines.items()
    ]
    of_claims = [
        Line2D([], [], color="0.3", linestyle=dash, label=style.title(claim))
        for claim, dash in dashes.items()
    ]
    style.legend(figure, handles=losses + of_claims, columns=4)
    return figure
