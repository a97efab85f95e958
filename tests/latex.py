"""LaTeX, for tests of the paper."""

import re
import shutil
import subprocess

import pytest

needs_latex = pytest.mark.skipif(
    not shutil.which("latexmk"), reason="needs LaTeX: latexmk and pdflatex"
)
OVERFULL = 5.0
"""Points that a line may be too wide."""


def problems(folder):
    """Compile main.tex of a folder; return the lines of its log that a reader would see."""
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert not done.returncode, done.stdout[-3000:]
    log = (folder / "main.log").read_text(errors="replace")
    lines = re.findall(
        r"^.*(?:undefined|multiply defined|Missing character|Overfull).*$", log, re.MULTILINE
    )
    wide = re.compile(r"Overfull \\hbox \((\d+\.?\d*)pt")
    found = [(line, wide.match(line)) for line in lines]
    return [line for line, match in found if not match or float(match[1]) > OVERFULL]
