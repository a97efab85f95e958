"""Scores against MONAI, torchmetrics and scikit-learn, on random masks."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from analysis.scores import metrics, tuning
from experiments.plan.study import Study
from experiments.runs import evaluate
from experiments.runs import table as runs
from experiments.runs.records import BAND, TOLERANCE
from experiments.runs.truth import Truth
from tests.tables import good, lose, row, table_of

KEY = {"dataset": "d", "stress": "none", "loss": "dice", "learning_rate": 1e-3, "seed": 0}


def blobs(rng, share, side=32):
    field = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2)
    return field > np.quantile(field, 1 - share)


@pytest.fixture(scope="module", params=range(6))
def case(request):
    """A true mask, a prediction, its table, and both as MONAI wants them."""
    rng = np.random.default_rng(request.param)
    true = blobs(rng, 0.2)
    prob = np.clip(0.6 * true + rng.normal(0.2, 0.15, true.shape), 0, 1)
    prob = ndimage.gaussian_filter(prob, 0.7)
    table = pd.DataFrame(evaluate.count(prob[None, None], {"a": [Truth("a", true)]}))
    scored = metrics.scores(table.assign(status="ok")).iloc[0]
    y, p = (torch.from_numpy(m)[None, None].float() for m in (true, prob > 0.5))
    return scored, y, p, prob


def test_overlap_agrees_with_torchmetrics(case):
    from torchmetrics.functional import classification as tm

    scored, y, p, _ = case
    y = y.int()
    for name, function in {
        "dice": tm.binary_f1_score,
        "iou": tm.binary_jaccard_index,
        "precision": tm.binary_precision,
        "sensitivity": tm.binary_recall,
        "specificity": tm.binary_specificity,
    }.items():
        assert scored[f"score_{name}"] == pytest.approx(function(p, y).item(), abs=1e-6), name


def test_surfaces_agree_with_monai(case):
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    scored, y, p, _ = case
    near = compute_surface_dice(p, y, [TOLERANCE], include_background=True).item()
    assert scored["score_surface_dice"] == pytest.approx(near, abs=1e-6)
    far = compute_hausdorff_distance(p, y, include_background=True, percentile=95).item()
    assert scored["score_hd95"] == pytest.approx(far, abs=1e-5)


def test_boundary_iou_by_erosion(case):
    """Pixels inside and near the surface are what an erosion by a disk takes away."""
    scored, y, p, _ = case
    masks = [m[0, 0].numpy() > 0 for m in (y, p)]
    inner = []
    for mask in masks:
        away = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        surface = mask & (away <= 1)
        inner.append(mask & (ndimage.distance_transform_edt(~surface) <= BAND))
    expected = (inner[0] & inner[1]).sum() / (inner[0] | inner[1]).sum()
    assert scored["score_boundary_iou"] == pytest.approx(expected)


def test_brier_and_calibration_agree_with_the_libraries(case):
    from sklearn.metrics import brier_score_loss
    from torchmetrics.functional.classification import binary_calibration_error

    scored, y, _, prob = case
    true = y.numpy().ravel() > 0
    assert scored["score_brier"] == pytest.approx(brier_score_loss(true, prob.ravel()))
    bins = evaluate.calibration(prob[None, None], {"a": [Truth("a", true.reshape(32, 32))]})
    record = {
        "status": "ok",
        "key": KEY,
        "curve": [],
        "calibration": bins,
    }
    ece = metrics.of_runs([record])["ece"][0]
    expected = binary_calibration_error(
        torch.from_numpy(prob).ravel(), torch.from_numpy(true).int(), n_bins=15
    )
    assert ece == pytest.approx(expected.item(), abs=1e-5)


def test_a_miss_is_a_miss_in_surface_scores():
    true = blobs(np.random.default_rng(0), 0.1)
    nothing = np.zeros(true.shape)

    def scored(prob, mask):
        rows = evaluate.count(prob[None, None], {"a": [Truth("a", mask)]})
        return metrics.scores(pd.DataFrame(rows).assign(status="ok")).iloc[0]

    missed = scored(nothing, true)
    assert missed["score_surface_dice"] == 0
    assert missed["score_boundary_iou"] == 0
    assert missed["score_hd95"] == pytest.approx(np.hypot(32, 32))
    invented = scored(true.astype(float), nothing > 0)
    assert invented["score_surface_dice"] == 0
    assert invented["score_hd95"] == pytest.approx(np.hypot(32, 32))
    neither = scored(nothing, nothing > 0)
    assert np.isnan(neither["score_surface_dice"])
    assert np.isnan(neither["score_hd95"])
    perfect = scored(true.astype(float), true)
    assert perfect["score_surface_dice"] == perfect["score_boundary_iou"] == 1
    assert perfect["score_hd95"] == perfect["score_brier"] == 0


def test_reproduced_noise_is_separate_from_plain_mistakes():
    clean = np.array([[[0, 0, 0, 0, 1, 1, 1, 1]]])
    labels = np.array([[[1, 1, 0, 0, 0, 1, 1, 1]]])
    prob = np.array([[[0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9]]])
    counted = evaluate.reproduced(prob, labels, clean)
    assert counted["background"] == {
        "noisy": 2,
        "noisy_reproduced": 1,
        "clean": 2,
        "clean_wrong": 1,
    }
    assert counted["foreground"] == {
        "noisy": 1,
        "noisy_reproduced": 1,
        "clean": 3,
        "clean_wrong": 0,
    }
    record = {
        "status": "ok",
        "key": KEY,
        "curve": [{"step": 5, "val_dice": 0.05}, {"step": 10, "val_dice": 0.3}],
        "calibration": evaluate.calibration(
            prob[:, None], {"a": [Truth("a", mask) for mask in clean]}
        ),
        "noise": counted,
    }
    whole = metrics.of_runs([record]).iloc[0]
    assert whole["noise_background"] == 0
    assert whole["noise_foreground"] == 1
    assert whole["first_step"] == 10


def test_an_images_score_is_the_mean_over_its_classes():
    """Two images: one shows both classes, the other the first, where the second is invented."""
    counts = (
        {"a": (10, 0, 0, 90), "b": (10, 30, 0, 60)},
        {"a": (10, 20, 0, 70), "b": (0, 5, 0, 95)},
    )
    rows = [
        dict.fromkeys(runs.NUMERIC, 0)
        | KEY
        | {
            "status": "ok",
            "image": image,
            "class": name,
            "threshold": "0.5",
            "threshold_value": np.nan,
        }
        | {"hd95": 0.0, "squared_error": 0.0, "val_dice": {"a": 0.8, "b": 0.2}[name]}
        | dict(zip(("tp", "fp", "fn", "tn"), values, strict=True))
        for image, classes in zip("xy", counts, strict=True)
        for name, values in classes.items()
    ]
    table = runs.check_table(pd.DataFrame(rows)[list(runs.COLUMNS)], "test")
    scored = metrics.scores(table)
    assert scored["score_dice"].tolist() == pytest.approx([(1 + 0.4) / 2, 0.5])
    each = metrics.scores(table, by_class=True)
    assert each["score_dice"].tolist() == pytest.approx([1, 0.4, 0.5, 0])
    assert tuning.grid(table).iloc[0][["val_dice", "test_dice"]].tolist() == pytest.approx(
        [0.5, (0.75 + 0.2) / 2]
    )
    assert metrics.collapsed(table)[["nothing", "everything"]].to_numpy().tolist() == [[False] * 2]
    whole = table.assign(tp=30, fp=20, fn=50, tn=0)  # each image's pixels are of either class
    assert metrics.collapsed(whole)["everything"].all()
    absent = table.assign(tp=0, fp=table["tp"] + table["fp"], fn=0)
    assert metrics.scores(absent)["score_dice"].tolist() == [0, 0]
    none = table.assign(tp=0, fp=0, fn=table["tp"] + table["fn"], tn=table["tn"] + table["fp"])
    assert metrics.collapsed(none)["nothing"].all()


def test_scores_by_hand():
    table = row(tp=6, fp=2, fn=4, band_tp=1, band_fp=1, objects_small=4, hits_small=1)
    assert metrics.dice(table)[0] == pytest.approx(12 / 18)
    assert metrics.dice(table, "band_")[0] == pytest.approx(2 / 3)
    assert metrics.recall(table, "small")[0] == 0.25
    assert np.isnan(metrics.recall(table, "large")[0])
    assert metrics.area_ratio(table)[0] == 0.8


def test_empty_masks_are_neither_0_nor_1_by_accident():
    assert np.isnan(metrics.dice(row(tn=9))[0])
    assert metrics.dice(row(fp=1, tn=8))[0] == 0
    assert metrics.dice(row(fn=1, tn=8))[0] == 0
    assert np.isnan(metrics.area_ratio(row(fp=3))[0])


def test_every_score_is_in_its_bounds():
    rng = np.random.default_rng(0)
    for metric in metrics.METRICS.values():
        table = pd.concat([row(**random_counts(rng)) for _ in range(50)])
        values = metric.function(table.assign(hd95=1.0, squared_error=0.5)).dropna()
        assert len(values)
        assert values.between(*metric.bounds).all(), metric.label
    columns = [metric.column for metric in metrics.METRICS.values() if metric.column]
    assert len(set(columns)) == len(columns)


def random_counts(rng):
    counts = {name: int(rng.integers(0, 9)) for name in runs.NUMERIC}
    for part, whole in (
        *((f"hits_{size}", f"objects_{size}") for size in ("small", "medium", "large")),
        ("false_objects", "predicted_objects"),
        ("surface_true_near", "surface_true"),
        ("surface_predicted_near", "surface_predicted"),
        ("inner_both", "inner_either"),
    ):
        counts[part] = min(counts[part], counts[whole])
    return counts


def test_a_diverged_run_has_the_worst_score_where_there_is_one(tiny):
    """On the images of its cell and at both thresholds; a failed run has no scores."""
    study = Study(tiny)
    table = table_of(study, lambda run, _: good(8, 2))
    run = {"stress": "none", "loss": "dice", "seed": 1}
    scored = metrics.scores(lose(table, "diverged", run))
    rows = metrics.select(scored, **run)
    assert sorted(zip(rows["threshold"], rows["image"], strict=True)) == [
        (threshold, f"{image}") for threshold in ("0.5", "tuned") for image in range(4)
    ]
    for name, metric in metrics.METRICS.items():
        values = rows[f"score_{name}"]
        assert (values.isna() if metric.worst is None else values == metric.worst).all(), name
    assert {"hd95", "size_gap", "brier"} == {"hd95", "size_gap", "brier"} & {
        name for name, metric in metrics.METRICS.items() if metric.worst is None
    }
    assert len(scored) == len(metrics.scores(table))
    assert not len(metrics.select(metrics.scores(lose(table, "failed", run)), **run))
