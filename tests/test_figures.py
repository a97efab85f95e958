"""Figures: line styles, intervals, the figures that a study has, and their content."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import claims
from analysis.figures import (
    contact,
    draw,
    examples,
    maps,
    mechanism,
    overview,
    scope,
    style,
    threshold,
)
from analysis.results import Results
from analysis.verdicts import POOLED
from experiments import layout
from experiments.data import prepare, prepared
from experiments.errors import ConfigError
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


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Folder of the results of a study without a training grid."""
    folder = tmp_path_factory.mktemp("planted")
    write_results(folder, json.loads(json.dumps(TINY)))
    return folder


@pytest.fixture(autouse=True)
def closed():
    """Close all figures after a test."""
    yield
    plt.close("all")


def draw_one(results, name):
    figures = {figure.stem: figure for figure in draw.plan(results)}
    return figures[name].draw()


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


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


def test_the_figure_of_verdicts_tells_the_intervals_apart_and_marks_the_primary_ones(planted):
    results = Results.open(planted)
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
    words = [text.get_text() for text in axis.texts]
    assert words == [f"{style.VERDICT_SIGNS[word]} {word}" for word in rows["verdict"]]
    assert "claim holds" in axis.get_xlabel()
    (region,) = axis.patches
    assert region.get_x() == rows["smallest"].iloc[0] == 0.02
    assert region.get_x() + region.get_width() == pytest.approx(axis.get_xlim()[1])


def test_claims_with_one_unit_have_one_scale_unless_differences_are_much_smaller():
    rows = pd.DataFrame(
        {
            "claim": ["a", "b", "c", "d"],
            "unit": ["DSC", "DSC", "DSC", "recall"],
            "estimate": [0.6, 0.2, 0.0, 0.1],
            "low": [0.5, 0.1, -0.01, np.nan],
            "high": [0.7, 0.3, 0.01, np.nan],
            "smallest": [0.05, 0.05, 0.02, 0.05],
        }
    )
    limits = overview.limits(rows)
    assert limits["a"] == limits["b"]
    assert limits["c"][1] < 0.1
    for claim, (low, high) in limits.items():
        row = rows.set_index("claim").loc[claim]
        assert low < 0 < row["smallest"] < high
        assert low < np.nanmin([row["low"], row["estimate"]])
        assert high > np.nanmax([row["high"], row["estimate"]])


def test_with_several_settings_the_overview_shows_both_thresholds(grid):
    figure, _ = draw_one(grid, "verdicts")
    axis = next(a for a in figure.axes if "boundary" in a.get_title(loc="left"))
    markers = [line for line in axis.lines if line.get_marker() == "s"]
    assert {line.get_fillstyle() for line in markers} == {"full", "none"}
    assert len(axis.texts) == len(markers) == 8  # four settings, two thresholds


def test_the_overview_leaves_single_datasets_out_if_there_are_too_many_points():
    sets = ["controlled", *(f"set_{i}" for i in range(7)), POOLED]
    rows = pd.DataFrame({"dataset": sets, "setting": "", "level": ["controlled", *["field"] * 8]})
    kept, left_out = overview.shown(rows, losses=1)
    assert (len(kept), left_out) == (9, 0)
    kept, left_out = overview.shown(rows, losses=10)
    assert (list(kept["dataset"]), left_out) == (["controlled", POOLED], 7)


def test_ranks_show_both_thresholds_and_a_bar_over_the_ranks_of_an_interval(planted):
    results = Results.open(planted)
    ranks = results.ranks
    ranks.loc[ranks["loss"] == "dice", ["low", "high"]] = np.nan  # as with one seed
    figure, _ = draw_one(results, "ranking")
    axis = figure.axes[0]
    assert axis.get_title() == "Imbalance"
    fills = [line.get_fillstyle() for line in axis.lines if line.get_marker() == "s"]
    assert fills == ["full", "none"]
    first = ranks.iloc[0]
    bars = [line for line in axis.lines if line.get_linewidth() == 4]
    assert bars[0].get_xdata().tolist() == [first["low"] - 0.35, first["high"] + 0.35]
    assert np.isnan(bars[1].get_xdata()).all()


@pytest.mark.parametrize(("losses", "rows"), [(2, 1), (5, 1), (6, 1), (7, 2), (11, 2)])
def test_maps_of_losses_are_apart_from_the_constructed_image(losses, rows):
    pictures = {name: np.zeros((4, 4)) for name in maps.INPUTS}
    pictures |= {f"loss {name}": np.eye(4) / 4 for name in list(LOSSES)[:losses]}
    figure, _ = maps.draw(pictures)
    titles = [axis.get_title() for axis in figure.axes[:-1]]
    columns = len(titles) // (rows + 1)
    assert [title for title in titles[:columns] if title] == list(maps.INPUTS.values())
    expected = [style.name(name) for name in list(LOSSES)[:losses]]
    shown = [title.replace("\n", " ") for title in titles[columns:] if title]
    assert shown == expected
    assert len(titles) - columns - losses < columns / 2 + 1
    assert figure.axes[-1].get_xlabel().startswith("Share of the gradient")


def test_losses_that_are_equal_are_one_line():
    x = [2**-10, 16.0]
    measured = pd.DataFrame({"quantity": "small_over_large", "x": x * 2, "value": 1.0})
    measured["loss"] = ["cross_entropy"] * 2 + ["dice"] * 2
    mechanism_of = claims.load()["object_size"].mechanism
    figure, caption = mechanism.draw(measured, mechanism_of)
    assert [line.get_label() for line in figure.axes[0].lines][:1] == ["all losses"]
    assert "all losses are equal" in caption
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.00098", "16"]
    measured.loc[3, "value"] = 0.5
    figure, caption = mechanism.draw(measured, mechanism_of)
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels[:2] == ["Cross-entropy", "Dice"]
    assert "all losses are equal" not in caption


def test_a_level_without_a_value_says_so(planted):
    results = Results.open(planted)
    estimates = results.estimates
    small = (estimates["metric"] == "recall_small") & (estimates["level"] == "mixed")
    estimates.loc[small, "value"] = 0.5
    figure, caption = draw_one(results, "object_size_controlled")
    assert [[t.get_text() for t in axis.texts] for axis in figure.axes] == [[], [], ["no value"]]
    assert "No value" in caption
    assert "No value" not in draw_one(results, "noise_controlled")[1]


@pytest.mark.parametrize(
    ("value", "scale", "label"), [(0.9, "linear", ""), (9, "symlog", "logarithmic above 1")]
)
def test_a_ratio_names_its_scale(planted, value, scale, label):
    results = Results.open(planted)
    ratio = results.estimates["metric"] == "area_ratio"
    results.estimates.loc[ratio, ["value", "low", "high"]] = value
    figure, _ = draw_one(results, "imbalance_controlled")
    assert figure.axes[2].get_title() == "Predicted / true area\nthreshold 0.5"
    assert figure.axes[2].get_yscale() == scale
    assert figure.axes[2].get_ylabel() == label
    assert "theory (pale lines)" not in texts(figure)
    assert "theory (pale lines)" in texts(draw_one(results, "noise_controlled")[0])


def test_memorised_labels_of_one_level_are_next_to_each_other(planted):
    figure, caption = draw_one(Results.open(planted), "noise_controlled_learned")
    positions = [line.get_xdata()[0] for line in figure.axes[0].lines[:2]]
    assert positions[0] < 0.3 < positions[1]
    assert "furthest from 0 is 0.100" in caption


def test_a_flipped_label_moves_the_threshold_of_theory(planted):
    assert threshold.with_flips({"blur": 2}) is None
    assert threshold.with_flips({"flips_foreground": 0.5}) == (0, 0.25)
    assert threshold.with_flips({"flips_background": 0.5}) == (0.5, 0.75)
    figure, caption = draw_one(Results.open(planted), "threshold_controlled")
    labels = {line.get_label() for line in figure.axes[0].lines}
    assert {"theory", "unchanged", "flips 0.3", "fraction 0.03, size small"} <= labels
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert np.ravel([line.get_ydata() for line in dashed]) == pytest.approx([0.3, 0.5])
    assert "Dashed" in caption


def test_corrupted_labels_are_next_to_the_image_with_its_true_outline(tiny, in_tmp):
    study = Study(tiny)
    stresses = {k: v for k, v in study.stresses("controlled").items() if k in ("none", "flips-0.3")}
    for name in stresses:
        prepare.write_cell(study, study.datasets["controlled"], name, 0)
    figure, caption = contact.draw(study, "controlled", stresses)
    rows = np.array(figure.axes).reshape(2, contact.IMAGES)
    outlined = [[len(axis.collections) == 1 for axis in row] for row in rows]
    data = prepared.read(study.data_folder("controlled", "flips-0.3", 0))
    flips = list(stresses).index("flips-0.3")
    assert outlined[1 - flips] == [True] * 6
    assert outlined[flips] == [True, False] * 3
    image, labels = (axis.images[0].get_array() for axis in rows[flips, :2])
    stem = data.split["train"][0]
    assert (image == data.image(stem)).all()
    assert (labels == data.mask(stem)).all()
    assert "to the right of each image" in caption
