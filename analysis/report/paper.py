r"""A folder for a manuscript: a document with all parts, methods, results, tables and figures.

``main.tex`` is compiled by pdflatex; ``tables/`` is LaTeX (booktabs) and CSV, ``figures/`` is PDF.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from analysis import recommendation
from analysis.figures import style
from analysis.report import by_situation, latex, tables
from analysis.report.citations import bibliography
from analysis.report.methods import methods
from analysis.report.pages import pages
from analysis.report.provenance import provenance
from analysis.scores import draws
from analysis.verdicts import POOLED, headline
from experiments.files import whole_folder
from experiments.layout import FIGURES, PAPER

if TYPE_CHECKING:
    from analysis.results import Results

log = logging.getLogger("dicebench")

MAIN, VERDICTS, SCORES = "losses_by_situation", "verdicts", "scores_by_cell_and_loss"
"""Stems of tables that are chosen here; the others are those of the report."""
PRINTED = {
    VERDICTS: (
        *("claim", "level", "dataset", "setting", "reference", "verdict", "estimate"),
        *("95% interval", "smallest", "p", "n"),
    ),
    "recommendation": (
        *("situation", "datasets", "setting", "loss", "DSC", "rank", "95% interval"),
        *("expected regret", "at most (95%)", "advised", "may be as good", "seeds"),
    ),
    "published_findings": (
        *("finding", "source", "dataset", "setting", "verdict", "estimate", "95% interval"),
        *("claimed", "n"),
    ),
    SCORES: (
        *("dataset", "experiment", "level", "setting", "loss", "runs", "DSC", "precision"),
        *("recall", "HD95, px", "small objects hit", "area ratio"),
    ),
    "whole_runs": (
        *("dataset", "experiment", "level", "setting", "loss", "ok", "predict nothing"),
        *("predict everything", "first foreground, step", "ECE"),
    ),
    "properties_of_each_stressed_dataset": (
        *("dataset", "experiment", "level", "split", "images", "empty", "fraction"),
        *("objects", "size_q50", "agreement", "contrast"),
    ),
}
"""Table -> its printed columns; a table that is not listed has all of them."""
TALLEST = 1.25
"""Height over width of a figure that would be too high for a page at the width of its text."""
BARRIER = 12
"""Figures between two places where LaTeX prints all that it keeps."""


def run(results: Results) -> None:
    """Write the folder ``paper``, whole, in place of an older one."""
    with whole_folder(results.study.file(PAPER)) as folder:
        _write(results, folder)
    log.info("paper: %s", results.study.file(PAPER))


def _write(results: Results, folder: Path) -> None:
    for part in ("figures", "tables"):
        (folder / part).mkdir()
    main, further = _main_tables(results, folder), _further_tables(results, folder)
    texts = {"methods": methods(results), "results": sentences(results)}
    texts["figures"] = "\n".join(_figures(results, folder))
    for name, text in texts.items():
        (folder / f"{name}.tex").write_text(f"{text}\n")
    (folder / "refs.bib").write_text(bibliography(texts["methods"]))
    known = {"main": main, "further": further, "study": results.study.name}
    known |= {"title": latex.text(style.title(results.study.name)), "origin": provenance(results)}
    for name in ("main.tex", "README.txt"):
        (folder / name).write_text(templates().get_template(f"{name}.j2").render(known) + "\n")


def templates() -> jinja2.Environment:
    """Return the templates of the folder, with signs that LaTeX does not use."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
    )


# Tables


def _main_tables(results: Results, folder: Path) -> list[str]:
    """Write the losses by situation and the verdicts; return the stems of the files."""
    study, found = results.study, []
    for scope in by_situation.scopes(study, results.recommendation):
        rows = by_situation.by_situation(study, results.recommendation, results.comparisons, scope)
        caption = (
            f"Mean Dice score of each loss by situation ({latex.text(scope)}, threshold 0.5), with "
            r"its 95\% interval. Bold: the loss of least expected regret. $\dagger$: another loss "
            f"that may be as good, within {draws.NEAR:g} of the best."
        )
        stem = "_".join([MAIN, *re.findall(r"\w+", scope)])
        parts = latex.printed(by_situation.wide(rows), stem, caption, "table", marked)
        found.append(_save(folder, stem, rows, parts))
    known = headline(results.verdicts).dropna(subset="estimate")
    frame = tables.verdicts(study, known)
    caption = (
        "Verdicts on the claims, each for the loss that it is about, at threshold 0.5 and the "
        r"fixed learning rate, with 95\% intervals and corrected $p$ values."
    )
    parts = list(latex.printed(shown(VERDICTS, frame), VERDICTS, caption)) if len(frame) else []
    every = tables.printed(tables.verdicts(study, results.verdicts))
    _save(folder, VERDICTS, every, parts)
    return [*found, *[VERDICTS] * bool(parts)]


def _further_tables(results: Results, folder: Path) -> list[str]:
    """Write the other tables of the report; return the stems of the files."""
    found = []
    for title, frame in tables.all_tables(results).items():
        stem = slug(title)
        if stem != VERDICTS:
            parts = latex.printed(shown(stem, frame), stem, f"{latex.text(title)}.")
            found.append(_save(folder, stem, frame, parts))
    return found


def _save(folder: Path, stem: str, frame: pd.DataFrame, parts: Iterable[str]) -> str:
    """Write a table as CSV, and as LaTeX if it has parts; return its stem."""
    frame.to_csv(folder / "tables" / f"{stem}.csv", index=False)
    if text := "\n".join(parts):
        (folder / "tables" / f"{stem}.tex").write_text(text)
    return stem


def shown(stem: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows and columns of a table that are printed; none that is empty.

    Recommendation and scores have threshold 0.5 only.
    """
    frame = tables.printed(frame)
    if stem in PRINTED and "threshold" in frame and "threshold" not in PRINTED[stem]:
        frame = frame[frame["threshold"].isin(["0.5", ""])]
    empty = [c for c in frame if frame[c].isin(["", "–"]).all()]
    columns = [c for c in frame if c in PRINTED.get(stem, frame) and c not in empty]
    return frame[columns]


def marked(cell: str) -> str:
    r"""Return the LaTeX of a mean with the sign of its mark.

    >>> print(marked("0.854*"), marked("0.853="))
    \textbf{0.854} 0.853\rlap{$^\dagger$}
    """
    value, sign = latex.text(cell.rstrip("*=")), cell[len(cell.rstrip("*=")) :]
    return {"*": rf"\textbf{{{value}}}", "=": rf"{value}\rlap{{$^\dagger$}}"}.get(sign, value)


# Text and figures


def sentences(results: Results) -> str:
    """Return the advice and the verdicts in sentences, as LaTeX.

    Of several real datasets only the verdict on their mean has one.
    """
    study, advice = results.study, []
    for case in recommendation.headline(study, results.recommendation):
        heading = recommendation.heading(case)
        advice.append(latex.text(f"{heading[0].upper()}{heading[1:]}{case['sentence']}"))
    parts = ["\\paragraph{Recommendation.}\n" + "\n\n".join(advice)] if advice else []
    for page in pages(study, results.verdicts, []):
        lines = [line for line in page["lines"] if line["sentence"]]
        pooled = any(line["dataset"] == POOLED for line in lines)
        about = [
            _verdict(line)
            for line in lines
            if line["level"] != "field" or not pooled or line["dataset"] == POOLED
        ]
        heading = rf"\paragraph{{{latex.text(page['title'])}.}}"
        parts += ["\n".join([heading, "\n\n".join(about)])] if about else []
    return "\n\n".join(parts)


def _verdict(line: dict) -> str:
    """Return a verdict with its sentence and its reason."""
    level, where = line["level"], line["where"].removeprefix(line["level"]).removeprefix(", ")
    words = f"{level.capitalize()}{', ' * bool(where)}{where}: {line['verdict']}."
    return latex.text(f"{words} {line['sentence']} {line['reason']}")


def _figures(results: Results, folder: Path) -> Iterator[str]:
    """Copy the figures and yield each with its caption and label."""
    source = results.study.file(FIGURES)
    for number, (stem, entry) in enumerate(results.captions.items(), 1):
        shutil.copy(source / f"{stem}.pdf", folder / "figures")
        yield (
            "\\begin{figure}[htbp]\n\\centering\n"
            f"\\includegraphics[{_size(source / f'{stem}.pdf')}]{{figures/{stem}.pdf}}\n"
            f"\\caption{{{latex.text(entry['caption'])}}}\n\\label{{fig:{stem}}}\n\\end{{figure}}\n"
        )
        if number % BARRIER == 0:
            yield "\\clearpage\n"


def _size(path: Path) -> str:
    """Return the size of a figure as an option of includegraphics."""
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", path.read_bytes())
    width, height = (float(value) / 72 for value in box.groups())
    if height > TALLEST * style.WIDTH:
        return r"height=0.85\textheight"
    return rf"width={min(1, width / style.WIDTH):.2g}\linewidth"


def slug(title: str) -> str:
    """Return a file's stem from the first words of a title.

    >>> slug("Scores by class, each against the rest")
    'scores_by_class'
    """
    return "_".join(re.findall("[a-z]+", title.split(",")[0].split(":")[0].lower()))
