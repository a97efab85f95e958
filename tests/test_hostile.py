"""Labels of levels with signs that mean something to matplotlib, HTML or LaTeX."""

import json
import xml.dom.minidom

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from analysis.figures import draw, style
from analysis.report import paper, report
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
    html = report.render(results)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;alert(1)" in html  # in the configuration
    assert "{{7*7}}" in html


def test_the_labels_are_escaped_in_the_paper(results):
    assert paper.latex(LABELS[0]) == r"\$\textbackslash frac\$"
    assert paper.latex(LABELS[3]) == "two lines"  # a caption is one paragraph
    assert r"\input" not in paper.latex(LABELS[5])
    text = paper.booktabs(pd.DataFrame({label: [label] for label in LABELS}))
    assert r"\input" not in text
    assert r"$\frac$" not in text
    paper.run(results)
    assert (results.study.file(layout.PAPER) / "captions.tex").exists()


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
