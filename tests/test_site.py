"""The website: docstrings as its pages show them, its pages without a network, its links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import docstrings, offline

ROOT = Path(__file__).parents[1]


def test_a_formula_is_shown_as_it_is_and_a_sentence_is_not():
    text = ["1 - 2 sum(p y) / (sum p + sum y)", "", "in [0, 1]; a p* of `x_`."]
    shown = docstrings.restructured(text, formula=True)
    assert shown[:3] == ["::", "", "    1 - 2 sum(p y) / (sum p + sum y)"]
    assert r"in [0, 1]; a p\* of ``x_``." in shown
    assert "::" not in docstrings.restructured(["The mean of a formula."], formula=True)
    assert "::" not in docstrings.restructured(text)


def test_entries_become_a_list():
    text = [
        "Return rows.",
        "",
        "low, high: 95% interval. n (int): pairs",
        "of runs. Source: A, 2016.",
    ]
    assert [line for line in docstrings.restructured(text) if line] == [
        "Return rows.",
        "- **low, high**: 95% interval.",
        "- **n (int)**: pairs of runs. Source: A, 2016.",
    ]


def test_examples_and_code_are_shown_as_they_are():
    shown = docstrings.restructured(["Return a.", "", ">>> f(a)", "1", "", "    *code*"])
    assert shown[2:] == [
        ".. code-block:: pycon",
        "",
        "    >>> f(a)",
        "    1",
        "",
        "::",
        "",
        "        *code*",
        "",
    ]


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://a.org/x.js"></script>',
        '<img src="//a.org/x.png">',
        '<link rel="stylesheet" href="http://a.org/x.css">',
        "<style>@import 'https://a.org/x.css';</style>",
        '<p style="background: url(https://a.org/x.png)">',
    ],
)
def test_a_page_that_loads_from_a_network_is_refused(tmp_path, tag):
    (tmp_path / "index.html").write_text(tag)
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "offline.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "a.org/x" in done.stderr


def test_a_page_with_links_and_own_files_is_accepted(tmp_path):
    (tmp_path / "index.html").write_text('<a href="https://a.org">a</a><img src="x.png">')
    (tmp_path / "x.css").write_text("p { background: url(x.png) }")
    assert offline.remote(tmp_path) == []
    (tmp_path / "x.css").write_text("p { background: url(//a.org/x.png) }")
    assert offline.remote(tmp_path) == [f"{tmp_path / 'x.css'}: //a.org/x.png"]


def test_every_page_of_the_documentation_is_in_the_site():
    """The build refuses links to missing files; a page outside every list would only be hidden."""
    listed = re.findall(r"^(?:\w+ <)?([\w/-]+)>?$", (ROOT / "docs" / "index.md").read_text(), re.M)
    docs = ROOT / "docs"
    pages = {str(p.relative_to(docs).with_suffix("")) for p in docs.rglob("*.md")}
    assert pages - {"index"} == set(listed)
