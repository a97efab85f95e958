"""Overview of the verdicts: the estimate of each claim against the smallest difference."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import patches
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis import claims
from analysis.families import PRIMARY
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, cell_labels
from analysis.verdicts import POOLED

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

THICK = {"linewidth": 2, "solid_capstyle": "butt"}
RING = {
    "marker": "o",
    "markersize": 9,
    "fillstyle": "none",
    "color": "black",
    "markeredgewidth": 0.6,
}
DOTTED = style.GREY | {"color": "0.4", "linestyle": ":"}
REGION = {"color": "0.94", "linewidth": 0, "zorder": -1}
"""Keywords of the region where a claim holds."""
FILLED = 0.25
"""Least part of a shared range that the intervals of a claim fill."""
MOST = 60
"""Points in a panel; with more, only generated images and the mean of the datasets are shown."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each reference that verdicts on trained models compare with."""
    verdicts, first = trained(results.study, results.verdicts), results.study.references[0]
    for reference in results.study.references:
        if len(rows := verdicts[verdicts["against"] == reference]):
            stem = "verdicts" if reference == first else f"verdicts_{reference}"
            yield Planned(stem, "overview", partial(draw, results.study, rows, reference), {})


def trained(study: Study, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on trained models at the fixed learning rate, of claims with a page.

    Other settings than those of the study's grid are left out: few claims have them.
    """
    brief = [name for name, claim in claims.load().items() if claim.brief]
    rows = verdicts[(verdicts["level"] != "mechanism") & (verdicts["rate"] == "fixed")]
    rows = rows[rows["setting"].isin([setting.label for setting in study.settings])]
    return rows[rows["estimate"].notna() & ~rows["claim"].isin(brief)]


@dataclass(frozen=True)
class Layout:
    """Rows of a panel and the points in each row.

    by_loss: a row per loss with both thresholds in it; else a row per dataset and setting, with
    the losses next to each other, each at both thresholds. limits: claim -> range of the x axis.
    """

    rows: list
    losses: list[str]
    by_loss: bool
    limits: dict[str, tuple[float, float]]

    @property
    def items(self) -> list[tuple[str, str]]:
        """The loss and the threshold of each point in a row; no loss if it is the row's."""
        return list(itertools.product([""] if self.by_loss else self.losses, style.FILLS))

    def position(self, verdict: pd.Series) -> float:
        """Return the vertical position of a verdict."""
        key = verdict["loss"] if self.by_loss else (verdict["dataset"], verdict["setting"])
        item = "" if self.by_loss else verdict["loss"], verdict["threshold"]
        shift = style.offset(self.items.index(item), len(self.items))
        return self.rows.index(key) + 0.85 * shift

    @property
    def labels(self) -> list[str]:
        """The labels of the rows."""
        return [style.name(loss) for loss in self.rows] if self.by_loss else cell_labels(self.rows)

    @property
    def height(self) -> float:
        """The height of a panel in inches."""
        lines = max(label.count("\n") for label in self.labels)
        return max(0.09 * len(self.items) + 0.03, 0.11 * lines) * len(self.rows) + 0.85


def draw(study: Study, verdicts: pd.DataFrame, reference: str) -> Captioned:
    """Draw a panel per claim; verdicts: those on trained models against one reference."""
    names = list(dict.fromkeys(verdicts["claim"]))
    losses = [loss for loss in study.losses if loss in set(verdicts["loss"])]
    verdicts, left_out = shown(verdicts, len(losses))
    cells = list(dict.fromkeys(zip(verdicts["dataset"], verdicts["setting"], strict=True)))
    by_loss = len(cells) == 1
    layout = Layout(losses if by_loss else cells, losses, by_loss, limits(verdicts))
    lines = -(-len(names) // 2)
    longest = max(len(line) for label in layout.labels for line in label.split("\n"))
    width = min(46, 57 - longest)  # characters: long labels leave narrow panels
    titles = {name: textwrap.fill(claims.load()[name].title, width) for name in names}
    height = layout.height + 0.12 * max(title.count("\n") for title in titles.values())
    size = (style.WIDTH, height * lines + 0.5)
    figure, axes = style.subplots(lines, min(2, len(names)), size)
    for axis, name in zip(axes.flat, names, strict=False):
        panel(axis, name, verdicts[verdicts["claim"] == name], layout)
        axis.set_title(titles[name], loc="left", fontweight="bold", fontsize=7.5)
    empty = axes.flat[len(names) :]
    for axis in empty:
        axis.set_axis_off()
    handles = [] if by_loss else list(style.loss_handles(losses))
    if len(empty):
        empty[0].legend(handles=[*keys(), *handles], loc="center left")
    else:
        style.legend(figure, handles=[*keys(), *handles], columns=4)
    return figure, caption(verdicts, style.name(reference), left_out)


def shown(verdicts: pd.DataFrame, losses: int) -> tuple[pd.DataFrame, int]:
    """Return the verdicts to draw, and the number of single datasets that are left out.

    With several real datasets and too many points, only the mean of them is shown.
    """
    cells = verdicts[["dataset", "setting"]].drop_duplicates()
    pooled = (verdicts["dataset"] == POOLED).any()
    if not pooled or len(cells) * losses * len(style.FILLS) <= MOST:
        return verdicts, 0
    single = (verdicts["level"] == "field") & (verdicts["dataset"] != POOLED)
    return verdicts[~single], verdicts.loc[single, "dataset"].nunique()


def limits(verdicts: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return claim -> range of the x axis: zero, all intervals, and a part where the claim holds.

    Claims with the same unit have one range, except those that would fill less than a FILLED of it.
    """
    result = {}
    for _, same in verdicts.groupby("unit", sort=False):
        shared = _range(same)
        for claim, rows in same.groupby("claim", sort=False):
            own = _range(rows)
            result[claim] = own if np.ptp(own) < FILLED * np.ptp(shared) else shared
    return result


def _range(rows: pd.DataFrame) -> tuple[float, float]:
    columns = rows[["estimate", "low", "high", "smallest"]].to_numpy(float)
    low, high = min(0, np.nanmin(columns)), max(0, np.nanmax(columns))
    room = 0.05 * (high - low)
    return low - room, max(high, rows["smallest"].max() + 3 * room) + room


def keys() -> Iterator[Artist]:
    """Yield the entries of the legend that all claims share."""
    yield from style.threshold_handles()
    yield Line2D([], [], label="primary verdict", linestyle="none", **RING)
    yield Line2D([], [], color="0.3", label="90% interval", **THICK)
    yield Line2D([], [], color="0.3", linewidth=0.8, label="95% interval")
    yield Line2D([], [], label="smallest difference that matters", **DOTTED)
    yield patches.Patch(label="claim holds", **REGION)


def panel(axis: Axes, name: str, verdicts: pd.DataFrame, layout: Layout) -> None:
    """Draw the estimates of one claim, the region where it holds, and the words of its verdicts.

    The 90% interval is the thick part of the 95% interval. A ring marks the primary verdict.
    """
    claim = claims.load()[name]
    low, high = layout.limits[name]
    holds = (-claim.smallest, claim.smallest) if claim.equivalent else (claim.smallest, high)
    axis.axvspan(*holds, **REGION)
    axis.axvline(0, **style.GREY | {"color": "0.8"})
    for edge in holds if claim.equivalent else holds[:1]:
        axis.axvline(edge, **DOTTED)
    lines = style.lines(layout.losses)
    incomplete = set()
    for _, verdict in verdicts.iterrows():
        position = layout.position(verdict)
        line = style.points(lines[verdict["loss"]])
        line["fillstyle"] = style.FILLS[verdict["threshold"]]
        point = {"value": verdict["estimate"], "low": verdict["low"], "high": verdict["high"]}
        style.intervals(axis, [position], point, line, horizontal=True)
        axis.plot(verdict[["low90", "high90"]], [position] * 2, color=line["color"], **THICK)
        if verdict["family"] == PRIMARY:
            axis.plot(verdict["estimate"], position, **RING)
        if verdict["n"] < verdict["planned"]:
            incomplete.add(round(position))
        style.verdict(axis, position, verdict["verdict"])
    labels = [
        label + "\n(incomplete)" * (row in incomplete) for row, label in enumerate(layout.labels)
    ]
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    side = "claim holds between the lines" if claim.equivalent else "claim holds →"
    axis.set_xlabel(f"difference in {claim.unit} ({side})", labelpad=1, fontsize=7)


def caption(verdicts: pd.DataFrame, reference: str, left_out: int) -> str:
    """Return the caption: sign, markers, and how a verdict follows."""
    seeds = int(verdicts.loc[verdicts["dataset"] != POOLED, "n"].max())
    pooled = f"{POOLED.capitalize()}: their mean; it does not stand for other datasets. " * any(
        verdicts["dataset"] == POOLED
    )
    pooled += f"The {left_out} single datasets are in the tables. " * bool(left_out)
    return (
        f"Each claim, for each loss against {reference}. A point is the estimated difference. The "
        "dotted line is the smallest difference that matters, and the claim holds in the grey "
        "region. The thick part is the 90% interval. Supported: it is inside the region. "
        "Contradicted: it is outside. Undecided: neither, or a correction for several tests "
        "leaves the claim open. A two-sided test uses the 95% interval. Panels with the same unit "
        f"have the same scale, except for much smaller differences. {pooled}{style.INTERVAL}; "
        f"up to {style.counted(seeds, 'paired seed')} each. For the claim about the tuned "
        f"threshold, {reference} is always at its tuned threshold."
    )
