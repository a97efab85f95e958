"""Kept predictions: 8-bit codes with equal counts, and evaluation without training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from experiments.runs import overlap, predictions, provenance, records, worker
from experiments.runs.predictions import THRESHOLDS, Predictions
from experiments.runs.validity import State, validity
from tests.runs.conftest import everything_but_time, prepared_study, state, train_here


def near_thresholds():
    """Probabilities, with those at every threshold and next to it."""
    rounded = THRESHOLDS.astype(np.float32)
    near = [np.nextafter(rounded, np.float32(end)) for end in (0, 1)]
    random = np.random.default_rng(0).random(20_000, np.float32)
    return np.concatenate([random, rounded, *near, np.float32([0, 0.5, 1])])


def test_codes_are_on_the_same_side_of_every_threshold():
    prob = near_thresholds()
    decoded = predictions.decode(predictions.encode(prob))
    for threshold in THRESHOLDS:
        for t in (threshold, np.float32(threshold)):  # as tuning and as counting compare
            assert np.array_equal(prob > t, decoded > t)
    masks = np.random.default_rng(1).random(prob.shape) < prob
    dice = [overlap.pooled_dice(p, masks, THRESHOLDS) for p in (prob, decoded)]
    assert np.array_equal(*dice)
    assert np.array_equal(*(overlap.most_probable(p.reshape(1, 1, 1, -1)) for p in (prob, decoded)))
    assert np.abs(prob - decoded).max() < 0.0051


def test_every_code_decodes_to_itself():
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(predictions.encode(predictions.decode(codes)), codes)


def test_a_file_for_other_thresholds_is_refused(monkeypatch):
    prob = np.random.default_rng(0).random((2, 1, 4, 4), np.float32)
    data = predictions.save(Predictions(prob, prob[:1]))
    loaded = predictions.load(data)
    assert loaded.train is None
    assert loaded.test.shape == (1, 1, 4, 4)
    monkeypatch.setattr(predictions, "EDGES", predictions.EDGES[:-1])
    with pytest.raises(ValueError, match="other thresholds"):
        predictions.load(data)


def change_code(monkeypatch, part):
    """Change the fingerprint of a part of the code."""
    before = provenance.code
    monkeypatch.setattr(provenance, "code", lambda spec: before(spec) | {part: "changed"})


def no_training(monkeypatch):
    def train(*args):
        raise AssertionError("a run is trained")

    monkeypatch.setattr("experiments.runs.run.train", train)


@pytest.fixture
def kept(short, in_tmp):
    return prepared_study(short | {"keep": ["predictions", "weights"]})


def test_kept_files_are_in_the_record(kept):
    train_here(kept, *kept.runs)
    for run in kept.runs:
        folder = Path(kept.run_folder(run))
        record = records.read_record(folder)
        assert set(record["files"]) == {p.name for p in folder.iterdir()} - {"run.json"}
        tensors = load_file(folder / "predictions.safetensors")
        noisy = {"train"} if run.stress else set()
        assert set(tensors) == {"val", "test", "edges"} | noisy
        assert tensors["test"].dtype == np.uint8
        assert sum(t.size for t in load_file(folder / "weights.safetensors").values()) > 1000


def test_keeping_predictions_changes_no_count(kept, short):
    other = prepared_study(short | {"study": "plain"})
    for study in (kept, other):
        train_here(study, *study.runs)
    for run in kept.runs:
        one, two = (records.read_record(s.run_folder(run)) for s in (kept, other))
        for name in ("weights", "threshold", "val_dice", "curve", "fingerprint"):
            assert one[name] == two[name]
        assert one.get("noise") == two.get("noise")
        rows = [pd.read_csv(Path(s.run_folder(run), "counts.csv")) for s in (kept, other)]
        error = [table.pop("squared_error") for table in rows]
        assert rows[0].equals(rows[1])
        assert error[0].to_numpy() == pytest.approx(error[1].to_numpy(), rel=0.02, abs=0.05)


def test_changed_evaluation_is_run_without_training(kept, monkeypatch):
    train_here(kept, *kept.runs)
    before = [everything_but_time(kept, run) for run in kept.runs]
    change_code(monkeypatch, "evaluate")
    no_training(monkeypatch)
    assert {state(kept, run) for run in kept.runs} == {State.EVALUATE}
    train_here(kept, *kept.runs)
    for run, (record, files) in zip(kept.runs, before, strict=True):
        after, after_files = everything_but_time(kept, run)
        assert after_files == files
        assert after.pop("code")["evaluate"] == "changed"
        del record["code"]
        assert after == record
        assert "evaluated" in records.read_record(kept.run_folder(run))
    assert {state(kept, run) for run in kept.runs} == {State.VALID}


def test_changed_evaluation_trains_again_without_predictions(short, in_tmp, monkeypatch):
    study = prepared_study(short)
    train_here(study, *study.runs)
    change_code(monkeypatch, "evaluate")
    assert {state(study, run) for run in study.runs} == {State.TRAIN}


def test_changed_training_trains_again_with_predictions(kept, monkeypatch):
    train_here(kept, kept.runs[0])
    change_code(monkeypatch, "train")
    assert state(kept, kept.runs[0]) is State.TRAIN


def test_missing_and_damaged_kept_files_are_made_by_training(short, in_tmp, monkeypatch):
    study = prepared_study(short)
    run = study.runs[0]
    train_here(study, run)
    keeping = prepared_study(short | {"keep": ["predictions"]})
    assert state(keeping, run) is State.TRAIN
    train_here(keeping, run)
    assert state(keeping, run) is state(study, run) is State.VALID
    change_code(monkeypatch, "evaluate")
    assert state(study, run) is State.EVALUATE
    Path(keeping.run_folder(run), "predictions.safetensors").write_bytes(b"{}")
    assert state(study, run) is State.TRAIN


def test_a_failed_run_leaves_no_files_of_an_earlier_one(kept, monkeypatch):
    run = kept.runs[0]
    train_here(kept, run)

    def fail(*args):
        raise RuntimeError("no such thing")

    monkeypatch.setattr("experiments.runs.run.fit", fail)
    change_code(monkeypatch, "train")
    train_here(kept, run)
    assert [p.name for p in Path(kept.run_folder(run)).iterdir()] == ["run.json"]


def test_an_evaluation_that_fails_keeps_the_predictions(kept, monkeypatch):
    run = kept.runs[0]
    train_here(kept, run)
    change_code(monkeypatch, "evaluate")
    files = {p.name for p in Path(kept.run_folder(run)).iterdir()}

    def fail(*args):
        raise RuntimeError("a bug in a metric")

    monkeypatch.setattr("experiments.runs.evaluate.evaluate", fail)
    result = worker.work(kept.workspace, run, provenance.code(run.loss_spec))
    assert "a bug in a metric" in result["stop"]
    assert {p.name for p in Path(kept.run_folder(run)).iterdir()} == files
    assert state(kept, run) is State.EVALUATE


def test_damaged_counts_are_evaluated_again_from_kept_predictions(kept):
    run = kept.runs[0]
    train_here(kept, run)
    before = everything_but_time(kept, run)
    Path(kept.run_folder(run), "counts.csv").write_text("image\n")
    assert state(kept, run) is State.EVALUATE
    train_here(kept, run)
    assert everything_but_time(kept, run) == before


def test_another_device_is_another_run(kept):
    run = kept.runs[0]
    train_here(kept, run)
    assert validity(replace(kept.workspace, device="cpu"), run).state is State.VALID
    other = validity(replace(kept.workspace, device="cuda"), run)
    assert (other.state, other.reason) == (State.TRAIN, "device cpu -> cuda")
