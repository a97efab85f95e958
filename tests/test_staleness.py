"""A change of configuration, code, data or versions is seen, whatever Snakemake remembers."""

import contextlib
import json
import os
import shutil
import signal
import time

import pandas as pd
import pytest
import yaml

from tests.conftest import TINY, write_folder
from tests.workflow import copy_tree, python, records, snakemake, start

LOSS = """
import os, signal
from torch import nn
import helping

class Mine(nn.Module):
    calls = 0

    def forward(self, logits, target):
        self.calls += 1
        if self.calls > 3 and os.path.exists("kill"):  # in training only
            os.kill(os.getpid(), signal.SIGKILL)
        return helping.SCALE * (logits.sigmoid() - target).square().mean()
"""


STALE = """
import json, yaml
from experiments.plan.study import Study
from experiments.runs.validity import State, validity

study = Study(yaml.safe_load(open("study.yaml")))
states = {run.path: (run.loss, validity(study.workspace, run)) for run in study.runs}
print(json.dumps([loss for loss, found in states.values() if found.state is not State.VALID]))
"""


def small(**changes):
    """Four runs: two losses on two cells, one seed, on images of a folder."""
    study = {
        **TINY,
        "datasets": {"own": {"folder": "images", "train": 4, "val": 2, "test": 2}},
        "experiments": {"noise": TINY["experiments"]["noise"]},
        "losses": {"dice": {}, "mine": {"use": "brought:Mine"}},
        "reference": "dice",
        "seeds": [0],
    }
    return {**study, **changes}


def write_study(folder, **changes):
    (folder / "study.yaml").write_text(yaml.safe_dump(small(**changes)))


def made(folder):
    copy_tree(folder)
    write_folder(folder / "images", 12)
    (folder / "brought.py").write_text(LOSS)
    (folder / "helping.py").write_text("SCALE = 1\n")
    write_study(folder)
    snakemake(folder, "collect")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that is finished up to its table."""
    return made(tmp_path_factory.mktemp("finished"))


@contextlib.contextmanager
def replaced(path, text):
    """Give a file another text and its old time, as `cp -p`, `rsync -t` and archives do."""
    before, times = path.read_bytes(), path.stat()
    for content in (text.encode() if isinstance(text, str) else text, before):
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if content is not before:
            yield


@contextlib.contextmanager
def configured(folder, **changes):
    """Another configuration, after Snakemake's memory is lost."""
    shutil.rmtree(folder / ".snakemake")
    write_study(folder, **changes)
    yield
    write_study(folder)


def other_steps(folder):
    return configured(folder, training=TINY["training"] | {"steps": 7})


def other_size(folder):
    return configured(folder, image_size=40)


def edited_loss(folder):
    return replaced(folder / "brought.py", LOSS.replace("square", "abs"))


def edited_loss_and_no_memory(folder):
    shutil.rmtree(folder / ".snakemake")
    return edited_loss(folder)


def edited_module_of_the_loss(folder):
    return replaced(folder / "helping.py", "SCALE = 2\n")


def edited_after_a_clock_that_was_ahead(folder):
    later = time.time() + 86400
    for path in (folder / "results").rglob("*"):
        os.utime(path, (later, later))
    snakemake(folder, "collect")  # other times of the data make a check necessary, and nothing else
    return edited_loss(folder)


@contextlib.contextmanager
def other_torch(folder):
    """A newer torch, as far as its metadata go."""
    package = folder / "torch-99.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99\n")
    yield
    shutil.rmtree(package)


CHANGES = {
    other_steps: {"dice", "mine"},
    other_size: {"dice", "mine"},
    edited_loss: {"mine"},
    edited_loss_and_no_memory: {"mine"},
    edited_module_of_the_loss: {"mine"},
    edited_after_a_clock_that_was_ahead: {"mine"},
    other_torch: {"dice", "mine"},
}
"""Change -> the losses with runs that are no longer valid."""


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_seen_and_leaves_the_other_runs_valid(finished, change):
    assert "Nothing to be done" in snakemake(finished, "collect")
    with change(finished):
        assert "train_own" in snakemake(finished, "collect", "-n")
        assert set(json.loads(python(finished, STALE))) == CHANGES[change]
    assert "Nothing to be done" in snakemake(finished, "collect")


def test_fault_25_an_image_that_is_overwritten_in_place_is_other_data(finished):
    images = finished / "images" / "images"
    before = records(finished)
    with replaced(images / "0.png", (images / "1.png").read_bytes()):
        snakemake(finished, "collect")
        after = records(finished)
    assert len(before) == 4
    assert all(before[path]["data"] != after[path]["data"] for path in before)
    snakemake(finished, "collect")
    assert {p: r["weights"] for p, r in records(finished).items()} == {
        p: r["weights"] for p, r in before.items()
    }


def test_fault_25_stressed_images_that_are_changed_are_made_again(finished):
    before = records(finished)
    image = next((finished / "results" / "tiny" / "data").rglob("images/*.png"))
    original = image.read_bytes()
    image.write_bytes(next(p for p in image.parent.iterdir() if p != image).read_bytes())
    said = snakemake(finished, "verify", ok=False)
    assert "files changed or are missing" in said
    snakemake(finished, "collect")
    assert image.read_bytes() == original
    assert records(finished) == before


@pytest.mark.parametrize("edit", ["loss", "steps"])
@pytest.mark.parametrize("end", ["a killed worker", "SIGTERM to all"])
def test_fault_25_no_old_numbers_after_an_edit_and_an_interrupted_call(tmp_path, edit, end):
    folder = made(tmp_path)
    if edit == "loss":
        (folder / "helping.py").write_text("SCALE = 100\n")
    else:
        write_study(folder, training=TINY["training"] | {"steps": 400})
    if end == "a killed worker":
        (folder / "kill").touch()
        snakemake(folder, "collect")
        failed = [r for r in records(folder).values() if r["status"] == "failed"]
        assert [r["reason"].startswith("signal 9") for r in failed] == [True, True]
        (folder / "kill").unlink()
    else:
        driver, log = start(folder, "collect")
        while " to train" not in log.read_text() and driver.poll() is None:
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(driver.pid, signal.SIGTERM)
        assert driver.wait(5) != 0
    said = snakemake(folder, "collect")
    assert "Nothing to be done" not in said
    after = records(folder)
    table = pd.read_csv(folder / "results" / "tiny" / "runs.csv")
    assert set(table["status"]) == {"ok"}
    if edit == "loss":
        losses = [r["curve"][0]["loss"] for r in after.values() if r["run"]["loss"] == "mine"]
        assert min(losses) > 1
    else:
        assert {r["run"]["training"]["steps"] for r in after.values()} == {400}
    assert "Nothing to be done" in snakemake(folder, "collect")
