"""Error rates of the verdicts: false verdicts, coverage and power against the number of seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.scores import metrics

DASHES = {"0.5": "-", "tuned": "--"}
"""Line of a threshold."""
FALSE, COVERED, POWER = (2, 5), (93, 96), 90
"""Goals in percent: false verdicts of a family, coverage of the 95% interval, power."""
SIDES = {"below": "supported", "smallest": "contradicted"}
"""Planted effect -> the verdict that is false there."""
FALSE_COLOURS = style.MUTED[3], style.MUTED[6]
SHADES = ("0.65", "0.4", "0.0")
"""Greys of the planted effects, from small to large."""
NORMAL = {"color": "0.85", "linewidth": 3}
"""Line of populations of normal seeds."""
TITLES = "False verdicts", "Coverage", "Power"

Lines = list[tuple[str, dict[str, str]]]
"""Labels with their line styles."""


def draw(table: pd.DataFrame) -> Figure:
    """Draw a row of panels per population; table: as calibration.csv.

    A large dot is a study with looks, at the mean number of seeds of a claim. Effects are
    distances from the smallest differences that matter.
    """
    datasets = table["dataset"].unique()
    figure, axes = style.subplots(len(datasets), 3, (style.WIDTH, 2.3 * len(datasets) + 0.9))
    claims = list(style.lines(filter(None, table["claim"].unique())).items())
    effects = [e for e in table["effect"].unique() if e.startswith("+")]
    steps = [(effect, {"color": grey}) for effect, grey in zip(effects, SHADES, strict=True)]
    for row, dataset in zip(axes, datasets, strict=True):
        own = metrics.select(table, dataset=dataset)
        families, single = own[own["claim"] == ""], own[own["claim"] != ""]
        for side, line in _sides():
            _curves(row[0], metrics.select(families, effect=side), "false_rate", line)
        _curves(row[0], metrics.select(families, effect="smallest"), "normal_false", NORMAL)
        for claim, line in claims:
            rows = metrics.select(single, claim=claim, effect="smallest")
            _curves(row[1], rows, "covered_95", line)
        _curves(row[1], metrics.select(families, effect="smallest"), "normal_covered", NORMAL)
        for effect, line in steps:
            _curves(row[2], metrics.select(families, effect=effect), "power", line)
        row[0].axhspan(*FALSE, color="0.92", zorder=0)
        row[1].axhspan(*COVERED, color="0.92", zorder=0)
        row[2].axhline(POWER, **style.GREY)
        row[0].set_ylabel(f"{dataset}\nFamilies with one (%)")
        row[1].set_ylabel("95% intervals (%)")
        row[2].set_ylabel("Right verdicts (%)")
        row[0].set_ylim(0, max(10, row[0].get_ylim()[1]))
        row[2].set_ylim(0, 104)
        _ticks(row, own)
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title)
    style.legend(figure, handles=[*_handles(claims, steps)], columns=5)
    return figure


def _sides() -> Lines:
    """Return the planted effects of false verdicts with their line styles."""
    return [(side, {"color": colour}) for side, colour in zip(SIDES, FALSE_COLOURS, strict=True)]


def _curves(axis: Axes, rows: pd.DataFrame, column: str, line: Mapping[str, str]) -> None:
    """Draw a rate in percent against n, a line per threshold; a large dot for looks."""
    for threshold, own in rows.groupby("threshold", sort=False):
        fixed, looks = own[own["looks"] == ""], own[own["looks"] != ""]
        dashed = {**line, "linestyle": DASHES[threshold], "markersize": 2.5}
        axis.plot(fixed["n"], 100 * fixed[column], **dashed)
        inside = line["color"] if threshold == "0.5" else "none"
        dot = {"s": 45, "facecolors": inside, "edgecolors": line["color"], "zorder": 3}
        axis.scatter(looks["seeds"], 100 * looks[column], **dot)


def _ticks(axes: Iterable[Axes], table: pd.DataFrame) -> None:
    """Set the numbers of seeds as the ticks of the x axes."""
    numbers = sorted(set(table.loc[table["looks"] == "", "n"]))
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(numbers, labels=map(str, numbers))
        axis.minorticks_off()
        axis.set_xlabel("Seeds n")


def _handles(*groups: Lines) -> Iterator[Line2D]:
    """Yield the entries of the legend."""
    for side, line in _sides():
        yield Line2D([], [], label=f"falsely {SIDES[side]}", **line)
    for label, line in itertools.chain(*groups):
        effect = "effect " * label.startswith("+")
        yield Line2D([], [], label=effect + style.title(label), **line)
    yield Line2D([], [], label="as many normal seeds", **NORMAL)
    for threshold, dash in DASHES.items():
        yield Line2D([], [], color="0.3", linestyle=dash, label=f"threshold {threshold}")
    yield Line2D([], [], color="0.3", linestyle="", marker="o", markersize=7, label="with looks")
