"""Runs on GPUs, with pretended ones: a GPU for each worker, and failures of the machine."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch

from experiments.errors import ConfigError
from experiments.plan.stamps import Stamps
from experiments.plan.study import Study
from experiments.runs import cost, devices, gpus, jobs, provenance, records, worker
from experiments.runs.sizes import Pace
from experiments.runs.workers import call_alone
from tests.runs import calls
from tests.runs.conftest import prepared_study

ROOT = Path(__file__).parents[2]
PRETENDED = ("experiments.runs.run", "tests.runs.pretended")
GIB = 2**30
MINE = "tests.user_losses:MyLoss"


def one_cell(tiny, losses, **settings):
    """A study of one cell and one seed, with these losses, on pretended GPUs."""
    experiments = {"noise": {"knob": "flips", "values": [0]}}
    training = tiny["training"] | {"steps": 2}
    config = {"losses": losses, "experiments": experiments, "training": training, "seeds": [0]}
    return tiny | config | {"device": "cuda", "reference": next(iter(losses))} | settings


def attempts():
    """The attempts at runs: each with its run, loss, process, GPU, start and end, if it had one."""
    begun = []
    for line in Path("attempts").read_text().splitlines()[1:]:
        entry = json.loads(line)
        if "visible" in entry:
            begun.append(entry)
        else:
            (own,) = (a for a in begun if a["pid"] == entry["pid"] and "end" not in a)
            own["end"] = entry["time"]
    return begun


@pytest.fixture
def pretended(in_tmp, monkeypatch):
    """Workers find two GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # Slurm sets it
    monkeypatch.setattr(worker, "PRELOAD", PRETENDED)
    Path("attempts").write_text("{}\n")
    Path("trouble").mkdir()


def train(study, number):
    """Train all runs of a study; return their records by path, and those that were stopped."""
    training = jobs.Training(study, study.runs)
    try:
        training.run(number)
    except jobs.Unfinished:
        assert training.stopped
    folders = {run.path: study.run_folder(run) for run in study.runs}
    written = {path: folder for path, folder in folders.items() if (folder / "run.json").exists()}
    return {path: records.read_record(folder) for path, folder in written.items()}, training.stopped


def test_a_server_that_touched_cuda_would_break_its_workers():
    if torch.version.cuda is None:
        pytest.skip("this torch is built without CUDA")
    assert call_alone(calls.bad_fork, preload=["tests.runs.touches_cuda"])
    assert not call_alone(calls.bad_fork, preload=["torch"])


def test_each_worker_has_one_gpu_and_none_is_in_a_bad_fork(tiny, pretended):
    torch.cuda.is_available()  # the caller asked, too
    losses = {f"dice_{i}": {"use": "dice"} for i in range(6)} | {"mine": {"use": MINE}}
    study = prepared_study(one_cell(tiny, losses))
    done, _ = train(study, 64)
    assert {record["status"] for record in done.values()} == {"ok"}
    used = Counter(record["device"] for record in done.values())
    assert sorted(used.values()) == [3, 4]  # three places of each GPU, for seven runs
    assert used.keys() == {"GPU 0", "GPU 1"}
    assert {record["machine"]["gpu"]["capability"] for record in done.values()} == {"9.0"}


@pytest.mark.parametrize(("per_gpu", "cores", "number"), [(1, 64, 2), (4, 3, 3), (4, 64, 6)])
def test_the_number_of_runs_at_a_time_has_three_limits(tiny, pretended, per_gpu, cores, number):
    study = Study(one_cell(tiny, {"dice": {}}, runs_per_gpu=per_gpu))
    places = gpus.places(study, study.runs, cores)
    assert len(places) == number  # by memory, (7 GiB of a GPU) / (1 GiB + 1 GiB) are 3
    by_gpu = Counter(place["CUDA_VISIBLE_DEVICES"] for place in places)
    assert max(by_gpu.values()) - min(by_gpu.values()) <= 1


def test_on_a_cpu_nobody_looks_for_gpus(tiny, monkeypatch):
    monkeypatch.setattr(gpus, "call_alone", None)
    study = Study(one_cell(tiny, {"dice": {}}, device="cpu"))
    assert gpus.places(study, study.runs, 3) == [{}, {}, {}]


def test_a_device_that_cannot_be_used_is_one_line(tiny, in_tmp):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    study = Study(one_cell(tiny, {"dice": {}}))
    with pytest.raises(ConfigError, match=r"device: 'cuda' cannot be used: .*allowed: auto, cpu"):
        gpus.places(study, study.runs, 3)


def test_a_gpu_that_vanished_leaves_no_record(tiny, in_tmp):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    study = prepared_study(one_cell(tiny, {"dice": {}}))
    (run,) = study.runs
    result = worker.work(study.workspace, run, provenance.code(run.loss_spec))
    assert "'cuda' cannot be used" in result["stop"]
    assert not Path(study.record(run)).exists()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, {"0": 5, "1": 9}),
        ("3,1", {"3": 5, "1": 9}),
        ("GPU-8f6c,GPU-13ab", {"GPU-8f6c": 5, "GPU-13ab": 9}),
        ("MIG-a1/2/0, MIG-b7,MIG-c", {"MIG-a1/2/0": 5, "MIG-b7": 5, "MIG-c": 5}),
    ],
)
def test_entries_of_the_visible_gpus_are_kept_as_they_are(monkeypatch, visible, expected):
    free = [5] if visible and "MIG" in visible else [5, 9]  # a process sees one MIG entry
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (free[i], 99))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.free_memory() == expected
    places = gpus.share(expected, 0, 4)
    assert places == [{"CUDA_VISIBLE_DEVICES": name} for name in expected]


def test_a_small_gpu_takes_fewer_runs_and_one_at_least():
    names = [p["CUDA_VISIBLE_DEVICES"] for p in gpus.share({"a": 9 * GIB, "b": 1}, 2 * GIB, 4)]
    assert names == ["a", "b", "a", "a"]


def test_the_peak_is_that_of_the_largest_kind_with_its_images(tiny, monkeypatch):
    tiny["training"]["batch_size"] = [2, 64]
    study = Study(one_cell(tiny, {"dice": {}}))
    images = 8 * 32 * 32 * 3

    def measure(sizes, run, device, budget):
        assert device == "cuda"
        return Pace(0, 0, 0, 0, run.training.batch_size * GIB)

    monkeypatch.setattr(cost, "measure", measure)
    assert cost.peak(study, study.runs) == 64 * GIB + images
    assert cost.peak(study, study.runs[:1]) == 2 * GIB + images

    def fail(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(cost, "measure", fail)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1, 80 * GIB))
    assert cost.peak(study, study.runs) == 80 * GIB


def test_the_cost_has_the_number_of_models_at_a_time(tiny, monkeypatch):
    study = Study(one_cell(tiny, {"dice": {}, "cross_entropy": {}, "jaccard": {}}))
    monkeypatch.setattr(devices, "resolve", lambda wanted: "cuda")
    monkeypatch.setattr(gpus, "free_memory", lambda: {"0": 3 * GIB})
    pace = Pace(10, 0, 0, 0, GIB // 2)
    monkeypatch.setattr(cost, "measure", lambda *args: pace)
    found = cost.estimate(study, 16)
    assert (found.jobs, found.gpus, found.seconds) == (1, 1, 60)
    monkeypatch.setattr(gpus, "free_memory", lambda: {"0": 3 * GIB, "1": 80 * GIB})
    found = cost.estimate(study, 16)
    assert (found.jobs, found.gpus) == (3, 2)
    assert "about 60 s with 1 process; 3 at a time on 2 GPUs; " in found.words()


def test_the_number_of_runs_per_gpu_makes_nothing_again(tiny):
    one, other = Study(tiny), Study(tiny | {"runs_per_gpu": "2"})
    assert (one.runs_per_gpu, other.runs_per_gpu) == (4, 2)
    assert [run.fingerprint for run in one.runs] == [run.fingerprint for run in other.runs]
    paths = [[stamp.path for stamp in Stamps(study).all()] for study in (one, other)]
    assert paths[0] == paths[1]


# Failures of the machine

TROUBLES = {
    "fine": ("dice", [], "ok", 1),
    "memory_once": ("dice", ["memory"], "ok", 2),
    "memory_always": ("dice", ["memory", "memory"], None, 2),
    "assert_once": ("dice", ["assert"], "ok", 2),
    "assert_always": ("dice", ["assert", "assert"], None, 2),
    "cudnn_once": ("dice", ["cudnn"], "ok", 2),
    "killed_once": ("dice", ["kill"], "ok", 2),
    "killed_always": ("dice", ["kill", "kill"], "signal 9 (SIGKILL", 2),
    "own_error": ("dice", ["own"], "no such thing", 1),
    "cpu_memory": ("dice", ["cpu memory"], "out of memory: MemoryError", 1),
    "mine_fine": (MINE, [], "ok", 1),
    "mine_memory_once": (MINE, ["memory"], "ok", 2),
    "mine_memory_always": (MINE, ["memory", "memory"], "OutOfMemoryError", 2),
    "mine_assert_once": (MINE, ["assert"], "ok", 2),
    "mine_assert_always": (MINE, ["assert", "assert"], "CUDA error: device-side assert", 2),
    "mine_killed": (MINE, ["kill"], "signal 9 (SIGKILL", 1),
}
"""Loss -> its class, the trouble of each attempt, status or reason (None: no record), attempts."""


@pytest.fixture
def troubled(tiny, pretended):
    """Records and stopped runs by loss, and the attempts, of a study with all of these losses."""
    for name, (_, troubles, *_) in TROUBLES.items():
        Path("trouble", name).write_text("\n".join(troubles))
    losses = {name: {"use": use} for name, (use, *_) in TROUBLES.items()}
    study = prepared_study(one_cell(tiny, losses))
    done, stopped = train(study, 4)
    loss_of = {run.path: run.loss for run in study.runs}
    by_loss = [{loss_of[path]: value for path, value in part.items()} for part in (done, stopped)]
    return *by_loss, attempts()


def test_failures_of_the_machine_leave_no_record_and_those_of_a_run_do(troubled):
    done, stopped, tried = troubled
    number = Counter(attempt["loss"] for attempt in tried)
    for name, (_, _, outcome, times) in TROUBLES.items():
        assert number[name] == times, name
        record = done.get(name)
        if outcome is None:
            assert record is None
            assert "CUDA" in stopped.pop(name)
        elif outcome == "ok":
            assert record["status"] == "ok", record
        else:
            assert record["status"] == "failed"
            assert outcome in record["reason"], name
    assert stopped == {}
    check_repetitions(tried)


def check_repetitions(tried):
    """Each process ends with its failure; repetitions are last, one at a time, in new processes."""
    first, again = [], []
    for attempt in tried:
        seen = {other["loss"] for other in first}
        (again if attempt["loss"] in seen else first).append(attempt)
    assert tried == first + again
    by_process = defaultdict(list)
    for attempt in tried:
        by_process[attempt["pid"]].append(attempt["loss"])
    for losses in by_process.values():
        harmful = [name for name in losses if MACHINE & {*TROUBLES[name][1]}]
        assert harmful in ([], losses[-1:])
    assert not {a["pid"] for a in first} & {a["pid"] for a in again}
    assert len({a["pid"] for a in again}) == len(again)
    assert {a["visible"] for a in again} == {"0"}
    ends = [attempt.get("end", 0) for attempt in first]
    for attempt in again:
        assert attempt["time"] >= max(ends)
        ends.append(attempt.get("end", 0))


MACHINE = {"memory", "assert", "cudnn", "kill"}
"""Troubles after which a process does nothing else."""
COMMAND = """
import runpy, sys
from experiments.runs import worker
worker.PRELOAD = ("experiments.runs.run", "tests.runs.pretended")
sys.argv = ["experiments", "train", "results/tiny", "controlled", "--jobs", "2"]
runpy.run_module("experiments", run_name="__main__")
"""


def test_the_step_fails_after_a_failure_of_the_machine_and_the_next_call_goes_on(tiny, pretended):
    study = prepared_study(one_cell(tiny, {"dice": {}, "jaccard": {}}))
    study.file("config.json").write_text(study.json)
    Path("trouble", "dice").write_text("memory\nmemory\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = []
    for _ in range(2):
        command = [sys.executable, "-c", COMMAND]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        status = [Path(study.record(run)).exists() for run in study.runs]
        found.append((done.returncode, status, len(attempts())))
    assert found == [(1, [False, True], 3), (0, [True, True], 4)], done.stderr
    assert list(Path("results/tiny/done").glob("train-controlled-*.json"))


@pytest.mark.parametrize(
    ("error", "of_gpu"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: unknown error"), True),
        (RuntimeError("CUDA driver error: invalid argument"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), True),
        (RuntimeError("No CUDA GPUs are available"), True),
        (MemoryError("no room"), False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), False),
        (RuntimeError("expected scalar type Float"), False),
        (ValueError("loss is cuda"), False),
    ],
)
def test_a_failure_of_the_machine_is_known_by_type_and_words(error, of_gpu):
    assert bool(worker.machine_failure(error)) == of_gpu
