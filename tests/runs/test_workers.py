"""Workers: every call has an outcome, none reaches another, and all end with their caller."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from experiments.files import start_time
from experiments.runs import forking, workers
from experiments.runs.workers import Died, Outcome, Pool, Task, call_alone
from tests.runs import calls

ROOT = Path(__file__).parents[2]


def outcomes(tasks, slots=2, **limits):
    """Key -> outcome of tasks."""
    with Pool(slots, **limits) as pool:
        for task in tasks:
            pool.submit(task)
        return {outcome.key: outcome for outcome in pool}


def lives(pid):
    """Whether a process runs; a zombie does not."""
    return start_time(pid) is not None


def wait_until(condition, seconds):
    """Whether a condition becomes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_tasks_share_workers_unless_they_are_alone():
    tasks = [Task(f"{alone} {i}", calls.process, (), alone) for i in range(5) for alone in (1, 0)]
    done = outcomes(tasks)
    assert {outcome.died for outcome in done.values()} == {None}
    shared, alone = ([done[f"{word} {i}"].value for i in range(5)] for word in (0, 1))
    assert 1 <= len(set(shared)) <= 2
    assert len(set(alone)) == 5
    assert not {os.getpid(), *shared} & set(alone)
    assert wait_until(lambda: not any(map(lives, shared + alone)), 2)


@pytest.mark.parametrize("slots", [1, 2])
def test_so_many_tasks_run_at_a_time(slots):
    tasks = [Task(str(i), calls.interval, (), alone=i % 2 == 0) for i in range(6)]
    intervals = [outcome.value for outcome in outcomes(tasks, slots).values()]
    together = [sum(s < start + 0.01 < e for s, e in intervals) for start, _ in intervals]
    assert max(together) == slots


GPUS = ("GPU-8f6c", "MIG-1a/2/0")
PLACES = [{"CUDA_VISIBLE_DEVICES": name} for name in GPUS]


@pytest.mark.parametrize("tasks", [2, 3, 9])
@pytest.mark.parametrize("alone", [(), (0, 3, 6), range(9)])
def test_places_are_handed_out_evenly_and_given_back(tasks, alone):
    done, of_gpu = {}, Counter()
    with Pool(0, places=sorted(PLACES * 2, key=str)) as pool:
        for i in range(tasks):
            pool.submit(Task(str(i), calls.visible, (), i in alone))
        for outcome in pool:
            done[outcome.key] = outcome.value
            of_gpu |= Counter(worker.place["CUDA_VISIBLE_DEVICES"] for worker in pool._workers)
        free = Counter(place["CUDA_VISIBLE_DEVICES"] for place in pool._free)
    assert free == dict.fromkeys(GPUS, 2)
    assert max(of_gpu.values()) <= 2  # with those that wait for a task
    assert {done["0"][1], done["1"][1]} == {*GPUS}
    for _, visible, start, _ in done.values():
        assert [v for _, v, s, e in done.values() if s <= start < e].count(visible) <= 2
    by_process = {process: visible for process, visible, *_ in done.values()}
    assert all(by_process[process] == visible for process, visible, *_ in done.values())


@pytest.mark.parametrize("call", [calls.kill_itself, calls.segfault, calls.sleep])
def test_the_place_of_a_dead_worker_is_given_back(call):
    tasks = [Task("dies", call), *(Task(i, calls.visible, (), alone=i == "b") for i in "abc")]
    with Pool(0, run_limit=1, places=PLACES[:1]) as pool:
        for task in tasks:
            pool.submit(task)
        done = {outcome.key: outcome for outcome in pool}
    assert done["dies"].died
    assert {done[i].value[1] for i in "abc"} == {GPUS[0]}


def test_tasks_can_follow_from_outcomes():
    with Pool(1) as pool:
        pool.submit(Task("0", calls.give, (0,)))
        for outcome in pool:
            if outcome.value < 3:
                pool.submit(Task("next", calls.give, (outcome.value + 1,), alone=True))
        assert outcome == Outcome("next", 3)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("call", "args", "reason"),
    [
        (calls.segfault, (), "signal 11 (SIGSEGV)"),
        (calls.kill_itself, (), "signal 9 (SIGKILL; out of memory?)"),
        (calls.end_hard, (3,), "exit code 3"),
        (calls.end_hard, (0,), "exit code 0"),
        (calls.close_files, (), "exit code 1"),
        (calls.end, (0,), "SystemExit: 0"),
        (calls.raise_error, ("interrupt",), "KeyboardInterrupt"),
        (calls.raise_error, ("memory",), "MemoryError"),
        (calls.raise_error, ("unprintable",), "Unprintable: its text cannot be made"),
        (calls.raise_error, ("surrogates",), r"ValueError: \ud800\udfff"),
        (calls.raise_error, ("local",), "Local: here"),
        (calls.return_code, (), "TypeError: Object of type function is not JSON serializable"),
        (calls.write, (b"\0\n",), "a message that cannot be read"),
        (calls.write, (b'{"value": 1',  "kill"), "signal 9 (SIGKILL; out of memory?)"),
        (calls.write, (b'["value"]\n',), "a message that cannot be read"),
        (calls.write, (b"[" * 100_000 + b"\n",), "a message that cannot be read"),
    ],
)  # fmt: skip
def test_a_call_that_dies_has_its_reason_and_harms_no_other(call, args, reason, alone):
    tasks = [Task(str(i), calls.give, (i,), alone=False) for i in range(6)]
    tasks.insert(2, Task("dies", call, args, alone))
    done = outcomes(tasks)
    assert done.pop("dies") == Outcome("dies", None, reason)
    assert {key: outcome.value for key, outcome in done.items()} == {str(i): i for i in range(6)}


def test_a_reason_is_short_and_a_value_may_be_long():
    with pytest.raises(Died) as died:
        call_alone(calls.raise_error, "long")
    assert str(died.value).startswith("ValueError: long long")
    assert len(str(died.value)) == 500
    text = "ä\ud800" * 500_000
    assert call_alone(calls.give, text) == text


def test_a_message_without_end_is_not_kept(monkeypatch):
    monkeypatch.setattr(workers, "LARGEST", 100_000)
    with pytest.raises(Died, match="a message that cannot be read"):
        call_alone(calls.give, "a" * 200_000)


def test_a_call_alone_finds_the_folder_and_the_state_of_a_fresh_process(tmp_path, monkeypatch):
    call_alone(calls.give)  # the server starts in another folder
    monkeypatch.chdir(tmp_path)
    done = outcomes([Task(str(i), calls.change, (), alone=True) for i in range(4)])
    assert [outcome.value for outcome in done.values()] == [[False, str(tmp_path), None]] * 4


def test_a_call_alone_imports_a_module_written_after_the_server_started(tmp_path, monkeypatch):
    call_alone(calls.give)
    monkeypatch.syspath_prepend(tmp_path)
    Path(tmp_path, "written_late.py").write_text("def call():\n    return 7\n")
    import written_late

    assert call_alone(written_late.call) == 7


@pytest.mark.parametrize("died", [False, True])
def test_processes_that_a_call_left_are_killed(died, caplog):
    with caplog.at_level("INFO", logger="dicebench"):
        done = outcomes([Task("leaves", calls.leave_process, (died,), alone=True)])
    left = int(caplog.text.split()[-1]) if died else done["leaves"].value
    assert wait_until(lambda: not lives(left), 1)


def test_threads_that_a_call_left_do_not_keep_its_worker():
    start = time.monotonic()
    call_alone(calls.leave_thread)
    assert time.monotonic() - start < 10


def test_a_call_that_returns_in_two_processes_has_one_outcome():
    done = outcomes([Task("a", calls.return_twice), Task("b", calls.steps, ("", 0, 0.5))], slots=1)
    assert [outcome.value for outcome in done.values()] == ["first", "done"]


@pytest.mark.parametrize(
    ("call", "args", "limits", "expected"),
    [
        (calls.steps, ("train", 0.1, 60), {"step_limit": 0.5}, "timeout: no step for 0.5 s"),
        (calls.steps, ("train", 1.2, 0), {"step_limit": 0.5}, None),
        (calls.steps, ("load", 0.1, 1), {"step_limit": 0.5}, None),
        (calls.leave_phase, (), {"step_limit": 0.5}, None),
        (calls.sleep, (), {"run_limit": 0.5}, "timeout: not finished after 0.5 s"),
        (calls.steps, ("train", 60, 0), {"run_limit": 0.5}, "timeout: not finished after 0.5 s"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_call_ends_at_its_limits(call, args, limits, expected, alone):
    start = time.monotonic()
    tasks = [Task("slow", call, args, alone), *(Task(i, calls.give, (i,)) for i in "abc")]
    done = outcomes(tasks, slots=1, **limits)
    assert done["slow"].died == expected
    assert [done[i].value for i in "abc"] == ["a", "b", "c"]
    assert time.monotonic() - start < 10


def test_a_pause_of_the_machine_counts_for_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PAUSE", 1)
    with Pool(2, step_limit=1) as pool:
        pool.submit(Task("slow", calls.note_and_step, (str(tmp_path / "pid"), 1)))
        pool.submit(Task("other", calls.wait_for, (str(tmp_path / "pid"), 1)))
        for outcome in pool:
            if outcome.key == "other":
                (pid,) = pids(tmp_path / "pid")
                os.kill(pid, signal.SIGSTOP)  # as a scheduler suspends a job with all its processes
                time.sleep(1.5)
                threading.Timer(0.4, os.kill, (pid, signal.SIGCONT)).start()
        assert outcome == Outcome("slow", "done")


def test_a_call_begins_in_no_phase():
    done = outcomes([Task("0", calls.phase), Task("1", calls.phase)], slots=1)
    assert [outcome.value for outcome in done.values()] == ["", ""]


def test_a_sign_of_life_never_waits(monkeypatch):
    ours, theirs = socket.socketpair()
    link = forking._Link(ours)
    link.every = 0
    monkeypatch.setattr(forking, "_link", link)
    with theirs:
        for step in range(20_000):  # far more than the socket holds
            workers.beat(step)
    workers.beat("train")  # nobody is there
    monkeypatch.setattr(forking, "_link", None)
    workers.beat("train")


def test_a_long_silence_is_logged_once(monkeypatch, caplog):
    monkeypatch.setattr(workers, "SILENCE", 0.3)
    outcomes([Task("quiet", calls.steps, ("train", 0, 1.5))])
    assert caplog.text.count("quiet: no sign of life for") == 1


def test_log_lines_of_workers_reach_the_caller(caplog, capfd):
    with caplog.at_level("INFO", logger="dicebench"):
        assert call_alone(calls.say, "a \ud800 line") is None
        with pytest.raises(Died):
            call_alone(calls.end, 3)
    assert r"a \ud800 line" in caplog.text
    assert "SystemExit: 3" in caplog.text
    assert "in end\n    sys.exit(code)" in caplog.text


def test_a_server_that_dies_costs_the_running_tasks_only():
    tasks = [Task("kills", calls.kill_server, (), alone=True), *(Task(i, calls.give) for i in "ab")]
    done = outcomes(tasks, slots=1)
    assert [outcome.died for outcome in done.values()] == ["the workers' server ended", None, None]


def test_a_server_that_cannot_start_is_an_error(capfd):
    with Pool(1, ["no_such_module"]) as pool:
        pool.submit(Task("", calls.give))
        with pytest.raises(RuntimeError, match="cannot start"):
            list(pool)
    assert "No module named 'no_such_module'" in capfd.readouterr().err


def test_an_error_of_the_caller_kills_all_workers(tmp_path):
    with contextlib.suppress(ZeroDivisionError), Pool(3) as pool:
        for i in range(2):
            pool.submit(Task(str(i), calls.sleep, (str(tmp_path / "pids"),), alone=bool(i)))
        pool.submit(Task("2", calls.wait_for, (str(tmp_path / "pids"), 2)))
        for _ in pool:
            assert all(map(lives, pids(tmp_path / "pids")))
            _ = 1 / 0
    assert not any(map(lives, pids(tmp_path / "pids")))


def pids(path):
    """Process ids in a file."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


CALLER = """
import sys
from experiments.runs.workers import Pool, Task
from tests.runs import calls
with Pool(3) as pool:
    for i, call in enumerate((calls.sleep, calls.sleep_with_process, calls.hold_lock)):
        pool.submit(Task(str(i), call, (sys.argv[1],), alone=i > 0))
    list(pool)
"""


def start_caller(path, **environment):
    """A process with three busy workers, and the ids of these and of a process of the second.

    The third hangs in C.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", CALLER, str(path)]
    caller = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert wait_until(lambda: len(pids(path)) == 4, 20)
    return caller, pids(path)


@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, -signal.SIGINT),  # as Python ends after KeyboardInterrupt
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGHUP, -signal.SIGHUP),
    ],
)
def test_workers_end_with_their_caller_whatever_ends_it(tmp_path, send, number, code):
    caller, processes = start_caller(tmp_path / "pids")
    start = time.monotonic()
    send(caller.pid, number)
    assert caller.wait(10) == code
    assert wait_until(lambda: not any(map(lives, processes)), 5)
    assert time.monotonic() - start < 2
    caller.stderr.close()


def test_a_caller_ends_when_the_driver_of_the_workflow_has_been_killed(tmp_path):
    driver = subprocess.Popen(["sleep", "60"])
    caller, workers = start_caller(tmp_path / "pids", DICEBENCH_DRIVER=str(driver.pid))
    time.sleep(1.5)
    assert caller.poll() is None
    driver.kill()  # and stays a zombie
    assert caller.wait(5) == 143
    assert wait_until(lambda: not any(map(lives, workers)), 2)
    driver.wait()
    caller.stderr.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the server is found through /proc")
def test_workers_end_with_their_server(tmp_path):
    caller, processes = start_caller(tmp_path / "pids")
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().split()[3]) for pid in processes}
    (server,) = set(parents.values()) - set(processes)
    os.kill(server, signal.SIGKILL)
    workers = [pid for pid, parent in parents.items() if parent == server]
    assert wait_until(lambda: not any(map(lives, workers)), 3)
    assert caller.wait(10) == 0  # its tasks have died, and it goes on
    for pid in set(processes) - set(workers):
        os.kill(pid, signal.SIGKILL)  # nobody is left to do that
    caller.stderr.close()


def test_a_caller_loads_nothing_of_its_preloaded_modules():
    script = (
        "import sys\n"
        "from experiments.runs.workers import call_alone\n"
        "from tests.runs import calls\n"
        "print(call_alone(calls.loaded, 'numpy', preload=['numpy']), 'numpy' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_process_is_known_by_its_start_time():
    process = subprocess.Popen(["sleep", "60"])
    mine, other = (start_time(pid) for pid in (os.getpid(), process.pid))
    assert mine != other
    assert start_time(process.pid) == other
    process.kill()
    assert wait_until(lambda: start_time(process.pid) is None, 2)  # a zombie
    process.wait()
    assert start_time(process.pid) is None
