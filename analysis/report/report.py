"""The report of a study: one HTML file that opens without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from analysis import recommendation
from analysis.figures import style
from analysis.report import sure, tables
from analysis.report.answer import Answer, answer
from analysis.report.cards import cards, left_out
from analysis.report.contents import contents, titles
from analysis.report.embedded import embedded_figures, embedded_sheets
from analysis.report.pages import pages
from analysis.report.provenance import axes, failures, mixed, provenance
from analysis.report.sheets import filters, sheets
from analysis.scores import metrics
from analysis.scores.draws import NEAR
from analysis.steps import ANSWER, RECOMMENDATION
from experiments import layout
from experiments.files import write_whole
from experiments.runs.table import COLUMNS, columns, refuse_invalid
from experiments.runs.validity import validity

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

AXIS = "axis of the training grid"
TEMPLATES = Path(__file__).parent / "templates"
FILES = {
    ANSWER: "the first part of this page as text",
    layout.ESTIMATES: "mean scores with intervals: the numbers behind the figures",
    layout.VERDICTS: "verdicts",
    RECOMMENDATION: "draws of the mean Dice score by situation",
    layout.RANKS: "ranks",
    layout.MECHANISM: "quantities computed without training",
    layout.STRESSES: "properties of the stressed datasets",
    layout.RUNS: "pixel and object counts per run, test image, class and threshold",
    layout.CONTROLS: "the same counts for predictions that no model made",
    layout.RECORDS: "records of all runs: settings, code, machine, learning curve",
    layout.CALIBRATION: "error rates of the verdicts",
    layout.CONFIG: "configuration",
    layout.FIGURES: "figures as SVG, PDF and PNG",
    layout.PAPER: "folder for a manuscript",
}
"""File of the study's folder -> its content."""


def run(results: Results) -> None:
    """Write ``report.html`` and ``answer.md``; log the answer. InvalidRuns for an invalid run."""
    workspace = results.study.workspace
    refuse_invalid({run: validity(workspace, run) for run in results.study.runs})
    path, found = results.study.file(layout.REPORT), answer(results)
    write_whole(results.study.file(ANSWER), as_text(results.study, found))
    write_whole(path, render(results))
    for line in found.log:
        log.info("%s", line)
    log.info("report: %s", path)


def as_text(study: Study, found: Answer) -> str:
    """Return the answer in Markdown."""
    return template("answer.md.j2", escape=False).render(study=study, answer=found)


def render(results: Results) -> str:
    """Return the report as HTML."""
    study, found = results.study, answer(results)
    figures = embedded_figures(results)
    claims = pages(study, results.verdicts, figures)
    shown = {figure["name"] for page in claims for figure in page["figures"]}
    made = sheets(tables.all_tables(results))
    return template("report.html.j2").render(
        study=study,
        answer=found,
        seeds=style.seeds(study),
        images=sure.images(study),
        axes=[(style.title(axis), values) for axis, values in axes(study)],
        advice=recommendation.headline(study, results.recommendation),
        near=NEAR,
        pages=claims,
        cards=cards(results, figures),
        left_out=left_out(study),
        figures=figures,
        others=[f for f in figures if f["name"] not in shown and "experiment" in f],
        reference=" and ".join(map(style.name, study.references)),
        signs=style.VERDICT_SIGNS,
        sheets=made,
        filters=filters(made),
        figure_number=partial(next, count(1)),
        table_number=partial(next, count(1)),
        contents=partial(contents, titles=titles(study, made, found.claims)),
        files={name: words for name, words in FILES.items() if study.file(name).exists()},
        contact=embedded_sheets(results),
        provenance=provenance(results),
        failures=failures(results.records),
        mixed=mixed(results.records),
        columns={c: tables.minus(COLUMNS.get(c, AXIS)) for c in columns(study.axes)},
        undefined=int(metrics.scores(results.table)["score_dice"].isna().sum()),
        config=json.dumps(study.config, indent=1),
    )


def template(name: str, *, escape: bool = True) -> jinja2.Template:
    """Return a template of the report; escape: its values are text in HTML.

    The page runs its own script only, and loads nothing.
    """
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=escape, trim_blocks=True)
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {"script": Markup(script), "script_hash": f"sha256-{digest}"}
    return environment.get_template(name)
