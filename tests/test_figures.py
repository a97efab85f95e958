"""Figures: line styles, intervals, the figures that a study has, and their content."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.figures import draw, examples, scope, style
from analysis.results import Results
from experiments import layout
from experiments.data import prepare, prepared
from experiments.errors import ConfigError
from experiments.plan.knobs import KNOBS
from experiments.plan.study import Study
from experiments.runs.pictures import encode
from losses import LOSSES
from tests.conftest import TINY, write_halves
from tests.results import write_results


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Results of a study with two axes, and an experiment that sets one of them."""
    config = json.loads(json.dumps(TINY))
    config["training"]["steps"] = [6, 12]
    config["models"] = {"small": {}, "wide": {"encoder": "resnet18"}}
    config["experiments"]["budget"] = {"knob": "steps", "values": [3, 6, 12]}
    return write_results(tmp_path_factory.mktemp("results") / "tiny", config)


def draw_one(results, name):
    figures = {figure.stem: figure for figure in draw.plan(results)}
    return figures[name].draw()


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_every_numeric_knob_has_an_axis_label():
    for name, knob in KNOBS.items():
        assert (knob.axis is not None) == (knob.low is not None), name


def test_every_loss_of_the_suite_has_a_label_of_its_own():
    labels = [style.name(name) for name in LOSSES]
    assert len(set(labels)) == len(LOSSES)
    assert not set(labels) & set(LOSSES)


def test_a_loss_has_the_same_line_style_in_every_study():
    alone = style.lines(["dice", "mine"])
    among = style.lines(["cross_entropy", "dice", "squared_dice", "mine", "other"])
    assert alone["dice"] == among["dice"]
    assert alone["mine"] == among["mine"]
    many = style.lines([f"loss_{i}" for i in range(20)])
    assert len({tuple(line.values()) for line in many.values()}) == 20


@pytest.mark.parametrize("horizontal", [False, True])
def test_an_interval_is_cut_at_the_bounds_and_not_drawn_if_unknown(horizontal):
    _, axes = style.subplots(1, 1, (2, 2))
    rows = pd.DataFrame({"value": [0.9, 0.5], "low": [0.7, np.nan], "high": [1.2, np.nan]})
    style.intervals(axes[0, 0], [1, 2], rows, {}, bounds=(0, 1), horizontal=horizontal)
    (segments,) = (lines.get_segments() for lines in axes[0, 0].collections)
    score, position = (0, 1) if horizontal else (1, 0)
    assert segments[0][:, score] == pytest.approx([0.7, 1])
    assert segments[1][:, score] == pytest.approx([0.5, 0.5])
    assert [segment[0, position] for segment in segments] == [1, 2]


def test_an_example_shows_an_image_with_foreground_and_its_own_prediction(tiny, in_tmp):
    tiny |= {"losses": {"dice": {}}, "reference": "dice"}
    tiny["experiments"] = {"absence": {"levels": {"x": {"absence": 0.75}}}}
    study = Study(tiny)
    prepare.write_cell(study, study.datasets["controlled"], "absence-0.75", 0)
    data = prepared.read(study.data_folder(*study.runs[0].cell))
    truths = np.stack([data.mask(stem) for stem in data.split["test"]])
    assert truths.any((1, 2)).tolist().index(True) > 0  # the first image shows nothing
    folder = in_tmp / study.run_folder(study.runs[0])
    folder.mkdir(parents=True)
    (folder / layout.EXAMPLES_FILE).write_bytes(encode(truths[:, None].astype(float)))
    records = [{"key": study.runs[0].key, "status": "ok"}]
    study.file(layout.RECORDS).write_text(json.dumps(records))
    (about,) = scope.of_experiments(study)
    figure, _ = examples.draw(Results(study), about)
    _, truth, prediction = (axis.images[0].get_array() for axis in figure.axes)
    assert truth.any()
    assert (prediction == truth).all()  # no false positive, no false negative


def test_a_setting_of_the_grid_is_in_the_file_name_and_in_the_caption(grid):
    stems = [figure.stem for figure in draw.plan(grid)]
    assert len(set(stems)) == len(stems)
    for stem in ("imbalance_controlled", "noise_controlled_learned", "curves_controlled"):
        settings = [s.removeprefix(stem) for s in stems if s.startswith(stem)]
        settings = [s for s in settings if not s.startswith(("_examples", "_learned"))]
        assert settings == ["", "_model-wide", "_steps-12", "_steps-12_model-wide"]
        assert "(steps 12, model wide)" in draw_one(grid, f"{stem}_steps-12_model-wide")[1]
    # The experiment sets the steps itself.
    budget = [s for s in stems if s.startswith("budget_controlled") and "examples" not in s]
    assert budget == ["budget_controlled", "budget_controlled_model-wide"]
    figure, caption = draw_one(grid, "budget_controlled")
    assert "(model small)" in caption
    assert figure.axes[0].get_xlabel() == "Training steps"
    assert figure.axes[0].get_xscale() == "log"


def test_overview_ranks_and_axes_show_the_settings(grid):
    for name in ("verdicts", "ranking"):
        assert {"steps 6\nmodel small", "steps 12\nmodel wide"} <= texts(draw_one(grid, name)[0])
    figure, _ = draw_one(grid, "axes_controlled")
    labels = {axis.get_xlabel() for axis in figure.axes if axis.get_visible()}
    assert labels == {"Training steps", "Model"}
    assert {"6", "12", "small", "wide", "Dice"} <= texts(figure)


def test_one_figure_alone_updates_its_caption(grid):
    folder = grid.study.file(layout.FIGURES)
    folder.mkdir(exist_ok=True)
    (folder / layout.CAPTIONS).write_text(json.dumps({"other": {}, "threshold_controlled": {}}))
    draw.run(grid, "threshold_controlled")
    captions = json.loads((folder / layout.CAPTIONS).read_text())
    assert list(captions) == ["other", "threshold_controlled"]
    assert captions["threshold_controlled"]["claim"] == "threshold"
    files = {path.name for path in folder.glob("threshold_controlled.*")}
    assert files == {f"threshold_controlled.{suffix}" for suffix in ("svg", "pdf", "png")}
    with pytest.raises(ConfigError, match="did you mean 'threshold_controlled'"):
        draw.run(grid, "treshold_controlled")


def test_an_incomplete_cell_is_marked_with_a_cross(tiny, tmp_path):
    results = write_results(tmp_path, tiny)
    table = results.table
    lost = (table["stress"] == "flips-0.3") & (table["loss"] == "dice") & (table["seed"] == 1)
    table[~lost].to_csv(results.study.file(layout.RUNS), index=False)
    figure, caption = draw_one(Results.open(tmp_path), "noise_controlled")
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] > 0.25 for line in crosses] == [True]
    assert "7 of 8 runs" in caption
    assert "A cross" in caption


def test_classes_go_from_frequent_to_rare(tiny, in_tmp):
    write_halves(in_tmp / "halves")
    classes = {"left": 4, "right": 9}
    sizes = {"train": 8, "val": 2, "test": 2}
    tiny["datasets"] = {"halves": {"folder": "halves", "classes": classes, **sizes}}
    tiny["experiments"] = {"blur": {"knob": "blur", "values": [0, 1]}}
    results = write_results(in_tmp / "results", tiny)
    table = results.table
    table.loc[table["class"] == "right", "tn"] = 1000
    table.to_csv(results.study.file(layout.RUNS), index=False)
    figure, caption = draw_one(Results.open(in_tmp / "results"), "classes_halves")
    ticks = [tick.get_text().split("\n")[0] for tick in figure.axes[1].get_xticklabels()]
    assert ticks == ["left", "right"]
    assert "stress none" in caption


def test_the_figure_of_verdicts_tells_the_intervals_apart_and_marks_the_primary_ones(
    tiny, tmp_path
):
    results = write_results(tmp_path, tiny)
    figure, caption = draw_one(results, "verdicts")
    rows = results.verdicts
    rows = rows[(rows["level"] != "mechanism") & (rows["claim"] == "boundary")]
    axis = next(a for a in figure.axes if "boundary" in a.get_title(loc="left"))
    thick = {tuple(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 2}
    assert thick == {tuple(row) for row in rows[["low90", "high90"]].to_numpy()}
    rings = [line.get_xdata().tolist() for line in axis.lines if line.get_markersize() == 9]
    assert rings == [rows.loc[rows["family"] == "primary", "estimate"].tolist()]
    assert "The thick part is the 90% interval" in caption
    assert "95% intervals" in caption
