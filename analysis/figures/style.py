"""Style of all figures: sizes, colours, intervals, legends, and the files a figure is saved to."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import font_manager, patches
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation

from analysis.figures import hover
from losses import LOSSES

if TYPE_CHECKING:
    from experiments.plan.study import Study

WIDTH, COLUMN = 7.2, 3.5
"""Inches: text width of a page, and width of one of two columns."""

# Palette of Okabe and Ito, readable with colour blindness; markers and dashes repeat the code.
# Its light colours are darker here, so that each has a contrast of 3 with white.
FIXED = {
    "cross_entropy": ("#000000", "o"),
    "dice": ("#D55E00", "s"),
    "squared_dice": ("#BD8700", "^"),
    "article_dice": ("#CC79A7", "v"),
    "dice_ce": ("#0072B2", "D"),
}
SPARE, MARKERS = ("#009E73", "#3A9AD4", "#978B00", "#7F7F7F", "#8B4513"), "PX*hd<>p8H"
"""Colours and markers of the other losses of a study, in their order."""
# Muted palette of Tol, for classes in pictures: no loss has one of these colours.
MUTED = ("#88CCEE", "#CC6677", "#DDCC77", "#117733", "#AA4499", "#44AA99", "#882255", "#999933")
FILLS = {"0.5": "full", "tuned": "none"}
"""Threshold -> fill of its marker."""
DASHES = ("-", "--", ":", "-.")
VERDICT_COLOURS = {"supported": "#37474F", "contradicted": "#4D5B63", "undecided": "#6B6B6B"}
"""Neutral colours that no loss has, readable as text; the sign tells verdicts apart."""
VERDICT_SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}
INTERVAL = (
    "Error bars: 95% intervals by Student's t, over seeds and, where all seeds share the test "
    "images, over images"
)
"""Origin of the intervals, for captions."""
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
)
"""Font families for the labels of a user, the first one first. Missing ones are left out."""
LONGEST, LONG_WORD = 48, 20
"""Characters of a label in a figure, and of a word in it."""
ENTRY, LETTER = 0.5, 0.055
"""Inches of an entry in a legend without its label, and of a letter."""
GREY = {"color": "0.7", "linewidth": 0.8, "zorder": 0}
"""Keywords of a reference line."""


def use() -> None:
    """Set the backend and the defaults of matplotlib for every figure that follows."""
    plt.switch_backend("Agg")
    installed = set(font_manager.get_font_names())
    plt.rcParams.update(
        {
            "font.family": [*(font for font in FONTS if font in installed), "sans-serif"],
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "legend.fontsize": 7.5,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.2,
            "lines.markersize": 4,
            "figure.dpi": 200,
            "savefig.dpi": 300,
            "text.parse_math": False,  # labels are texts of a user: $ is a sign like any other
            "svg.fonttype": "none",
            "svg.hashsalt": "dicebench",
            "pdf.fonttype": 42,
            "legend.frameon": False,
        }
    )


def name(loss: str) -> str:
    """Return a loss's label; the name itself for a custom loss.

    >>> name("dice_ce"), name("my_loss")
    ('Dice + CE', 'my_loss')
    """
    return LOSSES[loss].label if loss in LOSSES else loss


def title(text: str) -> str:
    """Return a name with blanks for underscores.

    >>> title("object_size")
    'object size'
    """
    return text.replace("_", " ")


def heading(text: str) -> str:
    """Return a name with blanks for underscores and a capital.

    >>> heading("object_size")
    'Object size'
    """
    return text[:1].upper() + title(text)[1:]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def seeds(study: Study) -> str:
    """Return the number of seeds of a study, or the least and the greatest."""
    *least, most = study.plan.numbers
    return "".join(f"{number} to " for number in least) + counted(most, "seed")


def wrapped(text: str, characters: int, labels: int, word: int = LONG_WORD) -> str:
    r"""Wrap a label so that `labels` of them fit in `characters`.

    Only words above `word` letters are broken. A label longer than LONGEST is cut.

    >>> wrapped("large among small", 30, 4)
    'large\namong\nsmall'
    """
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    text = re.sub(rf"(\S{{{word}}})(?=\S)", r"\1 ", text)
    return textwrap.fill(text, max(1, characters // labels), break_long_words=False)


def lines(losses: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the colour, marker and dashes of each loss of a study.

    The line style of a loss in FIXED is the same in every study.

    >>> lines(["dice", "my_loss"])["my_loss"]
    {'color': '#009E73', 'marker': 'P', 'linestyle': '-'}
    """
    losses = list(losses)
    others = [loss for loss in losses if loss not in FIXED]
    table = FIXED | {
        loss: (SPARE[i % len(SPARE)], MARKERS[i % len(MARKERS)]) for i, loss in enumerate(others)
    }
    result = {}
    for loss in losses:
        colour, marker = table[loss]
        dashes = others.index(loss) // len(SPARE) if loss in others else 0
        result[loss] = {
            "color": colour,
            "marker": marker,
            "linestyle": DASHES[dashes % len(DASHES)],
        }
    return result


def points(line: Mapping[str, str]) -> dict[str, str]:
    """Return a line style without the line that joins the markers."""
    return {**line, "linestyle": "none"}


def threshold_handles() -> Iterator[Line2D]:
    """Yield an entry of a legend for each threshold: a grey marker with its fill."""
    for threshold, fill in FILLS.items():
        words = "tuned threshold" if threshold == "tuned" else f"threshold {threshold}"
        marker = {"marker": "o", "color": "0.3", "fillstyle": fill}
        yield Line2D([], [], label=words, **points(marker))


def loss_handles(losses: Iterable[str]) -> Iterator[Line2D]:
    """Yield an entry of a legend for each loss: its marker."""
    for loss, line in lines(losses).items():
        yield Line2D([], [], label=name(loss), **points(line))


def verdict(axis: Axes, position: float, word: str) -> None:
    """Write a verdict with its sign to the right of an axis, at a vertical position."""
    axis.text(
        1.02,
        position,
        f"{VERDICT_SIGNS[word]} {word}",
        transform=axis.get_yaxis_transform(),
        color=VERDICT_COLOURS[word],
        fontsize=6,
        va="center",
    )


def offset(index: int, count: int) -> float:
    """Return the offset of item `index` of `count`, in [-1/2, 1/2], so error bars do not overlap.

    >>> [offset(i, 4) for i in range(4)]
    [-0.375, -0.125, 0.125, 0.375]
    """
    return (index - (count - 1) / 2) / count


def shifted(values: Sequence[float], shift: float, *, log: bool) -> np.ndarray:
    """Move positions on an axis by a part of a quarter of their smallest gap.

    A gap counts as at most a third of the axis. A single value has a gap of 1.

    >>> shifted([0, 2, 6], 0.5, log=False).tolist()
    [0.25, 2.25, 6.25]
    """
    values = np.asarray(values, float)
    if log:
        return np.exp(shifted(np.log(values), shift, log=False))
    several = len(values) > 1
    gap = min(np.diff(np.sort(values)).min(), np.ptp(values) / 3) if several else 1
    return values + 0.25 * shift * gap


def subplots(
    rows: int, columns: int, size: tuple[float, float], pads: Mapping | None = None, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, always an array (rows, columns); pads in inches."""
    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", **options
    )
    figure.get_layout_engine().set(**(pads or {}))
    return figure, axes


def intervals(
    axis: Axes,
    positions: Sequence[float],
    rows: pd.DataFrame | Mapping[str, Any],
    line: Mapping[str, Any],
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    horizontal: bool = False,
) -> None:
    """Draw `value` with the interval from `low` to `high` of each row at its position.

    bounds: the range of the score; an interval is cut there. A NaN interval is not drawn.
    """
    values, low, high = (
        np.atleast_1d(np.asarray(rows[c], float)) for c in ("value", "low", "high")
    )
    low, high = np.clip([low, high], *bounds)
    spread = np.clip(np.nan_to_num([values - low, high - values]), 0, None)
    positions = np.atleast_1d(positions)
    if horizontal:
        drawn = axis.errorbar(values, positions, xerr=spread, elinewidth=0.8, **line)
    else:
        drawn = axis.errorbar(positions, values, yerr=spread, elinewidth=0.8, **line)
    hover.describe(drawn, rows, values, low, high)


def legend(
    figure: Figure, axes: Iterable[Axes] = (), *, handles: Iterable[Artist] = (), columns: int = 6
) -> None:
    """Add one legend below the axes, with each label once; `handles` come last.

    It has at most `columns` columns, fewer if its labels are too long for the figure.
    """

    def width(number: int) -> float:
        rows = -(-len(entries) // number)
        lengths = [max(len(line) for line in label.split("\n")) for label in entries]
        longest = [max(lengths[i : i + rows]) for i in range(0, len(lengths), rows)]
        return ENTRY * len(longest) + LETTER * sum(longest)

    entries = {}
    for axis in np.ravel(axes):
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    entries |= {handle.get_label(): handle for handle in handles}
    if entries:
        numbers = range(min(columns, len(entries)), 0, -1)
        fitting = (number for number in numbers if width(number) < figure.get_figwidth())
        rows = -(-len(entries) // next(fitting, 1))
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=-(-len(entries) // rows),
        )


def classes(names: Sequence[str]) -> list[str]:
    """Return a colour for each class."""
    return [MUTED[i % len(MUTED)] for i in range(len(names))]


def painted(
    regions: Bool[np.ndarray, "k h w"], shades: Sequence[str], elsewhere: str = "#FFFFFF00"
) -> Float[np.ndarray, "h w 4"]:
    """Return a picture of regions in their colours, mixed where they overlap (red, green, blue,
    opacity).

    >>> painted(np.array([[[True, True]], [[False, True]]]), ["#F00", "#00F"]).tolist()
    [[[1.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.5, 1.0]]]
    """
    count = regions.sum(0)[..., None]
    mixed = np.tensordot(regions, to_rgba_array(shades), (0, 0)) / np.maximum(count, 1)
    return np.where(count, mixed, to_rgba(elsewhere))


def class_legend(figure: Figure, names: Sequence[str]) -> None:
    """Add the legend of the classes' colours."""
    handles = [
        patches.Patch(color=colour, label=label)
        for colour, label in zip(classes(names), names, strict=True)
    ]
    legend(figure, handles=handles, columns=9)


def bare(axis: Axes) -> None:
    """Remove the ticks and spines of an axis that shows a picture."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


class PlainLog(LogFormatterSciNotation):
    """Labels of a logarithmic axis as plain numbers: 0.001, not a formula."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick; empty for a tick without a label."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_ticks(figure: Figure) -> None:
    """Label the logarithmic axes of a figure with plain numbers."""
    for axis in (a for axes in figure.axes for a in (axes.xaxis, axes.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatterSciNotation):
            axis.set_major_formatter(PlainLog())
        if isinstance(axis.get_minor_formatter(), LogFormatterSciNotation):
            axis.set_minor_formatter(PlainLog(labelOnlyBase=False))


def save(figure: Figure, stem: Path) -> None:
    """Save a figure as SVG, PDF and PNG, without dates, so that equal figures have equal bytes."""
    plain_ticks(figure)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # No installed font has the glyph: PNG and PDF show a box, the SVG has the text.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        hover.save_svg(figure, stem.with_name(f"{stem.name}.svg"), metadata={"Date": None})
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {})):
            content = io.BytesIO()  # on a full disk the PDF writer fails with an error of its own
            figure.savefig(content, format=suffix[1:], metadata=metadata)
            stem.with_name(f"{stem.name}{suffix}").write_bytes(content.getvalue())
    plt.close(figure)
