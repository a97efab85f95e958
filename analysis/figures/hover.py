"""Values of the points of a figure, as the tooltips of its SVG."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def describe(
    drawn: ErrorbarContainer,
    rows: pd.DataFrame | Mapping[str, Any],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> None:
    """Keep a text for each marker: loss, level, value, interval and number of seeds.

    rows: as `style.intervals` gets them; a frame's index has the levels if it has a name, and its
    column `n` the numbers of seeds.
    """
    frame = isinstance(rows, pd.DataFrame)
    levels = list(rows.index) if frame and rows.index.name else [""] * len(values)
    counts = list(rows["n"]) if frame and "n" in rows else [np.nan] * len(values)
    name = drawn.get_label()
    name = "" if name.startswith("_") else name  # matplotlib's own names
    drawn.lines[0].texts = [
        words(", ".join(filter(None, (name, str(level)))), point, n)
        for level, n, *point in zip(levels, counts, values, low, high, strict=True)
        if np.isfinite(point[0])
    ]


def describe_line(drawn: Line2D) -> None:
    """Keep a text for each marker of a line of exact values: its label, x and y."""
    drawn.texts = [
        f"{drawn.get_label()}, {x:.3g}: {y:.3g}".replace("-", "−")
        for x, y in zip(*drawn.get_data(), strict=True)
        if np.isfinite(y)
    ]


def words(name: str, point: Sequence[float], n: float = np.nan) -> str:
    """Return the text of a point (value, low, high).

    >>> words("Dice, 0.3", (0.43, 0.38, 0.48), 3)
    'Dice, 0.3: 0.43 [0.38, 0.48], 3 seeds'
    >>> words("Dice", (-0.43, np.nan, np.nan), 1)
    'Dice: −0.43, 1 seed'
    >>> words("Dice", (2.0, 1.0, 3.0))
    'Dice: 2 [1, 3]'
    """
    whole = all(float(number).is_integer() for number in point)
    value, low, high = (f"{x:.{0 if whole else 2}f}".replace("-", "−") for x in point)
    interval = f" [{low}, {high}]" if np.isfinite(point[1:]).all() else ""
    seeds = f", {n:.0f} seed{'s' * (n != 1)}" if np.isfinite(n) else ""
    return f"{name}: {value}{interval}{seeds}"


def save_svg(figure: Figure, path: Path, **options: Any) -> None:
    """Save a figure as SVG; markers with a text get it as their title, which browsers show."""
    lines = [line for line in figure.findobj(Line2D) if getattr(line, "texts", None)]
    for i, line in enumerate(lines):
        line.set_gid(f"points_{i}")
    figure.savefig(path, **options)
    svg = path.read_text(encoding="utf-8")
    for i, line in enumerate(lines):
        svg = titled(svg, f"points_{i}", line.texts)
    path.write_text(svg, encoding="utf-8")


def titled(svg: str, group: str, texts: Sequence[str]) -> str:
    """Return an SVG with a title for each marker of a group.

    Without a marker for each text (one is off the page) the group has no titles.

    >>> titled('<g id="a"><g><use x="1"/></g></g>', "a", ["1 < 2"])
    '<g id="a"><g><g><title>1 &lt; 2</title><use x="1"/></g></g></g>'
    """
    start = svg.index(f'<g id="{group}">')
    end = svg.index("</g>", start)
    part = svg[start:end]
    if len(re.findall(r"<use [^>]*/>", part)) != len(texts):
        return svg
    titles = iter(texts)

    def with_title(use: re.Match) -> str:
        return f"<g><title>{html.escape(next(titles), quote=False)}</title>{use[0]}</g>"

    return svg[:start] + re.sub(r"<use [^>]*/>", with_title, part) + svg[end:]
