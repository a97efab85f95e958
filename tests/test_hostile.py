"""Labels of levels with signs that mean something to matplotlib, HTML or LaTeX."""

import base64
import copy
import dataclasses
import hashlib
import html.parser
import json
import re
import xml.dom.minidom

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from analysis.figures import draw, style
from analysis.report import latex, paper, report
from experiments import layout
from tests.conftest import TINY
from tests.results import write_results

LABELS = (
    r"$\frac$",
    "$",
    "\"quotes\" & 'more' `x`",
    "two\n\nlines",
    "<script>alert(1)</script><img src=x>",
    r"50% \input{x} {{7*7}} #_^~",
    "w" * 300,
    "../../x",
    "<b>bold</b></td></table>",
    "%&_{}~^\\#",
    "naïve — 目标 🙂",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Planted results of an experiment whose levels have these labels, with its figure."""
    levels = {label: {"blur": i} for i, label in enumerate(LABELS)}
    config = json.loads(json.dumps(TINY)) | {"experiments": {"object_size": {"levels": levels}}}
    results = write_results(tmp_path_factory.mktemp("results") / "tiny", config)
    draw.run(results, "object_size_controlled")
    contact = results.study.file(layout.CONTACT)
    contact.mkdir()
    (contact / layout.CAPTIONS).write_text("{}")
    return results


def test_the_labels_are_drawn_as_they_are(results):
    svg = results.study.file(layout.FIGURES) / "object_size_controlled.svg"
    document = xml.dom.minidom.parse(str(svg))
    texts = [
        node.firstChild.data for node in document.getElementsByTagName("text") if node.firstChild
    ]
    for text in (r"$\frac$", "$", '"quotes"', "{{7*7}}", "w" * style.LONG_WORD):
        assert text in texts, text
    assert not document.getElementsByTagName("script")


def test_the_labels_are_escaped_in_the_report(results):
    page = report.render(results)
    assert page.count("<script") == 1  # its own
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page  # in the configuration
    assert "{{7*7}}" in page


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and text, as a browser sees them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_a_browser_reads_hostile_texts_and_no_tag_of_theirs(results):
    """Labels, reasons of failed runs and captions reach the page as text."""
    plain = Reader(report.render(results))
    hostile = copy.deepcopy(results.records)
    hostile[0] |= {"status": "failed", "reason": LABELS[4]}
    captions = {name: entry | {"caption": LABELS[8]} for name, entry in results.captions.items()}
    changed = dataclasses.replace(results)
    vars(changed).update(records=hostile, captions=captions)
    read = Reader(report.render(changed))
    assert LABELS[4] in read.text
    assert LABELS[8] in read.text
    for label in LABELS:
        assert json.dumps(label)[1:-1] in read.text, label  # in the configuration
    added = {tag for tag, _ in read.tags} - {tag for tag, _ in plain.tags}
    assert added <= {"ul", "li"}  # the list of failed runs
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag not in ("iframe", "object")
        assert attributes.get("src", "data:").startswith("data:")
    assert [tag for tag, _ in read.tags].count("script") == 1
    (policy,) = [a["content"] for _, a in read.tags if "http-equiv" in a]
    script = (report.TEMPLATES / "script.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy  # no browser runs another script


def test_the_signs_of_latex_are_escaped_in_tables():
    (table,) = latex.printed(pd.DataFrame({"a_b": LABELS}), "name", "A caption.")
    lines = table.splitlines()
    start, end = lines.index(r"\endlastfoot"), lines.index(r"\end{longtable}")
    cells = [line.removesuffix(r" \\") for line in lines[start + 1 : end]]
    assert len(cells) == len(LABELS)
    known = r"\\(textbackslash|textasciitilde|textasciicircum|allowbreak)\{\}|\\[&%$#_{}]"
    for cell in cells:
        cell = re.sub(rf"{known}|\$[<>|-]\$", "", cell)
        assert not set(cell) & set("\\&%$#_{}~^"), cell


def test_the_labels_are_escaped_in_the_paper(results):
    assert latex.text(LABELS[0]) == r"\$\textbackslash{}frac\$"
    assert latex.text(LABELS[3]) == "two lines"  # a caption is one paragraph
    assert r"\input" not in latex.text(LABELS[5])
    (table,) = latex.printed(pd.DataFrame({label: [label] for label in LABELS[:5]}), "name", "")
    assert r"$\frac$" not in table
    paper.run(results)
    tables = (results.study.file(layout.PAPER) / "tables").glob("*.tex")
    assert not any(r"\input" in path.read_text() for path in tables)


def test_logarithmic_axes_have_plain_numbers():
    figure, axes = style.subplots(1, 2, (4, 2))
    for axis, values in zip(axes.flat, ([1e-3, 1, 10], [0.2, 0.5, 0.9]), strict=True):
        axis.plot(values, values)
        axis.set_xscale("log")
    style.plain_ticks(figure)
    figure.canvas.draw()
    labels = [
        [tick.get_text() for tick in axis.get_xticklabels(which="both") if tick.get_text()]
        for axis in axes.flat
    ]
    plt.close(figure)
    assert {"0.001", "0.1", "10"} <= set(labels[0])
    assert {"0.2", "0.4"} <= set(labels[1])
    assert "$" not in "".join(labels[0] + labels[1])
