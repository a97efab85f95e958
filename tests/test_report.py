"""The report: sentences and tables."""

import json

import numpy as np
import pytest

from analysis import claims
from analysis.figures import draw
from analysis.report import pages, provenance, report, tables
from analysis.verdicts import POOLED
from tests.conftest import TINY
from tests.results import write_results, write_sheet


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Results of a study with an axis, and an experiment that sets it."""
    config = json.loads(json.dumps(TINY))
    config["training"]["steps"] = [6, 12]
    config["experiments"]["budget"] = {"knob": "steps", "values": [3, 6]}
    results = write_results(tmp_path_factory.mktemp("results") / "tiny", config)
    for name in ("verdicts", "imbalance_controlled", "imbalance_controlled_steps-12"):
        draw.run(results, name)
    write_sheet(results)
    return results


@pytest.fixture
def plain(tiny, tmp_path):
    return write_results(tmp_path, tiny)


def test_the_report_shows_axes_and_settings(grid):
    html = report.render(grid)
    assert "<b>steps</b> 6, 12, 3." in html
    assert html.count('class="card"') == 7
    assert "With steps 12: " in html
    assert "(controlled, steps 12)" in html
    assert 'src="http' not in html
    assert html.count('id="figure-imbalance_controlled"') == 1  # under its first claim


def test_tables_have_a_column_for_the_setting(grid):
    frames = tables.all_tables(grid)
    for title, frame in frames.items():
        assert "setting" in frame.columns, title
    scores = next(frame for title, frame in frames.items() if title.startswith("Scores by cell"))
    assert list(scores.columns[:5]) == ["dataset", "experiment", "level", "setting", "loss"]
    assert set(scores["setting"]) == {"steps 3", "steps 6", "steps 12"}


def test_a_study_without_axes_has_no_setting(plain):
    for title, frame in tables.all_tables(plain).items():
        assert "setting" not in frame.columns, title
    lines = dict(provenance.provenance(plain))
    assert not any(name.startswith("Axis") for name in lines)
    assert lines["Status"] == "ok"


def test_controls_follow_the_losses_of_their_cell(plain):
    controls = plain.table[plain.table["loss"] == "dice"].assign(
        loss="true mask", learning_rate=float("nan")
    )
    frame = tables.scores(plain.study, plain.table, controls)
    cell = frame[(frame["level"] == "flips 0.3") & (frame["threshold"] == "0.5")]
    assert list(cell["loss"]) == ["Cross-entropy", "Dice", "true mask"]


def test_a_card_takes_the_verdict_at_the_reference_setting(grid):
    for page in pages.pages(grid.study, grid.verdicts, []):
        row = page["lines"][0]
        assert row["setting"] == "steps 6"
        assert page["cards"][0]["rows"] in ([], [row])  # none if nothing is measured
        others = [text for text in row["also"] if text.startswith("With steps 12: ")]
        assert len(others) == int(not np.isnan(row["estimate"]))


def test_numbers_are_printed_with_their_sign():
    assert tables.signed(-0.25) == "−0.250"
    assert tables.signed(-1e-9) == "+0.000"
    assert tables.signed(float("nan")) == "–"


def test_a_pooled_verdict_says_which_datasets_it_is_about(plain):
    """The mean of these datasets, and apart from it a dataset that is not among them."""
    row = plain.verdicts[plain.verdicts["claim"] == "boundary"].iloc[-1].to_dict()
    row |= {"dataset": POOLED, "level": "field", "n": 7, "planned": 7, "estimate": 0.25}
    row |= {"low": 0.1, "high": 0.4, "low90": 0.15, "high90": 0.35, "smallest": 0.05}
    row |= {"next_low": -0.2, "next_high": 0.7, "next_probability": 0.84}
    claim = claims.load()["boundary"]
    words = pages.sentence(claim, row)
    assert "on average over these 7 datasets, +0.250" in words
    assert "95% interval +0.100 to +0.400; 90% +0.150 to +0.350; 7 of 7 datasets" in words
    assert (
        "A dataset that is not among them would show −0.200 to +0.700, at least +0.05 with "
        "probability 0.84 (95% prediction)."
    ) in words
    alone = pages.sentence(claim, row | {"dataset": "wbc", "next_probability": float("nan")})
    assert "not among them" not in alone
    assert "on average" not in alone


def test_an_open_verdict_names_its_sign_or_the_seeds_that_it_needs(plain):
    row = plain.verdicts[plain.verdicts["family"] == "primary"].iloc[0].to_dict()
    row |= {
        "verdict": "undecided",
        "finding": "7 seeds would settle it",
        "reason": "",
        "fragile": "",
    }
    assert pages.reason(row) == "7 seeds would settle it."
    row |= {"finding": "positive, size not settled", "reason": "a run failed; one source"}
    assert pages.reason(row) == "Positive, size not settled. A run failed. One source."
    row |= {"verdict": "supported", "p_corrected": 0.0123, "smallest": 0.05, "fragile": "yes"}
    assert pages.reason(row | {"reason": ""}) == (
        "At least the smallest difference that matters, +0.05 (p = 0.012, primary family). Without "
        "some single seed it would not be decided."
    )
