"""Calls that are interrupted or run at the same time: nothing is lost and nothing trained twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from experiments.driver import STOPPED
from tests.conftest import TINY
from tests.workflow import copy_tree, python, records, snakemake, start, step

SLOW = 300
"""Seconds within which something must happen whose time is not tested."""
STUDY = {
    **TINY,
    "experiments": {"noise": TINY["experiments"]["noise"]},
    "training": TINY["training"] | {"steps": 40},
    "seeds": 4,
}
RUNS = 16


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
    return processes_of(driver)


def processes_of(driver):
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
    assert seconds < 5
    assert driver.returncode != 0
    if number != signal.SIGKILL:
        assert said.count(STOPPED) == 1
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
    holder = f"process {driver.pid} on host"
    assert re.search(rf"dicebench: {holder} .* runs this study; waiting for its end", said)
    assert "Nothing to be done" in said
    after = records(folder)
    assert len(after) == RUNS
    assert after.items() >= before.items()
    assert (log.read_text() + said).count(": ok, ") == len(after) - len(before)


def test_a_call_that_waits_is_ended_by_one_signal_and_a_working_one_at_once_by_two(folder):
    write_study(folder, training=STUDY["training"] | {"steps": 400})
    first, log = start(folder, "collect")
    wait(lambda: " to train" in log.read_text())
    second, log = start(folder, "collect")
    wait(lambda: "waiting for its end" in log.read_text())
    second.send_signal(signal.SIGINT)
    assert wait(lambda: second.poll() is not None) < 5
    assert STOPPED in log.read_text()
    assert "Traceback" not in log.read_text()
    processes = processes_of(first)
    for _ in range(2):
        first.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert wait(lambda: not any(map(running, processes))) < 5
    assert "Traceback" not in log.read_text()
    write_study(folder)


CONFIGURE = """
import yaml
from experiments.files import write_whole
from experiments.plan.study import Study

study = Study(yaml.safe_load(open("study.yaml")))
write_whole(study.file("config.json"), study.json)
"""


def test_a_worker_of_an_older_configuration_overwrites_no_newer_record(folder):
    write_study(folder, seeds=[9], training=STUDY["training"] | {"steps": 50})
    python(folder, CONFIGURE)
    step(folder, "experiments", "prepare", "results/tiny", "controlled")
    old_log, study = folder / "old.log", folder / "results" / "tiny"
    with old_log.open("w") as file:
        words = (sys.executable, "-m", "experiments", "train", "results/tiny", "controlled")
        old = subprocess.Popen(words, cwd=folder, stdout=file, stderr=file)
    wait(lambda: list(study.rglob("seed-9/.lock")) or old.poll() is not None)
    (lock,) = study.rglob("seed-9/.lock")
    worker = json.loads(lock.read_text())["pid"]
    os.kill(worker, signal.SIGSTOP)
    write_study(folder, seeds=[9])
    driver, log = start(folder, "collect")
    wait(lambda: f"is trained by process {worker}" in log.read_text() or driver.poll() is not None)
    os.kill(worker, signal.SIGCONT)
    assert driver.wait(SLOW) == 0, log.read_text()
    new = records(folder)
    assert old.wait(SLOW) == 1
    assert records(folder) == new
    table = json.loads((study / "records.json").read_text())
    assert [record["run"]["training"]["steps"] for record in table] == [40] * 4
    refused = "is not trained: the configuration of the study changed since the job started"
    assert old_log.read_text().count(refused) == 4
