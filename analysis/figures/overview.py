"""Overview of the verdicts: the estimate of each claim against the smallest difference."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes

from analysis import claims
from analysis.families import PRIMARY
from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, cell_labels
from analysis.verdicts import POOLED

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

THRESHOLDS = {"0.5": "full", "tuned": "none"}
"""Threshold -> fill of its marker."""
THICK = {"linewidth": 2, "solid_capstyle": "butt"}
RING = {
    "marker": "o",
    "markersize": 9,
    "fillstyle": "none",
    "color": "black",
    "markeredgewidth": 0.6,
}


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
    the losses next to each other.
    """

    rows: list
    losses: list[str]
    by_loss: bool

    def row(self, verdict: pd.Series) -> int:
        """Return the row of a verdict."""
        key = verdict["loss"] if self.by_loss else (verdict["dataset"], verdict["setting"])
        return self.rows.index(key)

    def shift(self, verdict: pd.Series) -> float:
        """Return the vertical offset of a verdict in its row."""
        if self.by_loss:
            return style.offset(list(THRESHOLDS).index(verdict["threshold"]), len(THRESHOLDS))
        return style.offset(self.losses.index(verdict["loss"]), len(self.losses))

    @property
    def labels(self) -> list[str]:
        """The labels of the rows."""
        return [style.name(loss) for loss in self.rows] if self.by_loss else cell_labels(self.rows)

    @property
    def height(self) -> float:
        """The height of a panel in inches."""
        lines = max(label.count("\n") for label in self.labels)
        row = 0.17 if self.by_loss else max(0.06 * len(self.losses), 0.11 * lines) + 0.12
        return row * len(self.rows) + 0.62


def draw(study: Study, verdicts: pd.DataFrame, reference: str) -> Captioned:
    """Draw a panel per claim; verdicts: those on trained models against one reference."""
    names = list(dict.fromkeys(verdicts["claim"]))
    losses = [loss for loss in study.losses if loss in set(verdicts["loss"])]
    cells = list(dict.fromkeys(zip(verdicts["dataset"], verdicts["setting"], strict=True)))
    by_loss = len(cells) == 1
    layout = Layout(losses if by_loss else cells, losses, by_loss)
    if not by_loss:
        verdicts = verdicts[verdicts["threshold"] == "0.5"]
    lines = -(-len(names) // 2)
    longest = max(len(line) for label in layout.labels for line in label.split("\n"))
    width = min(46, 57 - longest)  # characters: long labels leave narrow panels
    titles = {name: textwrap.fill(claims.load()[name].title, width) for name in names}
    height = layout.height + 0.12 * max(title.count("\n") for title in titles.values())
    size = (style.WIDTH, height * lines + 0.4)
    figure, axes = style.subplots(lines, min(2, len(names)), size)
    for axis, name in zip(axes.flat, names, strict=False):
        panel(axis, claims.load()[name], verdicts[verdicts["claim"] == name], layout)
        axis.set_title(titles[name], loc="left", fontweight="bold", fontsize=7.5)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    if not by_loss:
        style.legend(figure, axes)
    return figure, caption(verdicts, style.name(reference), by_loss)


def panel(axis: Axes, claim: claims.Claim, verdicts: pd.DataFrame, layout: Layout) -> None:
    """Draw the estimates of one claim, with the smallest difference as a dotted line.

    The 90% interval is the thick part of the 95% interval. A ring marks the primary verdict.
    """
    axis.axvline(0, **style.GREY | {"color": "0.8"})
    axis.axvline(claim.smallest, **style.GREY | {"color": "0.4", "linestyle": ":"})
    lines = style.lines(layout.losses)
    incomplete = set()
    for _, verdict in verdicts.iterrows():
        row, loss = layout.row(verdict), verdict["loss"]
        line = style.points(lines[loss]) | {"label": style.name(loss)}
        line["fillstyle"] = THRESHOLDS[verdict["threshold"]]
        point = {"value": verdict["estimate"], "low": verdict["low"], "high": verdict["high"]}
        position = row + 0.7 * layout.shift(verdict)
        style.intervals(axis, [position], point, line, horizontal=True)
        axis.plot(verdict[["low90", "high90"]], [position] * 2, color=line["color"], **THICK)
        if verdict["family"] == PRIMARY:
            axis.plot(verdict["estimate"], position, **RING)
        if verdict["n"] < verdict["planned"]:
            incomplete.add(row)
    labels = [
        label + " (incomplete)" * (row in incomplete) for row, label in enumerate(layout.labels)
    ]
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_xlabel(f"difference in {claim.unit}", labelpad=1)


def caption(verdicts: pd.DataFrame, reference: str, by_loss: bool) -> str:
    """Return the caption: sign, markers, and how a verdict follows."""
    seeds = int(verdicts.loc[verdicts["dataset"] != POOLED, "n"].max())
    markers = (
        "Filled: threshold 0.5; open: threshold tuned on validation. "
        if by_loss
        else "Threshold 0.5. "
    )
    pooled = f"{POOLED.capitalize()}: their mean, not that of others. " * any(
        verdicts["dataset"] == POOLED
    )
    return (
        f"Estimate of each claim for each loss against {reference}; values to the right agree "
        f"with the claim. {markers}Ring: the primary verdict. Dotted: the smallest difference that "
        "matters. The thick part is the 90% interval: one that is entirely to the right of the "
        "dotted line supports the claim, one entirely to the left contradicts it (the whole "
        "interval, where a test is two-sided), subject to the "
        f"correction for the verdicts of the family. {pooled}{style.INTERVAL}; up to "
        f"{style.counted(seeds, 'paired seed')} each. For the claim about "
        f"the tuned threshold, {reference} is always at its tuned threshold."
    )
