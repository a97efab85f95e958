"""Runs: byte-equal whatever else runs, kept if valid, recorded whatever happens."""

from pathlib import Path

import numpy as np
import pytest

from experiments.errors import ConfigError
from experiments.plan.study import Study
from experiments.runs import jobs, records, table
from experiments.runs.records import COUNTS_FILE, EXAMPLES_FILE, RecordError
from experiments.runs.validity import State
from tests.runs.conftest import everything_but_time, prepared_study, state


def test_a_run_gives_the_same_bytes_alone_or_with_others(short, in_tmp):
    study = prepared_study(short)
    assert jobs.train_all(study, study.runs, jobs=1).done == 4
    alone = [everything_but_time(study, run) for run in study.runs]
    other = prepared_study({**short, "study": "other"})
    assert jobs.train_all(other, other.runs[::-1], jobs=2).done == 4
    for run, before in zip(study.runs, alone, strict=True):
        assert everything_but_time(other, run) == before


def test_valid_runs_are_kept_and_only_the_others_are_trained(short, in_tmp):
    study = prepared_study(short)
    jobs.train_all(study, study.runs, jobs=1)
    before = {run.path: everything_but_time(study, run) for run in study.runs}
    assert jobs.train_all(study, study.runs, jobs=1).done == 0
    gone, cut, stale = study.runs[0], study.runs[1], study.runs[2]
    Path(study.record(gone)).unlink()
    Path(study.run_folder(cut), "counts.csv").write_text("image\n")
    Path(study.record(stale)).write_text('{"form')
    assert jobs.train_all(study, study.runs, jobs=1).done == 3
    assert {run.path: everything_but_time(study, run) for run in study.runs} == before
    longer = Study({**short, "training": {**short["training"], "steps": 7}})
    assert jobs.train_all(longer, longer.runs[:1], jobs=1).done == 1
    assert state(study, study.runs[0]) is State.TRAIN


def test_runs_are_trained_again_when_their_data_changed(short, in_tmp):
    study = prepared_study(short)
    jobs.train_all(study, study.runs, jobs=1)
    short["datasets"]["controlled"]["train"] = 9
    study = prepared_study(short)
    assert jobs.train_all(study, study.runs, jobs=1).done == 4


@pytest.mark.parametrize(
    ("loss", "status", "reason"),
    [
        ("TurnsNaN", "diverged", None),
        ("Raises", "failed", "no such thing"),
        ("OutOfMemory", "failed", "out of memory"),
    ],
)
def test_a_run_that_goes_wrong_is_recorded_as_such(short, in_tmp, loss, status, reason):
    short["losses"] = {"dice": {}, "bad": {"use": f"tests.user_losses:{loss}"}}
    study = prepared_study(short)
    jobs.train_all(study, study.runs, jobs=1)
    rows, every = table.collect(study)
    bad = [r for r in every if r["key"]["loss"] == "bad"]
    assert [r["status"] for r in bad] == [status, status]
    assert all(reason in r["reason"] if reason else r["step"] == 3 for r in bad)
    bad_rows = rows[rows["loss"] == "bad"]
    assert len(bad_rows) == 2
    assert bad_rows["tp"].isna().all()
    assert (rows.loc[rows["loss"] == "dice", "status"] == "ok").all()


def test_the_record_has_its_provenance(short, in_tmp):
    study = prepared_study(short)
    run = study.runs[0]
    jobs.train_all(study, [run], jobs=1)
    record = records.read_record(study.run_folder(run))
    assert record["fingerprint"] == run.fingerprint
    assert record["run"]["training"]["steps"] == 6
    assert record["run"] == run.description
    assert set(record["code"]) == {"train", "evaluate"}
    assert set(record["files"]) == {"counts.csv", "probabilities.png"}
    assert set(record["seconds"]) == {"load", "train", "evaluate"}
    assert {"torch", "numpy", "python"} <= set(record["versions"])
    assert record["device"] == "cpu"
    assert set(record["machine"]) == {"arch", "cpu", "capability"}
    assert len(record["commit"]) == 40
    assert isinstance(record["dirty"], bool)
    assert record["curve"][-1]["step"] == 6
    assert np.isfinite(record["curve"][-1]["loss"])


GPU = {"device": "H100"}


@pytest.fixture
def mixed(tiny):
    """Function: check the records of two cells of two losses, with changes at some runs."""
    tiny["experiments"] = {"noise": tiny["experiments"]["noise"]}
    study = Study(tiny | {"seeds": [0]})

    def check(*changes):
        every = {run: {"device": "cpu", "status": "ok"} for run in study.runs}
        for number, change in changes:
            every[study.runs[number]] |= change
        table.refuse_mixtures(every)

    return check


def test_devices_may_differ_between_cells_not_within(mixed):
    mixed()
    mixed((0, GPU), (1, GPU))
    mixed((0, GPU | {"status": "failed"}))
    mixed(*((i, GPU) for i in (0, 1, 2)), (3, {"device": "A100"}))
    with pytest.raises(RecordError, match=r"2 on \w+, 2 on \w+; .* device=cpu or .* device=cuda"):
        mixed((0, GPU), (2, GPU))


def test_a_mixture_is_not_collected(short, in_tmp):
    study = prepared_study(short)
    jobs.train_all(study, study.runs, jobs=1)
    table.collect(study)
    folder = study.run_folder(study.runs[0])
    record = records.read_record(folder) | GPU
    files = {name: (folder / name).read_bytes() for name in (COUNTS_FILE, EXAMPLES_FILE)}
    records.write_record(folder, record, files)
    with pytest.raises(RecordError, match="H100"):
        table.collect(study)
    cpu = Study({**short, "device": "cpu"})
    assert jobs.train_all(cpu, cpu.runs, jobs=1).done == 1  # as the message advises
    table.collect(cpu)


def test_progress_reports_runs_and_time_left(short, in_tmp, caplog):
    study = prepared_study(short)
    with caplog.at_level("INFO", logger="dicebench"):
        jobs.run(study, "controlled")
    assert "[1/4] controlled none cross_entropy seed 0: ok, loss" in caplog.text
    assert "[4/4]" in caplog.text
    assert "left" in caplog.text
    with pytest.raises(ConfigError, match="did you mean 'controlled'"):
        jobs.run(study, "controled")


def test_the_table_has_the_axes_of_the_study(short, in_tmp):
    short["training"]["steps"] = [6, 7]
    short["experiments"] = {"e": {"levels": {"as it is": {}}}}
    study = prepared_study(short)
    jobs.train_all(study, study.runs, jobs=1)
    rows, every = table.collect(study)
    assert table.key_columns(rows) == study.key_columns
    assert list(rows.columns) == table.columns(["steps"])
    assert set(rows["steps"]) == {"6", "7"}
    assert {record["key"]["steps"] for record in every} == {"6", "7"}
    rows.to_csv("runs.csv", index=False)
    assert set(table.read_table("runs.csv")["steps"]) == {"6", "7"}
