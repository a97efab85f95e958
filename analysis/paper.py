"""A folder that can be put into a manuscript as it is: `python -m analysis.paper ... OUT`.

figures/ as PDF, tables/ as LaTeX (booktabs) and CSV of the same frames, captions.tex with a
caption for each figure, and README.txt that says what it rests on.
"""

import json
import re
import shutil
import sys

from analysis import report

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


def write(results, folder):
    """Write the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    (folder / "tables").mkdir()
    captions = json.loads((results.figures / "captions.json").read_text())
    lines = []
    for name, about in captions.items():
        shutil.copy(results.figures / f"{name}.pdf", folder / "figures")
        lines.append(f"% figures/{name}.pdf\n\\caption{{{latex(about['caption'])}}}\n")
    (folder / "captions.tex").write_text("\n".join(lines))
    for title, frame in report.all_tables(results).items():
        frame.to_csv(folder / "tables" / f"{slug(title)}.csv", index=False)
        text = f"% {title}\n{booktabs(frame)}"
        (folder / "tables" / f"{slug(title)}.tex").write_text(text)
    rests = "\n".join(f"{what}: {value}" for what, value in report.provenance(results))
    (folder / "README.txt").write_text(
        "Figures (PDF), their captions (captions.tex), tables (LaTeX with booktabs, and CSV).\n\n"
        f"{rests}\n"
    )


def main():
    results, (output,) = report.Results.read(sys.argv[1:], "output")
    write(results, output)
    print(f"paper: {output}")


if __name__ == "__main__":
    main()
