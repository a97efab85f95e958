"""The report of a study: one HTML file that opens without a network."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from PIL import Image

from analysis import recommendation, stresses
from analysis.figures import style
from analysis.report import tables
from analysis.report.answer import Answer, answer
from analysis.report.cards import cards, left_out
from analysis.report.pages import pages
from analysis.report.provenance import axes, failures, mixed, provenance
from analysis.scores import metrics
from analysis.scores.draws import NEAR
from analysis.steps import ANSWER
from experiments.files import write_whole
from experiments.layout import CAPTIONS, CONTACT, FIGURES, REPORT
from experiments.runs.table import COLUMNS, columns, refuse_invalid
from experiments.runs.validity import validity

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp"}
BITMAPS = ("examples", "card_examples", "maps")
"""Kinds of figures that consist of pictures, which would be large as vectors."""
SHEET_WIDTH = 1600
"""Pixels of a contact sheet in the report."""


def run(results: Results) -> None:
    """Write ``report.html`` and ``answer.md``; log the answer. InvalidRuns for an invalid run."""
    workspace = results.study.workspace
    refuse_invalid({run: validity(workspace, run) for run in results.study.runs})
    path, found = results.study.file(REPORT), answer(results)
    write_whole(results.study.file(ANSWER), as_text(results.study, found))
    write_whole(path, render(results))
    for line in found.log:
        log.info("%s", line)
    log.info("report: %s", path)


def template(name: str, *, escape: bool = True) -> jinja2.Template:
    """Return a template of the report; escape: its values are text in HTML."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=escape,
        trim_blocks=True,
    ).get_template(name)


def as_text(study: Study, found: Answer) -> str:
    """Return the answer in Markdown."""
    return template("answer.md.j2", escape=False).render(study=study, answer=found)


def render(results: Results) -> str:
    """Return the report as HTML."""
    study = results.study
    figures = embedded_figures(results)
    claims = pages(study, results.verdicts, figures)
    shown = {figure["name"] for page in claims for figure in page["figures"]}
    return template("report.html.j2").render(
        study=study,
        answer=answer(results),
        seeds=style.seeds(study),
        axes=[(style.title(axis), values) for axis, values in axes(study)],
        advice=recommendation.headline(study, results.recommendation),
        near=NEAR,
        pages=claims,
        cards=cards(results, figures),
        left_out=left_out(study),
        figures=figures,
        others=[f for f in figures if f["name"] not in shown and "experiment" in f],
        reference=" and ".join(map(style.name, study.references)),
        colours=style.VERDICT_COLOURS,
        tables=tables.all_tables(results),
        meanings=stresses.COLUMNS,
        contact=embedded_sheets(results),
        provenance=provenance(results),
        failures=failures(results.records),
        mixed=mixed(results.records),
        columns={c: COLUMNS.get(c, "axis of the training grid") for c in columns(study.axes)},
        undefined=int(metrics.scores(results.table)["score_dice"].isna().sum()),
        config=json.dumps(study.config, indent=1),
    )


def embedded_figures(results: Results) -> list[dict[str, Any]]:
    """Return the entries of the figures' captions, each with its name and its data as a URI."""
    folder = results.study.file(FIGURES)
    figures = []
    for name, entry in results.captions.items():
        suffix = ".png" if entry["kind"] in BITMAPS else ".svg"
        data = (folder / f"{name}{suffix}").read_bytes()
        figures.append(entry | {"name": name, "uri": uri(suffix, data)})
    return figures


def embedded_sheets(results: Results) -> list[dict[str, Any]]:
    """Return the contact sheets like the figures, at a fifth of their bytes."""
    folder = results.study.file(CONTACT)
    sheets = []
    for name, entry in json.loads((folder / CAPTIONS).read_text()).items():
        with Image.open(folder / f"{name}.png") as sheet:
            sheet.thumbnail((SHEET_WIDTH, sheet.height))
            data = io.BytesIO()
            sheet.convert("RGB").save(data, "WEBP", quality=80)
        sheets.append(entry | {"name": name, "width": 100, "uri": uri(".webp", data.getvalue())})
    return sheets


def uri(suffix: str, data: bytes) -> str:
    """Return the data of an image file as a URI.

    >>> uri(".png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:{TYPES[suffix]};base64,{base64.b64encode(data).decode()}"
