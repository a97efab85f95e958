"""A folder for a manuscript: figures, tables, captions, and the origin of the results.

figures/ as PDF, tables/ as LaTeX (booktabs) and CSV, captions.tex with a caption per figure, and
README.txt.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pandas.io.formats.style import Styler

from analysis.report import tables
from analysis.report.provenance import provenance
from experiments.files import whole_folder
from experiments.layout import FIGURES, PAPER

if TYPE_CHECKING:
    from analysis.results import Results

log = logging.getLogger("dicebench")

SIGNS = {ord(sign): f"${sign}$" for sign in "<>|"} | {
    ord("−"): "$-$",
    ord("–"): "--",
    ord("≥"): r"$\geq$",
    ord("±"): r"$\pm$",
}
"""Signs that pandas does not escape."""


def run(results: Results) -> None:
    """Write the folder ``paper``, whole, in place of an older one."""
    with whole_folder(results.study.file(PAPER)) as folder:
        _write(results, folder)
    log.info("paper: %s", results.study.file(PAPER))


def _write(results: Results, folder: Path) -> None:
    figures, captions = results.study.file(FIGURES), []
    for part in ("figures", "tables"):
        (folder / part).mkdir()
    for stem, entry in results.captions.items():
        shutil.copy(figures / f"{stem}.pdf", folder / "figures")
        captions.append(f"% figures/{stem}.pdf\n\\caption{{{latex(entry['caption'])}}}\n")
    (folder / "captions.tex").write_text("\n".join(captions))
    for title, frame in tables.all_tables(results).items():
        path = folder / "tables" / slug(title)
        frame.to_csv(path.with_suffix(".csv"), index=False)
        path.with_suffix(".tex").write_text(f"% {title}\n{booktabs(frame)}")
    origin = "\n".join(f"{item}: {value}" for item, value in provenance(results))
    (folder / "README.txt").write_text(
        "Figures (PDF), their captions (captions.tex), tables (LaTeX with booktabs, and CSV).\n\n"
        f"{origin}\n"
    )


def signs(text: str) -> str:
    """Replace the signs that LaTeX has only in formulas, and join the lines of a text."""
    return " ".join(text.split()).translate(SIGNS)


def escaped(frame: pd.DataFrame) -> Styler:
    """Return a frame of text with cells and headings escaped for LaTeX."""
    styler = frame.style.hide(axis="index").format(signs, escape="latex")
    return styler.format_index(signs, escape="latex", axis="columns")


def latex(text: str) -> str:
    r"""Return plain text as LaTeX, in one paragraph.

    >>> print(latex("a_b & 95% <x>"))
    a\_b \& 95\% $<$x$>$
    """
    return escaped(pd.DataFrame([text])).hide(axis="columns").to_string().strip()


def booktabs(frame: pd.DataFrame) -> str:
    """Return a frame of text as a tabular with the rules of booktabs."""
    return escaped(frame).to_latex(hrules=True, column_format="l" * len(frame.columns))


def slug(title: str) -> str:
    """Return a file's stem from the first words of a title.

    >>> slug("Scores by class, each against the rest")
    'scores_by_class'
    """
    return "_".join(re.findall("[a-z]+", title.split(",")[0].split(":")[0].lower()))
