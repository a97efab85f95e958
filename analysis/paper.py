"""A folder that can be put into a manuscript as it is: `python -m analysis.paper ... OUT`.

figures/ as PDF, tables/ as LaTeX (booktabs) and CSV of the same frames, captions.tex with a
caption for each figure, and README.txt that says what it rests on.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import pandas as pd

from analysis import report
from analysis.verdicts import read_verdicts
from experiments.plan import Study
from experiments.results import read_table

SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "−": "$-$",
    "–": "--",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
}


def latex(text):
    """Plain text as LaTeX."""
    return "".join(SPECIAL.get(c, c) for c in str(text))


def slug(title):
    """A file's name from the first words of a title."""
    return "_".join(re.findall("[a-z]+", title.split(",")[0].split(":")[0].lower()))


def booktabs(frame):
    """A tabular with booktabs' rules."""
    escaped = frame.map(latex)
    escaped.columns = [latex(c) for c in frame.columns]
    return escaped.style.hide(axis="index").to_latex(
        hrules=True, column_format="l" * len(frame.columns)
    )


def write(study, tables, records, figures, folder):
    """Write the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    (folder / "tables").mkdir()
    captions = json.loads((figures / "captions.json").read_text())
    lines = []
    for name, about in captions.items():
        shutil.copy(figures / f"{name}.pdf", folder / "figures")
        lines.append(f"% figures/{name}.pdf\n\\caption{{{latex(about['caption'])}}}\n")
    (folder / "captions.tex").write_text("\n".join(lines))
    for title, frame in tables.items():
        frame.to_csv(folder / "tables" / f"{slug(title)}.csv", index=False)
        text = f"% {title}\n{booktabs(frame)}"
        (folder / "tables" / f"{slug(title)}.tex").write_text(text)
    rests = "\n".join(f"{what}: {value}" for what, value in report.provenance(study, records))
    (folder / "README.txt").write_text(
        "Figures (PDF), their captions (captions.tex), tables (LaTeX with booktabs, and CSV).\n\n"
        f"{rests}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for argument in ("config", "table", "controls", "records", "verdicts"):
        parser.add_argument(argument)
    parser.add_argument("figures", type=Path)
    parser.add_argument("stresses")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    study = Study.read(args.config)
    records = json.loads(Path(args.records).read_text())
    tables = report.all_tables(
        study,
        read_table(args.table),
        pd.read_csv(args.controls, dtype={"image": str, "threshold": str}),
        records,
        read_verdicts(args.verdicts),
        pd.read_csv(args.stresses),
    )
    write(study, tables, records, args.figures, args.output)
    print(f"paper: {args.output}")


if __name__ == "__main__":
    main()
