"""Calls that are interrupted or run at the same time: nothing is lost and nothing trained twice."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from tests.conftest import TINY
from tests.workflow import copy_tree, python, records, snakemake, start, step

SLOW = 300
"""Seconds within which something must happen whose time is not tested."""
STUDY = {
    **TINY,
    "experiments": {"noise": TINY["experiments"]["noise"]},
    "training": TINY["training"] | {"steps": 40},
    "seeds": 5,
}
RUNS = 20


def write_study(folder, **changes):
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tree with a study of RUNS runs; the tests go on with it one after the other."""
    folder = copy_tree(tmp_path_factory.mktemp("interrupted"))
    write_study(folder)
    return folder


def wait(condition, seconds=SLOW):
    """Wait until a condition holds; return the seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


def in_training(folder, driver, log):
    """Wait until a call has finished one run more and trains others; return its processes."""
    before = records(folder)
    wait(lambda: len(records(folder)) > len(before) or driver.poll() is not None)
    assert driver.poll() is None, log.read_text()
    return [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]


SIGNALS = {
    "SIGINT to the driver": (os.kill, signal.SIGINT),
    "Ctrl-C": (os.killpg, signal.SIGINT),
    "SIGTERM to the driver": (os.kill, signal.SIGTERM),
    "SIGTERM to all": (os.killpg, signal.SIGTERM),
    "SIGKILL to the driver": (os.kill, signal.SIGKILL),
}


@pytest.mark.parametrize("way", SIGNALS)
def test_fault_20_an_interrupted_call_ends_within_5_seconds_and_loses_nothing(folder, way):
    driver, log = start(folder, "collect")
    processes = in_training(folder, driver, log)
    send, number = SIGNALS[way]
    done = records(folder)
    send(driver.pid, number)
    seconds = wait(lambda: driver.poll() is not None and not any(map(running, processes)))
    said = log.read_text()
    print(way, seconds, len(done), len(records(folder)))
    print(said)
    assert seconds < 5
    assert driver.returncode != 0
    if number != signal.SIGKILL:
        assert said.count("The same command goes on where it stopped") == 1
        assert "Traceback" not in said
    assert records(folder).items() >= done.items()
    assert len(records(folder)) < RUNS


def running(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_shells_train_nothing_twice_and_the_second_says_for_whom_it_waits(folder):
    before = records(folder)
    driver, log = start(folder, "collect")
    wait(lambda: " to train" in log.read_text())
    said = snakemake(folder, "collect")
    assert driver.wait(SLOW) == 0
    assert f"waiting for process {driver.pid} on host" in said
    after = records(folder)
    assert len(after) == RUNS
    assert after.items() >= before.items()
    assert (log.read_text() + said).count(": ok, ") == len(after) - len(before)
    assert "Nothing to be done" in snakemake(folder, "collect")
