"""Runs in workers on a GPU: their bytes, their records, and failures of the machine."""

from pathlib import Path

import pytest
import torch

from experiments.runs import gpus, jobs, records, worker, workers
from tests.gpu import helpers
from tests.runs.conftest import everything_but_time, prepared_study

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
GOOD = {name: {} for name in ("dice", "cross_entropy", "boundary", "hausdorff")}
HELPERS = "tests.gpu.helpers"


def study_of(config, name, losses=GOOD, **settings):
    """A study of one cell and one seed, with a run for each loss."""
    return prepared_study(
        config
        | {"study": name, "losses": losses, "seeds": [0], "device": DEVICE}
        | {"experiments": {"noise": {"knob": "flips", "values": [0.2]}}}
        | settings
    )


def outcomes(study):
    """Loss -> record without times and files of the runs that have a record."""
    written = [run for run in study.runs if Path(study.record(run)).exists()]
    return {run.loss: everything_but_time(study, run) for run in written}


def test_a_run_gives_the_same_bytes_alone_again_and_next_to_three_others(tiny, in_tmp):
    study = study_of(tiny, "one_after_another")
    jobs.train_all(study, study.runs, jobs=1)
    expected = outcomes(study)
    assert expected.keys() == GOOD.keys()
    assert {record["status"] for record, _ in expected.values()} == {"ok"}
    alone = study_of(tiny, "alone", device="auto")
    jobs.train_all(alone, alone.runs[-1:], jobs=1)
    ((loss, found),) = outcomes(alone).items()
    assert found == expected[loss]
    together = study_of(tiny, "together", runs_per_gpu=4)
    jobs.train_all(together, together.runs[::-1], jobs=4)
    assert outcomes(together) == expected


def test_auto_takes_the_gpu_and_the_record_names_it(tiny, in_tmp):
    study = study_of(tiny, "tiny", {"dice": {}}, device="auto")
    jobs.train_all(study, study.runs, jobs=1)
    record = records.read_record(study.run_folder(study.runs[0]))
    properties = torch.cuda.get_device_properties(0)
    assert record["device"] == properties.name
    gpu = record["machine"]["gpu"]
    assert gpu["capability"] == f"{properties.major}.{properties.minor}"
    assert gpu["memory"] == properties.total_memory
    assert gpu["driver"]
    assert record["captured"]
    assert record["nondeterministic"] == []


def test_each_worker_sees_one_gpu(tiny, in_tmp):
    study = study_of(tiny, "tiny", runs_per_gpu=2)
    places = gpus.places(study, study.runs, 64)
    visible = gpus.visible()
    assert len(visible) <= len(places) <= 2 * len(visible)
    with workers.Pool(0, worker.PRELOAD, places=places) as pool:
        for number in range(2 * len(places)):
            pool.submit(workers.Task(str(number), helpers.gpus_of_process, (), number % 2 == 0))
        found = [outcome.value for outcome in pool]
    name_of = {name: torch.cuda.get_device_name(i) for i, name in enumerate(visible)}
    assert {place for _, place, _ in found} == name_of.keys()
    assert all(names == [name_of[place]] for _, place, names in found)


def test_memory_errors_and_device_asserts_harm_no_other_run(tiny, in_tmp):
    alone = study_of(tiny, "alone")
    jobs.train_all(alone, alone.runs, jobs=1)
    allocates = {"use": f"{HELPERS}:Allocates"}
    losses = GOOD | {
        "once": allocates | {"times": 1, "tries": "once"},
        "twice": allocates | {"times": 2, "tries": "twice"},
        "asserts": {"use": f"{HELPERS}:OutOfRange"},
    }
    study = study_of(tiny, "tiny", losses)
    training = jobs.Training(study, study.runs)
    with pytest.raises(jobs.Unfinished, match="memory"):
        training.run(4)
    path_of = {run.loss: run.path for run in study.runs}
    found = outcomes(study)
    assert training.stopped.keys() == {path_of["twice"]}  # no record: it may have been the machine
    assert training.failed == [path_of["asserts"]]  # a custom loss: it failed twice
    assert {*training.repeated} == {path_of[loss] for loss in ("once", "twice", "asserts")}
    record, _ = found.pop("asserts")
    assert record["status"] == "failed"
    assert worker.is_of_gpu(record["reason"])
    assert found.pop("once")[0]["status"] == "ok"
    assert found == outcomes(alone)
    again = jobs.train_all(study, [r for r in study.runs if r.loss == "twice"], jobs=1)
    assert (again.done, again.failed) == (1, [])


def test_a_run_of_the_suite_without_memory_leaves_no_record(tiny, in_tmp, monkeypatch):
    monkeypatch.setattr(worker, "PRELOAD", (*worker.PRELOAD, "tests.gpu.little_memory"))
    study = study_of(tiny, "tiny", {"dice": {}})
    training = jobs.Training(study, study.runs)
    with pytest.raises(jobs.Unfinished, match="CUDA out of memory"):
        training.run(1)
    assert training.repeated == [study.runs[0].path]
    assert outcomes(study) == {}
