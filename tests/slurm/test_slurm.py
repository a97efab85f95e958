"""The tiny study on a real Slurm cluster: everything finishes, and no run is trained twice."""

import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY
from tests.slurm.cluster import cluster, missing, wait
from tests.slurm.settings import NODES
from tests.slurm.watch import Watch
from tests.workflow import copy_tree, snakemake

ABSENT = missing()
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"no Slurm here: {ABSENT}")
slow = pytest.mark.skipif(
    "DICEBENCH_SLURM" not in os.environ, reason="slow; it runs with DICEBENCH_SLURM=1"
)

LIMIT = 900
"""Seconds within which a study must end, on a busy machine too."""
STUDY = {
    **TINY,
    "experiments": {name: TINY["experiments"][name] for name in ("imbalance", "noise")},
    "training": {**TINY["training"], "steps": 60},
    "device": "cpu",
    "runs_per_job": 6,
    "checkpoint": 1,
}
RUNS, JOBS = 16, 3
SNAKEMAKE = (
    *(str(Path(sys.executable).with_name("snakemake")), "--configfile", "study.yaml"),
    *("--profile", "profiles/slurm", "--cores", "2"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"),
)


class Tree:
    """A copy of the project with a study. watch: of the records of its runs."""

    def __init__(self, folder, slurm, study=STUDY):
        self.folder, self.slurm, self.watch = folder, slurm, Watch(folder)
        self.log, self.drivers = folder / "driver.log", []
        self.before = {job.id for job in slurm.jobs()}
        (folder / "study.yaml").write_text(yaml.safe_dump(study))

    def start(self, *words):
        """Start the driver, as the user would."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.slurm.environment['PATH']}"
        with self.log.open("a") as log:
            driver = self.slurm.start(
                *SNAKEMAKE,
                *words,
                cwd=self.folder,
                env={**self.slurm.environment, "PATH": path, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        self.drivers.append(driver)
        return driver

    def end(self, driver):
        """Wait for the end of a driver; it must have succeeded."""
        code = driver.wait(LIMIT)
        assert code == 0, self.log.read_text()[-6000:]

    def jobs(self, step=""):
        """Return the jobs of this study."""
        return [job for job in self.slurm.jobs(step) if job.id not in self.before]

    def says(self, words):
        """Return whether the log of a training job has these words."""
        logs = (self.folder / "results" / "tiny" / "logs" / "train").glob("*.log")
        return any(words in path.read_text() for path in logs)


@pytest.fixture(scope="module")
def slurm():
    with ExitStack() as stack:
        try:
            one = stack.enter_context(cluster())
        except RuntimeError as error:
            if "DICEBENCH_SLURM" in os.environ:
                raise
            pytest.skip(f"Slurm does not start here: {error}")
        yield one


@contextmanager
def study_on(slurm, folder, study=STUDY):
    """Watch a study in a tree; end its drivers and jobs afterwards."""
    tree = Tree(folder, slurm, study)
    with tree.watch:
        try:
            yield tree
        finally:
            for driver in tree.drivers:
                driver.kill()
            slurm.control("scancel", "--full", "--user=root")


@pytest.fixture(scope="module")
def studied(slurm, tmp_path_factory):
    """A whole study. As soon as a training job runs, its node is drained."""
    with study_on(slurm, copy_tree(tmp_path_factory.mktemp("study"))) as tree:
        began = time.monotonic()
        driver = tree.start()
        wait(lambda: slurm.running("train_"), "no training job ran", LIMIT)
        tree.drained = slurm.running("train_")[0]
        slurm.node(tree.drained.node, "drain")
        try:
            tree.end(driver)
        finally:
            slurm.node(tree.drained.node, "resume")
        tree.seconds, tree.slurm_jobs = time.monotonic() - began, tree.jobs()
    return tree


@pytest.fixture
def untrained(studied, tmp_path):
    """The same study, prepared and not trained."""
    folder = tmp_path / "tree"
    shutil.copytree(studied.folder, folder, ignore=shutil.ignore_patterns(".snakemake"))
    results = folder / "results" / "tiny"
    shutil.rmtree(results / "runs")
    for stamp in (results / "done").iterdir():
        if not stamp.name.startswith(("check-", "prepare-")):
            stamp.unlink()
    with study_on(studied.slurm, folder) as tree:
        yield tree


def test_a_study_finishes_while_a_node_is_drained(studied):
    states = {job.step: job.state for job in studied.slurm_jobs}
    parts = {f"train_controlled_part-{i + 1}" for i in range(JOBS)}
    analysis = {step for step in states if step.startswith("analysis_")}
    assert set(states) == {"check", "prepare_controlled", "mechanism", *parts, *analysis}
    assert len(studied.slurm_jobs) == len(states)
    assert set(states.values()) == {"COMPLETED"}
    after = [job for job in studied.slurm_jobs if int(job.id) > int(studied.drained.id)]
    assert {job.node for job in after if job.step in parts} == {*NODES} - {studied.drained.node}
    assert (studied.folder / "results" / "tiny" / "report.html").exists()
    assert studied.watch.trained(times=1) == RUNS
    print(f"{len(studied.slurm_jobs)} jobs, {studied.seconds:.0f} s")


def test_only_training_jobs_have_a_gpu(studied):
    for job in studied.slurm_jobs:
        said = studied.slurm.control("scontrol", "show", "job", job.id)
        trains = job.step.startswith("train_")
        assert ("TresPerJob=gres:gpu:1" in said) == trains, said
        assert f"Partition={'gpu' if trains else 'cpu'}" in said, said


def test_a_study_from_a_cluster_is_finished_for_a_call_without_one(studied):
    assert "Nothing to be done" in snakemake(studied.folder)


def test_a_cancelled_job_is_submitted_again_and_trains_the_missing_runs(untrained):
    slurm, step = untrained.slurm, "train_controlled_part-1"
    driver = untrained.start(step)
    wait(untrained.watch.look, "no run finished", LIMIT)
    (job,) = slurm.running(step)
    slurm.control("scancel", job.id)
    assert len(untrained.watch.look()) < 6
    untrained.end(driver)
    assert [job.state for job in untrained.jobs(step)] == ["CANCELLED", "COMPLETED"]
    assert untrained.watch.trained(times=1) == 6
    assert len(untrained.watch.seen) == 6


def test_after_a_killed_driver_the_same_command_goes_on_next_to_its_jobs(untrained):
    """The old jobs are suspended for a while, so that the new ones meet runs in training."""
    slurm, words = untrained.slurm, ("--config", "runs_per_job=8", "--cores", "1")
    steps = ("train_controlled_part-1", "train_controlled_part-2")
    driver = untrained.start(*steps, *words)
    wait(untrained.watch.look, "no run finished", LIMIT)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    old = slurm.running("train_")
    assert len(old) == 2
    for job in old:
        slurm.control("scontrol", "suspend", job.id)
    driver = untrained.start(*steps, *words)
    wait(lambda: untrained.says("; waiting") or driver.poll() is not None, "no wait", LIMIT)
    assert driver.poll() is None
    for job in old:
        slurm.control("scontrol", "resume", job.id)
    untrained.end(driver)
    assert [job.state for job in untrained.jobs("train_")] == ["COMPLETED"] * 4
    assert untrained.watch.trained(times=1) == RUNS
    assert len(untrained.watch.seen) == RUNS


@slow
def test_a_job_over_its_time_limit_goes_on_from_the_last_checkpoint(slurm, tmp_path):
    step = "train_controlled"
    losses = {"losses": {"dice": {}}, "reference": "dice"}
    study = {**STUDY, **losses, "seeds": [0], "runs_per_job": None}
    study |= {"experiments": {"imbalance": {"levels": {"small": {"size": "small"}}}}}
    study["training"] = {**STUDY["training"], "steps": 9000}  # longer than Slurm waits
    with study_on(slurm, copy_tree(tmp_path), study) as tree:
        driver = tree.start(step)
        runs = tree.folder / "results" / "tiny" / "runs"
        wait(lambda: [*runs.rglob("*.safetensors")], "no checkpoint was written", LIMIT)
        (job,) = slurm.running(step)
        slurm.control("scontrol", "update", f"JobId={job.id}", "EndTime=now+1")
        tree.end(driver)
        assert [job.state for job in tree.jobs(step)] == ["TIMEOUT", "COMPLETED"]
    assert tree.says("resumes at step")
    assert tree.watch.trained(times=1) == 1
