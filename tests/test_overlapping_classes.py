"""Classes that overlap: their settings, folders, counts, records and figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures import draw, examples, scope, style
from analysis.results import Results
from analysis.scores import metrics
from experiments import layout
from experiments.data import prepared
from experiments.errors import ConfigError
from experiments.plan.study import Study
from experiments.runs import controls, cost, evaluate, overlap, records, table
from experiments.runs.batches import Cell
from experiments.runs.pictures import encode
from experiments.runs.predictions import Predictions
from experiments.runs.sizes import FIGURES, Sizes
from experiments.runs.truth import truths
from experiments.runs.validity import validity
from tests.overlapping import NESTED, config_of, folder_of, true_masks, write_cells
from tests.results import write_results
from tests.runs.conftest import prepared_study, state, train_here
from tests.runs.test_cost import blocks


@pytest.fixture
def cells(in_tmp):
    """The dataset, in an empty folder."""
    write_cells()


# Configuration


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({"controlled": {"multilabel": True}}, ["controlled.multilabel: True", "nothing"]),
        ({"wbc": {"multilabel": True}}, ["wbc.multilabel: True", "fewer than two classes"]),
        ({"wbc": {"multilabel": True, "classes": [1, 2]}}, ["wbc.multilabel", "fewer than two"]),
        ({"wbc": {"multilabel": "yes", "classes": {"a": 1}}}, ["wbc.multilabel", "true, false"]),
        (
            {"wbc": {"classes": {"a": [1, 2], "b": 2}}},
            ["wbc.classes.b: [2]", "no other class", "'multilabel: true'"],
        ),
    ],
)
def test_overlap_is_refused_where_it_has_no_meaning(tiny, dataset, words):
    tiny["experiments"] = {"e": {"levels": {"x": {}}}}
    with pytest.raises(ConfigError) as error:
        Study(tiny | {"datasets": dataset})
    for word in words:
        assert word in str(error.value)


def test_classes_that_overlap_may_share_ids_and_targets(tiny):
    tiny["experiments"] = {"e": {"levels": {"x": {}}}}
    classes = {"whole": [1, 2], "core": 2, "all": "masks", "any": "masks"}
    tiny["datasets"] = {"wbc": {"classes": classes, "multilabel": True}}
    study = Study(tiny)
    assert study.class_counts == [(4, True)]
    before = study.check_fingerprint, study.data_fingerprint("wbc")
    tiny["datasets"]["wbc"]["classes"] = {"whole": 1, "core": 2, "all": "masks", "any": "nucleus"}
    exclusive = Study(tiny | {"datasets": {"wbc": tiny["datasets"]["wbc"] | {"multilabel": False}}})
    study = Study(tiny)
    assert study.check_fingerprint == before[0] != exclusive.check_fingerprint
    assert study.data_fingerprint("wbc") != exclusive.data_fingerprint("wbc")


def test_labels_of_classes_that_overlap_are_not_corrupted(tiny, cells):
    with pytest.raises(ConfigError, match="several classes"):
        Study(config_of(tiny, {"flips": 0.1}))


# Stressed folders


KNOBS = [
    {},
    {"size": "small"},
    {"size": "mixed"},
    {"left_out": 0.5},
    {"left_out": 0.5, "size": "small"},
    {"blur": 1},
]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_a_folder_has_a_mask_of_each_class_and_their_union(tiny, cells, knobs):
    data = prepared.read_cell(folder_of(prepared_study(config_of(tiny, knobs))))
    assert data.multilabel
    assert data.classes == list(NESTED)
    ignored, overlap = 0, 0
    for stem in [stem for stems in data.split.values() for stem in stems]:
        target = data.target(stem)
        assert target.shape == (32, 32, 3)
        assert (target.any(-1) == data.mask(stem)).all()
        overlap += (target.sum(-1) > 1).sum()
        if (skipped := data.ignored(stem)) is not None:
            assert not target[skipped > 0].any()
            ignored += skipped.sum()
        if not knobs:
            assert (target == np.moveaxis(true_masks(stem), 0, -1)).all()
    assert overlap
    assert (ignored > 0) == ("left_out" in knobs)


def test_small_objects_keep_the_share_of_each_class(tiny, cells):
    study = prepared_study(config_of(tiny, {"size": "small"}))
    data = prepared.read_cell(folder_of(study))
    for stem in data.split["test"]:
        shares = data.target(stem).mean((0, 1))
        assert shares == pytest.approx(true_masks(stem).mean((1, 2)), rel=0.35)


def test_an_image_without_foreground_has_no_pixel_of_any_class(tiny, cells):
    classes = {"core": [2], "beside": [3]}
    config = config_of(tiny, {"absence": 1 / 3}, classes) | {"image_size": 16}
    data = prepared.read_cell(folder_of(prepared_study(config)))
    found = [data.target(stem) for stem in data.split["test"]]
    assert [target.any() for target in found].count(False) == 1


def test_ignored_pixels_belong_to_no_class(tiny, cells):
    classes = {"cell": "masks", "core": "core"}
    study = prepared_study(config_of(tiny, classes=classes, ignore=3))
    data = prepared.read_cell(folder_of(study))
    for stem in data.split["test"]:
        cell, _, beside = true_masks(stem)
        assert (data.ignored(stem) == beside).all()
        assert (data.target(stem)[..., 0] == cell * (1 - beside)).all()
    cell = Cell(folder_of(study))
    assert cell.val_ignored.any()
    assert not cell.val_masks[cell.val_ignored > 0].any()


def test_a_class_may_have_the_name_of_another_folder(tiny, cells):
    classes = {"clean": "masks", "masks": "core"}
    data = prepared.read_cell(folder_of(prepared_study(config_of(tiny, classes=classes))))
    stem = data.split["test"][0]
    assert not data.has(layout.CLEAN)
    assert (data.clean(stem) == data.mask(stem)).all()
    assert (data.target(stem)[..., 1] == true_masks(stem)[1]).all()


# Evaluation


def test_a_perfect_prediction_is_perfect_in_every_class(tiny, cells):
    cell = Cell(folder_of(prepared_study(config_of(tiny))))
    true = truths(cell.data)
    masks = np.stack([[truth.mask for truth in of_class] for of_class in true.values()], axis=1)
    prob = np.where(masks, 0.9, 0.1).astype(np.float32)
    assert (prob.sum(1) > 1).any()  # no softmax can predict this
    val = np.where(overlap.regions(cell.val_masks, 3), 0.9, 0.1)
    found = evaluate.evaluate(Predictions(val, prob), cell)
    assert found.threshold == dict.fromkeys(NESTED, 0.5)
    assert found.val_dice == {name: {"0.5": 1, "tuned": 1} for name in NESTED}
    rows = pd.DataFrame(found.counts)
    assert len(rows) == 3 * 3 * 2
    assert (metrics.dice(rows) == 1).all()
    wrong = pd.DataFrame(evaluate.count(prob, true, found.threshold))
    assert metrics.dice(wrong[wrong["threshold"] == "0.5"]).min() == 0


def test_each_class_has_a_threshold_of_its_own():
    prob = np.array([[[[0.2, 0.4, 0.45]], [[0.7, 0.9, 0.6]]]])
    masks = np.array([[[[0, 0], [1, 1], [1, 0]]]])
    thresholds, scores = evaluate.tune(prob, masks, ["a", "b"])
    assert thresholds == {"a": pytest.approx(0.39), "b": pytest.approx(0.7)}
    assert scores["a"] == {"0.5": 0, "tuned": 1}
    assert scores["b"] == {"0.5": 0.5, "tuned": 1}


def test_controls_of_overlapping_classes_are_right(tiny, cells):
    study = prepared_study(config_of(tiny))
    rows = controls.control(study).set_index("loss")
    assert (metrics.dice(rows.loc["true mask"]) == 1).all()
    assert (rows.loc["all background", ["tp", "fp"]] == 0).all(axis=None)
    truth = np.zeros((1, 2, 100, 100), bool)
    truth[:, 0, :80], truth[:, 1, :50] = True, True
    masks = controls.predictions(np.random.default_rng(0), truth, True)["random mask"]
    assert masks.mean((0, 2, 3)) == pytest.approx([0.8, 0.5], abs=0.02)
    assert masks.all(1).mean() == pytest.approx(0.4, abs=0.02)


def test_only_a_model_that_predicts_every_class_everywhere_predicts_everything():
    key = {"dataset": "d", "stress": "none", "loss": "dice", "learning_rate": 0.1, "seed": 0}
    named = {"status": "ok", "threshold": "0.5", "threshold_value": 0.5}
    pixels = {"cell": {"tp": 50, "fp": 0, "fn": 0, "tn": 50}}
    pixels |= {"core": {"tp": 25, "fp": 25, "fn": 0, "tn": 50}}
    rows = pd.DataFrame([key | {"class": name} | named | n for name, n in pixels.items()])
    assert not metrics.collapsed(rows)["everything"].any()  # as many pixels as an image has
    assert metrics.collapsed(rows.assign(tp=50, fp=50, fn=0, tn=0))["everything"].all()


# Records and reports


def test_a_record_is_not_reused_when_classes_may_overlap(tiny, cells):
    disjoint = {"core": [2], "beside": [3]}
    study = prepared_study(config_of(tiny, classes=disjoint, multilabel=True))
    train_here(study, *study.runs)
    record = records.read_record(study.run_folder(study.runs[0]))
    assert record["status"] == "ok", record
    assert record["run"]["data"]["multilabel"] is True
    assert set(record["threshold"]) == set(record["val_dice"]) == set(disjoint)
    assert state(study, study.runs[0]).name == "VALID"
    rows, _ = table.collect(study)
    assert (rows.loc[rows["threshold"] == "0.5", "threshold_value"] == 0.5).all()
    assert (rows[["tp", "fp", "fn", "tn"]].sum(axis=1) == 32**2).all()
    exclusive = prepared_study(config_of(tiny, classes=disjoint, multilabel=False))
    found = validity(exclusive.workspace, exclusive.runs[0])
    assert found.state.name == "TRAIN"
    assert "data.multilabel True -> False" in found.reason


def test_an_example_mixes_the_colours_where_classes_overlap(tiny, cells):
    study = prepared_study(config_of(tiny))
    data = prepared.read_cell(folder_of(study))
    true = np.stack([data.target(stem) for stem in data.split["test"]])
    folder = study.run_folder(study.runs[0])
    folder.mkdir(parents=True)
    (folder / layout.EXAMPLES_FILE).write_bytes(encode(np.moveaxis(true, -1, 1).astype(float)))
    study.file(layout.RECORDS).write_text(json.dumps([{"key": study.runs[0].key, "status": "ok"}]))
    (about,) = scope.of_experiments(study)
    figure, caption = examples.draw(Results(study), about)
    _, truth, prediction = (axis.images[0].get_array() for axis in figure.axes)
    assert (truth == prediction).all()
    stem = examples.pick(data)[1]
    assert len(np.unique(truth.reshape(-1, 4), axis=0)) == len(
        np.unique(data.target(stem).reshape(-1, 3), axis=0)
    )
    assert "mixed colours: several" in caption
    assert "threshold 0.5" in caption


def test_figures_name_the_rule_of_their_classes(tiny, cells):
    titles = {}
    for multilabel in (True, False):
        config = config_of(tiny, multilabel=multilabel)
        figures = {f.stem: f for f in draw.plan(write_results(Path("results/x"), config))}
        titles[multilabel] = figures["classes_d"].draw()[0].axes[0].get_title()
        assert ("most probable" in figures["e_d"].draw()[1]) is not multilabel
    assert titles == {True: "Threshold 0.5", False: "The most probable class"}
    style.plt.close("all")


# Cost


def test_the_estimated_bytes_and_time_are_those_of_the_masks(tiny, cells):
    study = prepared_study(config_of(tiny))
    sizes = Sizes(study, study.datasets["d"])
    written = blocks(Path(study.folder, "data"))
    assert (sizes.data() - FIGURES) / written == pytest.approx(1, 0.1)
    assert cost.estimate(study, 1).seconds > 0
    own = study.config["datasets"]["d"]
    tiny["datasets"] = {"d": own, "e": own | {"multilabel": False}}
    assert len(cost.kinds_of(Study(tiny).runs, cost.sizes_of(Study(tiny)))) == 2
