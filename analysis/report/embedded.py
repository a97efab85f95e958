"""Figures inside the page: vectors as SVG elements, pictures as data, each with its links."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup
from PIL import Image

from analysis.figures import style
from analysis.report.alternative import alternative
from analysis.report.tables import minus
from analysis.scores import metrics
from analysis.steps import COMPARISONS
from experiments import layout

if TYPE_CHECKING:
    from analysis.results import Results

TYPES = {".png": "image/png", ".webp": "image/webp"}
BITMAPS = ("examples", "card_examples", "maps")
"""Kinds of figures that consist of pictures, which would be large as vectors."""
NUMBERS = {
    "mechanism": layout.MECHANISM,
    "maps": layout.MAPS,
    "overview": layout.VERDICTS,
    "ranking": layout.RANKS,
    "situations": COMPARISONS,
    "sweep": layout.ESTIMATES,
    "axes": layout.ESTIMATES,
    "classes": layout.ESTIMATES,
    "examples": layout.ESTIMATES,
    "card": layout.ESTIMATES,
    "card_examples": layout.ESTIMATES,
    "theory": layout.RUNS,
    "tuning": layout.RUNS,
    "curves": layout.RECORDS,
}
"""Kind of a figure -> the file with its numbers."""
SHEET_WIDTH = 1600
"""Pixels of a contact sheet in the report."""
IDS = re.compile(r'(\bid="|href="#|url\(#)')
"""Ids in an SVG, and references to them."""


def embedded_figures(results: Results) -> list[dict[str, Any]]:
    """Return the figures: entries of captions.json with name, content, alternative text, links."""
    figures = []
    for name, entry in results.captions.items():
        figure = entry | {"name": name}
        alt = alternative(results, figure)
        figures.append(
            figure
            | {
                "caption": minus(figure["caption"]),
                "content": content(results, figure, alt),
                "links": links(figure),
                "part": style.title(entry.get("experiment", "")),
            }
        )
    return figures


def content(results: Results, figure: dict[str, Any], alt: str) -> Markup:
    """Return a figure as an element of the page."""
    path = results.study.file(layout.FIGURES) / figure["name"]
    if figure["kind"] in BITMAPS:
        return picture(".png", path.with_name(f"{path.name}.png").read_bytes(), alt)
    svg = path.with_name(f"{path.name}.svg").read_text(encoding="utf-8")
    return inlined(svg, figure["name"], alt)


def links(figure: dict[str, Any]) -> dict[str, str]:
    """Return text -> address of a figure's files, relative to the report.

    >>> links({"name": "ranking", "kind": "ranking"})["SVG"]
    'figures/ranking.svg'
    """
    stem = f"{layout.FIGURES}/{quote(figure['name'])}"
    files = {suffix.upper(): f"{stem}.{suffix}" for suffix in ("svg", "pdf", "png")}
    numbers = NUMBERS.get(figure["kind"])
    return files | ({f"numbers ({numbers})": numbers} if numbers else {})


def inlined(svg: str, name: str, alt: str) -> Markup:
    """Return an SVG file as an element: ids of its own, and an alternative text.

    >>> inlined('<?xml?><svg width="9pt" viewBox="0 0 9 9"><g id="a"/></svg>', "x", "1 < 2")
    Markup('<svg role="img" aria-label="1 &lt; 2" viewBox="0 0 9 9"><g id="x--a"/></svg>')
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    root, rest = re.match(r"<svg[^>]*>", svg)[0], svg[svg.index(">") + 1 :]
    box = re.search(r'viewBox="[^"]*"', root)[0]
    head = f'<svg role="img" aria-label="{html.escape(alt)}" {box}>'
    own = rf"\g<0>{quote(name)}--"
    return Markup(head + re.sub(r"<[^>]+>", lambda tag: IDS.sub(own, tag[0]), rest))


def picture(suffix: str, data: bytes, alt: str) -> Markup:
    """Return the data of an image file as an element."""
    return Markup('<img src="{}" alt="{}">').format(uri(suffix, data), alt)


def embedded_sheets(results: Results) -> list[dict[str, Any]]:
    """Return the contact sheets like the figures, at a fifth of their bytes."""
    folder = results.study.file(layout.CONTACT)
    sheets = []
    for name, entry in json.loads((folder / layout.CAPTIONS).read_text()).items():
        with Image.open(folder / f"{name}.png") as sheet:
            sheet.thumbnail((SHEET_WIDTH, sheet.height))
            data = io.BytesIO()
            sheet.convert("RGB").save(data, "WEBP", quality=80)
        alt = sheet_alternative(results, entry)
        files = {"PNG": f"{layout.CONTACT}/{quote(name)}.png"}
        sheets.append(
            entry
            | {
                "name": f"contact-{name}",
                "width": 100,
                "content": picture(".webp", data.getvalue(), alt),
                "links": files | {f"numbers ({layout.STRESSES})": layout.STRESSES},
            }
        )
    return sheets


def sheet_alternative(results: Results, sheet: dict[str, Any]) -> str:
    """Return the alternative text of a contact sheet: its subject, and the shares of foreground."""
    words = f"{sheet['caption'].partition('. ')[0].rstrip('.')}."
    rows = metrics.select(results.stresses, dataset=sheet["dataset"])
    if not len(rows):
        return words
    low, high = rows["fraction"].min(), rows["fraction"].max()
    return f"{words} Foreground covers {100 * low:.2g}% to {100 * high:.2g}% of the pixels."


def uri(suffix: str, data: bytes) -> str:
    """Return the data of an image file as a URI.

    >>> uri(".png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:{TYPES[suffix]};base64,{base64.b64encode(data).decode()}"
