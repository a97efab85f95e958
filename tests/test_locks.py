"""Locks between real processes: `flock`, and leases where it is missing or another machine is."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from experiments import locks
from experiments.locks import Busy, lock
from tests.workflow import ROOT

HOLD = """
import sys
from experiments import locks
{before}
with locks.lock(sys.argv[1]):
    print("held", flush=True)
    {inside}
    sys.stdin.read()
"""
NO_FLOCK = """
import errno, fcntl
def refuse(file, operation): raise OSError(errno.ENOLCK, "no locks")
fcntl.flock = refuse
"""
FORK = """
    import os, time
    if not os.fork():
        print(os.getpid(), flush=True)
        time.sleep(60)
"""


@contextmanager
def holder(path, before="", inside=""):
    """A process that holds a lock until it is killed or its input ends."""
    script = HOLD.format(before=before, inside=inside.strip())
    process = subprocess.Popen(
        [sys.executable, "-c", script, path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "run.lock"


@pytest.fixture
def no_flock(monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "CONFIRM", 0.05)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def leave(path, age=0.0, **changes):
    """A lock file as the process of another machine leaves it, last touched `age` seconds ago."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(locks._identity() | {"machine": "other", "host": "far"} | changes))
    os.utime(path, (time.time() - age, time.time() - age))


def assert_free(path):
    start = time.monotonic()
    with lock(path) as held:
        assert held()
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < locks.STALE / 4
    assert not list(path.parent.iterdir())


def test_a_lock_is_of_one_process_and_names_it(path):
    with holder(path) as process:
        with pytest.raises(Busy) as busy, lock(path):
            raise AssertionError("two hold the lock")
        words = rf"process {process.pid} on host \S+ since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
        busy.match(words)
        assert busy.value.holder.startswith(f"process {process.pid} on host ")
        process.communicate("")
        assert process.returncode == 0
        assert_free(path)


def test_an_error_releases_the_lock(path):
    with pytest.raises(KeyError), lock(path):
        raise KeyError
    assert_free(path)


def test_a_lock_dies_with_its_holder(path):
    with holder(path) as process:
        kill(process)
        assert path.exists()
        assert_free(path)


def test_a_lock_dies_with_its_holder_though_a_forked_child_lives(path):
    with holder(path, inside=FORK) as process:
        child = int(process.stdout.readline())
        kill(process)
        try:
            assert_free(path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_releases_nothing(path):
    inside = """
    import os
    child = os.fork()
    if child: os.waitpid(child, 0)
    else: sys.stdin.close(); sys.stdin = open(os.devnull)
    if child: print("child has left", flush=True)
"""
    with holder(path, inside=inside) as process:
        assert process.stdout.readline() == "child has left\n"
        with pytest.raises(Busy), lock(path):
            pass


def test_a_lock_dies_with_its_holder_in_another_container(path):
    with holder(path, before="locks.pid_space = lambda: 'other'") as process:
        os.utime(path, (0, 0))  # as if it was suspended for long: it lives
        with pytest.raises(Busy), lock(path):
            pass
        kill(process)
        os.utime(path)
        assert_free(path)


def test_a_lock_can_be_waited_for(path, caplog):
    caplog.set_level("INFO", "dicebench")
    with holder(path) as process:
        threading.Timer(0.5, process.kill).start()
        start = time.monotonic()
        with lock(path, wait=True):
            assert 0.4 < time.monotonic() - start < locks.STALE / 4
        assert caplog.text.count(f"waiting for process {process.pid} on host") == 1


COUNT = """
import sys, time
from pathlib import Path
from experiments import locks
locks.POLL, locks.CONFIRM = 0.001, {confirm}
{before}
lock, counter = map(Path, sys.argv[1:])
for _ in range(10):
    with locks.lock(lock, wait=True):
        value = int(counter.read_text())
        time.sleep(0.002)
        counter.write_text(str(value + 1))
"""


@pytest.mark.parametrize("before", ["", NO_FLOCK], ids=["flock", "lease"])
def test_processes_that_compete_hold_it_one_by_one(path, tmp_path, before):
    counter = tmp_path / "counter"
    counter.write_text("0")
    script = COUNT.format(before=before, confirm=0.3)
    command = [sys.executable, "-c", script, path, counter]
    leave(path, locks.STALE + 1)
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    try:
        assert [process.wait(30) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
    assert counter.read_text() == "40"
    assert not list(path.parent.iterdir())


# The lease


@pytest.mark.parametrize("flock", [True, False])
def test_the_fresh_lease_of_another_machine_is_respected(path, request, flock):
    if not flock:
        request.getfixturevalue("no_flock")
    leave(path, locks.STALE - 20, pid=7)
    with pytest.raises(Busy, match="process 7 on host far since"), lock(path):
        pass
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("flock", [True, False])
def test_the_stale_lease_of_another_machine_is_taken_over(path, request, monkeypatch, flock):
    monkeypatch.setattr(locks, "CONFIRM", 0.05)
    if not flock:
        request.getfixturevalue("no_flock")
    leave(path, locks.STALE + 5)
    assert_free(path)


def test_of_two_that_take_a_stale_lease_over_the_last_has_it(path, no_flock, monkeypatch):
    leave(path, locks.STALE + 5)
    # Another machine replaces the file while this one waits to read it again.
    monkeypatch.setattr(time, "sleep", lambda seconds: seconds and leave(path, pid=8))
    with pytest.raises(Busy, match="process 8 on host far"), lock(path):
        pass


def test_without_flock_a_killed_holder_of_this_machine_blocks_nobody(path, no_flock):
    with holder(path, NO_FLOCK) as process:
        with pytest.raises(Busy, match=f"process {process.pid} "), lock(path):
            pass
        kill(process)
        assert_free(path)


def test_without_flock_a_process_with_the_number_of_a_dead_one_is_not_the_holder(path, no_flock):
    here = {"machine": locks._machine(), "pid": os.getpid()}
    leave(path, **here)
    with pytest.raises(Busy), lock(path):
        pass
    leave(path, **here, started="1")
    assert_free(path)


def test_a_lease_is_kept_fresh(path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.05)
    with lock(path):
        os.utime(path, (0, 0))
        time.sleep(0.3)
        assert time.time() - path.stat().st_mtime < 60


def test_a_lease_that_was_lost_is_seen_and_the_new_one_not_removed(path):
    with lock(path) as held:
        assert held()
        leave(path)
        assert not held()
    assert json.loads(path.read_text())["host"] == "far"


# Races


@pytest.mark.parametrize("new", [True, False], ids=["other file", "no file"])
def test_a_file_that_changed_before_it_was_locked_is_not_the_lock(path, monkeypatch, new):
    leave(path, locks.STALE + 5)
    flock, calls = fcntl.flock, []

    def change(file, operation):
        calls.append(file)
        if len(calls) == 2:  # the first is of the own new file, the second of the old one
            path.unlink()
            if new:
                leave(path, pid=9)
        return flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", change)
    if new:
        with pytest.raises(Busy, match="process 9 "), lock(path):
            pass
    else:
        assert_free(path)


def test_an_unreadable_lock_file_is_of_a_process_that_just_began(path, monkeypatch):
    monkeypatch.setattr(locks, "CONFIRM", 0.05)
    path.parent.mkdir()
    for text in ("", "{}", "[1]", '{"pid": '):
        path.write_text(text)
        with pytest.raises(Busy, match="another process"), lock(path):
            pass
        os.utime(path, (0, 0))
        assert_free(path)


def test_a_file_system_without_hard_links_has_locks_too(path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    with lock(path), pytest.raises(Busy), lock(path):
        pass
    assert_free(path)
