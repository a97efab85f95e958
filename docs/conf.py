"""Configuration of the documentation site, built by ``make site`` in an environment of its own."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import restructured

ROOT = Path(__file__).parents[1]
PUBLIC = (
    *("losses.likelihood", "losses.overlap", "losses.boundary", "losses.objects", "losses.hybrid"),
    *("losses.size", "losses.building", "losses.registry", "losses._interface"),
    *("experiments.plan.study", "experiments.plan.config", "experiments.data.prepared"),
    *("experiments.data.stress", "experiments.runs.records", "experiments.runs.table"),
    *("analysis.claims", "analysis.effects", "analysis.families", "analysis.recommendation"),
    *("analysis.results", "analysis.situations", "analysis.theory", "analysis.calibration"),
    *("analysis.scores.draws", "analysis.scores.estimates", "analysis.scores.metrics"),
    *("analysis.scores.ranking", "analysis.scores.statistics"),
)
"""Modules with a page."""
TITLES = {
    "agreement": "Agreement with other libraries",
    "input-path": "The input path",
    "losses-cpu-2": "Speed of the losses",
    "training-cpu": "The suite against a script",
}
"""Page of docs/benchmarks without a heading -> its title on the site."""

project, author, language = "dicebench", "the dicebench authors", "en"
release = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
extensions = ["myst_parser", "sphinx.ext.autodoc", "autoapi.extension"]
myst_heading_anchors = 4
smartquotes = False  # docstrings quote values

highlight_language = "none"  # of blocks without a language: commands, formulas

html_theme = "furo"
html_title = f"dicebench {release}"
html_show_copyright = html_show_sphinx = html_copy_source = False

autoapi_dirs = [str(ROOT / package) for package in ("losses", "experiments", "analysis")]
autoapi_root = "api"
autoapi_options = ["members", "show-inheritance"]
autoapi_member_order = "bysource"
autoapi_own_page_level = "module"
autoapi_add_toctree_entry = False
suppress_warnings = ["autoapi.python_import_resolution"]


def skip(app: Sphinx, what: str, name: str, *_: Any) -> bool | None:
    """Return whether a module has no page; None leaves other things to AutoAPI."""
    if what in ("module", "package"):
        return not any(page == name or page.startswith(f"{name}.") for page in PUBLIC)
    return None


def convert(app: Sphinx, what: str, *others: Any) -> None:
    """Convert the lines of a docstring in place."""
    lines = others[-1]
    lines[:] = restructured(lines, formula=what == "class")


def entitle(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the title of a page that has none."""
    folder, _, stem = name.rpartition("/")
    if folder == "benchmarks" and stem in TITLES:
        source[0] = f"# {TITLES[stem]}\n\n{source[0]}"


def setup(app: Sphinx) -> None:
    """Register the functions of this file."""
    app.connect("autoapi-skip-member", skip)
    app.connect("autodoc-process-docstring", convert)
    app.connect("source-read", entitle)
