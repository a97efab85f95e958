"""Counts by hand and against brute force; the threshold against trying every one."""

import numpy as np
import pytest

from experiments.runs import evaluate, overlap
from experiments.runs.truth import Truth

MASK = np.zeros((12, 12), np.uint8)
MASK[1:3, 1:3] = 1  # a small object of 4 pixels
MASK[5:11, 5:11] = 1  # one of 36
NOTHING, EVERYTHING = np.zeros(MASK.shape, bool), np.ones(MASK.shape, bool)


def test_counts_by_hand():
    predicted = NOTHING.copy()
    predicted[5:11, 5:8] = True  # half of the larger object: a hit
    predicted[1, 1] = True  # a quarter of the small one: a miss
    predicted[0, 11] = True  # touches nothing
    row = Truth("a", MASK).count(predicted)
    assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (19, 1, 21, 103)
    assert (row["objects_small"], row["hits_small"]) == (1, 0)
    assert (row["objects_medium"], row["hits_medium"]) == (1, 1)
    assert (row["objects_large"], row["hits_large"]) == (0, 0)
    assert row["false_objects"] == 1


def test_the_band_is_two_pixels_either_side_of_the_boundary():
    mask = np.zeros((20, 20), np.uint8)
    mask[:, 10:] = 1
    band = Truth("a", mask).band
    assert np.flatnonzero(band[3]).tolist() == [8, 9, 10, 11]
    row = Truth("a", mask).count(np.zeros((20, 20), bool))
    assert (row["band_fn"], row["band_tn"], row["fn"]) == (40, 40, 200)


def test_ignored_pixels_are_in_no_count():
    ignored = NOTHING.copy()
    ignored[:, :4] = True  # the small object is among them
    rng = np.random.default_rng(0)
    whole, part = Truth("a", MASK, ignored), Truth("a", MASK[:, 4:])
    prob = rng.random(MASK.shape)
    rows = [
        evaluate.count(p[None, None], {"a": [truth]})[0]
        for truth, p in ((whole, prob), (part, prob[:, 4:]))
    ]
    names = ("tp", "fp", "fn", "tn", "objects_small", "objects_medium", "squared_error")
    assert [rows[0][n] for n in names] == pytest.approx([rows[1][n] for n in names])
    assert sum(rows[0][f"band_{n}"] for n in ("tp", "fp", "fn", "tn")) <= (~ignored).sum()
    bins = [
        evaluate.calibration(p[None, None], {"a": [t]})
        for t, p in ((whole, prob), (part, prob[:, 4:]))
    ]
    assert bins[0] == bins[1]


def test_objects_that_touch_are_counted_apart_where_ids_tell_them():
    instances = np.zeros(MASK.shape, np.uint16)
    instances[1:3, 1:3] = 7
    instances[5:11, 5:8], instances[5:11, 8:11] = 3, 300
    predicted = NOTHING.copy()
    predicted[5:11, 5:8] = True
    alone = Truth("a", MASK).count(predicted)
    apart = Truth("a", MASK, instances=instances).count(predicted)
    assert (alone["objects_medium"], alone["hits_medium"]) == (1, 1)
    assert (apart["objects_medium"], apart["hits_medium"]) == (0, 0)
    assert (apart["objects_small"], apart["hits_small"]) == (3, 1)
    counted = {k for k in alone if not k.startswith(("objects_", "hits_"))}
    assert all(alone[k] == apart[k] or alone[k] != alone[k] for k in counted)


@pytest.mark.parametrize("mask", [NOTHING, EVERYTHING])
@pytest.mark.parametrize("predicted", [NOTHING, EVERYTHING])
def test_empty_and_full_masks_are_defined(mask, predicted):
    row = Truth("a", mask).count(predicted)
    assert row["tp"] + row["fp"] + row["fn"] + row["tn"] == 144
    assert row["band_tp"] + row["band_fp"] + row["band_fn"] + row["band_tn"] == 0
    assert row["false_objects"] == int(predicted.any() and not mask.any())
    assert sum(row[f"objects_{s}"] for s in ("small", "medium", "large")) == int(mask.any())


@pytest.mark.parametrize("seed", range(5))
def test_the_tuned_threshold_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    masks = (rng.random((3, 16, 16)) < 0.2).astype(np.uint8)
    prob = (0.4 * masks + rng.random(masks.shape) * 0.6).astype(np.float32)

    def dice(threshold):
        predicted = prob > threshold
        return 2 * (predicted & (masks > 0)).sum() / (predicted.sum() + masks.sum())

    every = np.array([dice(t) for t in evaluate.THRESHOLDS])
    assert overlap.pooled_dice(prob, masks, evaluate.THRESHOLDS) == pytest.approx(every)
    assert dice(tuned(prob, masks)) == pytest.approx(every.max())


def tuned(prob, masks):
    thresholds, _ = evaluate.tune(prob[:, None], masks, ["foreground"])
    return thresholds["foreground"]


def test_among_equals_the_threshold_nearest_to_one_half_is_taken():
    masks = np.array([[[0, 1]]])
    assert tuned(np.array([[[0.1, 0.9]]]), masks) == 0.5
    assert tuned(np.array([[[0.6, 0.9]]]), masks) == pytest.approx(0.6)
    assert tuned(np.zeros((1, 1, 2)), masks) == 0.5


def test_counts_are_a_row_per_image_and_threshold():
    prob = np.stack([MASK * 0.4, MASK * 0.9])[:, None]
    truths = {"foreground": [Truth("a", MASK), Truth("b", MASK)]}
    rows = evaluate.count(prob, truths, {"foreground": 0.3})
    assert [(r["image"], r["threshold"], r["tp"]) for r in rows] == [
        ("a", "0.5", 0),
        ("b", "0.5", 40),
        ("a", "tuned", 40),
        ("b", "tuned", 40),
    ]


PIXELS = np.array([[[[0.6, 0.3, 0.2, 0.5]], [[0.3, 0.4, 0.3, 0.5]]]])
"""Probabilities of two classes in four pixels; the background has what is left to 1."""


def test_of_several_classes_the_most_probable_is_predicted():
    first, second = overlap.most_probable(PIXELS)[0, :, 0]
    assert first.tolist() == [True, False, False, True]  # the first of equals
    assert second.tolist() == [False, True, False, False]  # .4 of 1 is enough; .3 against .5 not


def test_with_one_class_the_most_probable_is_above_one_half():
    prob = np.linspace(0, 1, 10_001, dtype=np.float32).reshape(1, 1, 1, -1)
    assert np.array_equal(overlap.most_probable(prob), prob > 0.5)


def test_classes_are_counted_and_tuned_one_against_the_rest():
    numbers = np.array([[[1, 2, 2, 0]]])
    classes = ["road", "car"]
    thresholds, dice = evaluate.tune(PIXELS, numbers, classes)
    # Tuned, every pixel is called a car: two of four are.
    assert dice == {
        "road": {"0.5": 2 / 3, "tuned": 1},
        "car": {"0.5": 2 / 3, "tuned": pytest.approx(2 * 2 / (4 + 2))},
    }
    assert thresholds["road"] == 0.5
    truths = {name: [Truth("a", numbers[0] == k)] for k, name in enumerate(classes, 1)}
    rows = evaluate.count(PIXELS, truths, {"road": 0.55, "car": 0.35})
    assert [(r["class"], r["threshold"], r["tp"], r["fp"], r["fn"]) for r in rows] == [
        ("road", "0.5", 1, 1, 0),
        ("car", "0.5", 1, 0, 1),
        ("road", "tuned", 1, 0, 0),
        ("car", "tuned", 1, 1, 1),
    ]
    assert sum(evaluate.calibration(PIXELS, truths)["pixels"]) == 8
