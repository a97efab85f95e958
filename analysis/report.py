"""The study's report, one file that opens without a network: `python -m analysis.report ...`."""

import argparse
import base64
import io
import json
import sys
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from analysis import claims, metrics, ranking, stresses, style, tables, tuning
from analysis.claims import REFERENCE
from analysis.verdicts import POOLED, headline, read_verdicts
from experiments.files import write_whole
from experiments.plan import Study
from experiments.results import COLUMNS, NAMED, read_table


@dataclass(frozen=True)
class Results:
    """What a study left, as the report and the paper tell it."""

    study: Study
    table: pd.DataFrame
    controls: pd.DataFrame
    records: list
    verdicts: pd.DataFrame
    stressed: pd.DataFrame
    figures: Path
    """The folder of figures and their captions."""

    @classmethod
    def read(cls, argv, *more):
        """(results, further arguments): of a command line of files, `more` after them."""
        parser = argparse.ArgumentParser()
        for name in (*(field.name for field in fields(cls)), *more):
            parser.add_argument(name)
        args = parser.parse_args(argv)
        results = cls(
            Study.read(args.study),
            read_table(args.table),
            pd.read_csv(args.controls, dtype=NAMED),
            json.loads(Path(args.records).read_text()),
            read_verdicts(args.verdicts),
            pd.read_csv(args.stressed),
            Path(args.figures),
        )
        return results, [Path(getattr(args, name)) for name in more]


def embed(path):
    """A figure as a data URI."""
    return _uri({".svg": "image/svg+xml", ".png": "image/png"}[path.suffix], path.read_bytes())


def embed_sheet(path):
    """A contact sheet as a data URI of a fifth of its bytes: they would be most of the report."""
    with Image.open(path) as sheet:
        sheet.thumbnail((SHEET_WIDTH, sheet.height))
        small = io.BytesIO()
        sheet.convert("RGB").save(small, "WEBP", quality=80)
    return _uri("image/webp", small.getvalue())


def _uri(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sentence(claim, row):
    """A verdict's estimate in words."""
    if np.isnan(row["estimate"]):
        return ""
    mechanism = row["level"] == "mechanism"
    words = (claim.mechanism_says if mechanism else claim.says).format(
        loss=style.name(row["loss"]), against=style.name(row["against"])
    )
    if mechanism:
        return f"{words}: {tables.signed(row['estimate'])} ({row['stress']}; computed)."
    return f"{words}: {tables.signed(row['estimate'])} {row['unit']} ({how_sure(row)})."


def how_sure(row):
    return f"95% interval {tables.interval(row)}, {row['n']} of {row['planned']} {sampled(row)}"


def sampled(row):
    """What a verdict's n counts."""
    return "datasets" if row["dataset"] == POOLED else "paired seeds"


def why(row):
    """What makes the verdict what it is."""
    smallest = f"the smallest difference that matters, {row['smallest']:+g}"
    if row["reason"]:
        return f"{row['reason'][0].upper()}{row['reason'][1:]}."
    if row["level"] == "mechanism" and row["verdict"] != "undecided":
        side = {"supported": "At least", "contradicted": "Below"}[row["verdict"]]
        return f"{side} {smallest}."
    return {
        "supported": f"The whole interval is at least {smallest}.",
        "contradicted": f"The whole interval is below {smallest}: {row['finding']}.",
        "undecided": f"The interval contains {smallest}: more {sampled(row)} would tell.",
    }[row["verdict"]]


def line(claim, row, others):
    """A verdict as the report tells it; `others` are those of the same claim, level and dataset."""
    also = [
        (words, other)
        for words, threshold, rate in (
            ("With each model's threshold tuned on validation images", "tuned", "fixed"),
            ("With each loss's learning rate tuned on validation images", "0.5", "tuned"),
            ("With both tuned", "tuned", "tuned"),
        )
        for other in others
        if (other["threshold"], other["rate"]) == (threshold, rate)
    ]
    return row | {
        "sentence": sentence(claim, row),
        "why": why(row),
        "also": [
            f"{words}: {other['verdict']}, {tables.signed(other['estimate'])} "
            f"({tables.interval(other)})"
            for words, other in also
            if not np.isnan(other["estimate"])
        ],
    }


def pages(study, verdicts, drawn):
    """A page per claim that the study says something about: words, verdicts by level, figures."""
    result = []
    about = headline(verdicts)
    for name, (claim, words) in claims.load().items():
        rows = about[about["claim"] == name].to_dict("records")
        if not rows:
            continue
        same = verdicts[(verdicts["claim"] == name) & (verdicts["loss"] == claim.about)]
        lines = []
        for row in rows:
            others = same[(same["level"] == row["level"]) & (same["dataset"] == row["dataset"])]
            lines.append(line(claim, row, others.to_dict("records")))
        figures = [f for f in drawn if f.get("claim") == name] + [
            f
            for f in drawn
            if claim.experiment and name != "threshold" and f.get("experiment") == claim.experiment
        ]
        saying, _, measured = words.partition("\n\n")
        deciding = {level: decides(lines, level) for level in LEVELS}
        trained = [row for level, row in deciding.items() if row and level != "mechanism"]
        result.append(
            {
                "name": name,
                "title": claim.title,
                "words": saying,
                "measured": measured,
                "lines": lines,
                "card": trained or lines,
                "levels": {level: summary(claim, level, row) for level, row in deciding.items()},
                "verdict": (trained or lines)[-1]["verdict"],
                "figures": figures,
            }
        )
    return result


LEVELS = ("mechanism", "controlled", "field")


def decides(lines, level):
    """The line that speaks for a level: of all real datasets together where there are several."""
    rows = [row for row in lines if row["level"] == level]
    pooled = [row for row in rows if row["dataset"] == POOLED]
    return next(iter(pooled or rows), None)


def summary(claim, level, row):
    """A level's verdict in a word."""
    if row:
        return row["verdict"]
    asked = claim.experiment if level != "mechanism" else claim.mechanism_says
    return "not in this study" if asked else "not asked"


def provenance(results):
    """What the report rests on, as (what, value) lines."""
    study, records = results.study, results.records

    def told(values):
        counted = Counter(values).most_common()
        return ", ".join(f"{v} ({n} runs)" if len(counted) > 1 else str(v) for v, n in counted)

    seconds = sum(sum(r["seconds"].values()) for r in records)
    lines = [
        ("Study", f"{study.name}: {len(study.runs)} runs planned, {len(records)} recorded"),
        ("Status", told(r["status"] for r in records)),
        (
            "Commit",
            told(
                f"{r['commit'] or 'none'}{' (with changes)' if r['dirty'] else ''}" for r in records
            ),
        ),
        ("Code", told(sorted(r.get("code", "none") for r in records))),
        ("Device", told(r["device"] for r in records)),
        ("Training and evaluation", f"{seconds / 60:.1f} minutes of one thread each, in all"),
        (
            "Written",
            f"{min(r['written'] for r in records)} to {max(r['written'] for r in records)}",
        ),
    ]
    packages = sorted({p for r in records for p in r["versions"]})
    lines += [(p, told(r["versions"].get(p) for r in records)) for p in packages]
    return lines


def all_tables(results):
    """Title -> frame, in the report's order; a table without rows is left out."""
    study, table = results.study, results.table
    fixed = metrics.scores(tuning.fixed(study, table))
    found = {
        "Verdicts, for every loss, threshold and learning rate": tables.verdicts(results.verdicts),
        "Ranks": tables.ranking(ranking.ranks(study, fixed)),
        "Scores by cell and loss, means over seeds and test images; controls beside": tables.scores(
            study, table, results.controls
        ),
        "Scores by class, each against the rest; means over seeds and test images": (
            tables.classes(study, table)
        ),
        "Predicted foreground under flipped labels: theory and measured, threshold 0.5": (
            tables.flips(study, table)
        ),
        "Runs as a whole: collapse, calibration, noise that was learned": tables.runs(
            study, table, results.records
        ),
        "Learning rates: the whole grid, threshold 0.5": tables.learning_rates(table),
        "What each stress turned, on the images of the first seed": tables.stressed(
            study, results.stressed
        ),
    }
    return {title: tables.written(frame) for title, frame in found.items() if len(frame)}


def render(results, sheets):
    """The report as HTML; `sheets` is the folder of contact sheets."""
    study, figures = results.study, results.figures
    captions = json.loads((figures / "captions.json").read_text())
    drawn = [
        about
        | {
            "name": name,
            "uri": embed(figures / f"{name}{'.png' if about['kind'] in BITMAPS else '.svg'}"),
        }
        for name, about in captions.items()
    ]
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    ).get_template("report.html.j2")
    told = pages(study, results.verdicts, drawn)
    shown = {figure["name"] for page in told for figure in page["figures"]}
    contact = json.loads((sheets / "captions.json").read_text())
    return template.render(
        study=study,
        pages=told,
        drawn=drawn,
        others=[f for f in drawn if f["name"] not in shown and "experiment" in f],
        reference=style.name(REFERENCE),
        colours=style.VERDICT_COLOURS,
        tables=all_tables(results),
        meanings=stresses.COLUMNS,
        contact=[
            a | {"name": n, "width": 100, "uri": embed_sheet(sheets / f"{n}.png")}
            for n, a in contact.items()
        ],
        provenance=provenance(results),
        columns=COLUMNS,
        missing=int(metrics.scores(results.table)["score_dice"].isna().sum()),
        config=json.dumps(study.config, indent=1),
    )


SHEET_WIDTH = 1600
"""Pixels of a contact sheet in the report."""
BITMAPS = ("examples", "maps")
"""Kinds of figures that are pictures: as vectors they would be large."""


def main():
    results, (sheets, output) = Results.read(sys.argv[1:], "sheets", "output")
    write_whole(output, render(results, sheets))
    print(f"report: {output}")


if __name__ == "__main__":
    main()
