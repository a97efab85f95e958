"""The figure of differences by situation: its scopes, points and intervals, its words."""

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

from analysis.figures import situations, style
from analysis.report.alternative import alternative
from analysis.scores.metrics import select
from tests.conftest import TINY
from tests.results import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results") / "tiny", json.loads(json.dumps(TINY)))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_point_is_a_difference_of_the_table(results):
    style.use()
    (planned,) = situations.figures(results)
    figure, caption = planned.draw()
    (axis,) = figure.axes
    rows = select(results.comparisons, against="cross_entropy", loss="dice")
    for threshold, fill in (("0.5", "full"), ("tuned", "none")):
        drawn = [
            line for line in axis.lines if line.get_marker() == "s" and line.get_fillstyle() == fill
        ]
        assert drawn[0].get_xdata().tolist() == select(rows, threshold=threshold)["value"].tolist()
    assert axis.get_xlabel() == "Mean DSC minus that of Cross-entropy"
    assert axis.get_title() == "generated images"
    assert "tuned" in caption


def test_the_alternative_text_names_the_largest_difference_of_each_situation(results):
    rows = select(results.comparisons, against="cross_entropy", threshold="0.5")
    text = alternative(results, {"name": "situations", "kind": "situations", "caption": "C."})
    assert text.startswith("Largest difference from Cross-entropy, generated images")
    for situation, value in zip(rows["situation"], rows["value"], strict=True):
        assert f"{situation}: Dice {value:+.3f}".replace("-", "−") in text


def test_a_study_without_a_second_loss_has_no_figure(tmp_path):
    config = json.loads(json.dumps(TINY))
    config["losses"] = {"cross_entropy": {}}
    assert list(situations.figures(write_results(tmp_path / "tiny", config))) == []


def test_several_public_datasets_are_one_mean():
    def titles(**controlled):
        datasets = {name: SimpleNamespace(controlled=c) for name, c in controlled.items()}
        return list(situations.scopes(SimpleNamespace(datasets=datasets)).values())

    assert titles(made=True, one=False, two=False) == ["mean of 2 datasets", "generated images"]
    assert titles(made=True, one=False) == ["one", "generated images"]
    assert titles(easy=True, hard=True) == ["easy", "hard"]
