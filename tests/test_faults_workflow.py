"""The faults of whole studies by their numbers, 14 to 25, each caused for real in the workflow."""

import html
import json
import os
import shutil
import signal

import pandas as pd
import pytest
import yaml

from analysis import recommendation, verdicts
from analysis.figures import draw
from analysis.report import report
from analysis.results import Results
from analysis.scores import estimates
from experiments import layout
from tests.conftest import TINY, write_folder
from tests.tables import NOTHING_MEASURED
from tests.test_interruptions import SLOW, wait
from tests.workflow import copy_tree, records, snakemake, start

# Runs that fail: faults 14 and 19

TROUBLE = """
import os, signal, torch
from torch import nn

class Good(nn.Module):
    calls = 0

    def forward(self, logits, target):
        self.calls += 1
        if self.calls > 3 and os.path.exists(type(self).__name__):
            self.trouble()
        return (logits.sigmoid() - target).square().mean()

class FillsMemory(Good):
    def trouble(self):
        self.list = [0] * 2**58

class FillsTensors(Good):
    def trouble(self):
        torch.zeros(2**55)

class IsKilled(Good):
    def trouble(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""
REASONS = {
    "fills_memory": "out of memory: MemoryError",
    "fills_tensors": "DefaultCPUAllocator: can't allocate memory",
    "is_killed": "signal 9 (SIGKILL; out of memory?)",
}
"""Loss -> words of the reason of its failed run."""


class Troubled:
    """A study with a damaged image, losses without end, and a worker that is killed.

    first: the end of the call and its output; records: run -> its record after it.
    """

    def __init__(self, folder):
        self.folder = copy_tree(folder)
        for name in ("sound", "damaged"):
            write_folder(folder / name, 12)
        self.image = folder / "damaged" / "images" / "3.png"
        self.whole = self.image.read_bytes()
        self.image.write_bytes(self.whole[:100])
        use = {"fills_memory": "FillsMemory", "fills_tensors": "FillsTensors"}
        use |= {"is_killed": "IsKilled"}
        for name in use.values():  # a file that lets the loss fail
            (folder / name).touch()
        (folder / "brought.py").write_text(TROUBLE)
        sizes = {"train": 4, "val": 2, "test": 2}
        study = TINY | {
            "datasets": {name: {"folder": name, **sizes} for name in ("sound", "damaged")},
            "losses": {"dice": {}, "cross_entropy": {}}
            | {name: {"use": f"brought:{loss}"} for name, loss in use.items()},
            "experiments": {"noise": {"knob": "flips", "values": [0]}},
            "training": TINY["training"] | {"steps": 60},
            "seeds": [0],
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        driver, log = start(folder, "collect")
        wait(lambda: self.kill_worker_of("dice") or driver.poll() is not None)
        self.status = driver.wait(SLOW)
        self.said, self.records = log.read_text(), records(folder)

    def kill_worker_of(self, loss):
        """Kill the process that trains a run as the system does if memory is short."""
        lock = self.folder / "results/tiny/runs/sound/none" / loss / "lr-0.001/seed-0/.lock"
        if lock.exists():
            os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        return lock.exists()


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    return Troubled(tmp_path_factory.mktemp("troubled"))


def loss_of(path):
    return path.split("/")[2]


def test_fault_14_other_datasets_go_on_when_an_image_cannot_be_decoded(troubled):
    assert troubled.status != 0
    assert "damaged/images/3.png: cannot be read as an image" in troubled.said
    assert {path.split("/")[0] for path in troubled.records} == {"sound"}
    assert len(troubled.records) == 5


def test_fault_19_a_run_without_memory_or_with_a_killed_worker_says_so_and_harms_no_other(troubled):
    for path, record in troubled.records.items():
        loss = loss_of(path)
        assert record["status"] == ("failed" if loss in REASONS else "ok"), record
        assert REASONS.get(loss, "") in record.get("reason", ""), record
        if loss in REASONS:
            assert f"sound none {loss} seed 0: failed ({record['reason'][:9]}" in troubled.said
    killed = "sound none dice seed 0 ended by signal 9 (SIGKILL; out of memory?); it is repeated"
    assert troubled.said.count(killed) == 1


def test_fault_19_the_next_call_tries_exactly_the_failed_runs_again(troubled):
    folder = troubled.folder
    troubled.image.write_bytes(troubled.whole)
    (folder / "FillsMemory").unlink()
    (folder / "FillsTensors").unlink()
    said = snakemake(folder, "collect")
    after = records(folder)
    assert len(after) == 10
    again = {path for path, record in troubled.records.items() if after[path] != record}
    assert {loss_of(path) for path in again} == REASONS.keys()
    failed = {path for path, record in after.items() if record["status"] == "failed"}
    assert {loss_of(path) for path in failed} == {"is_killed"}
    assert said.count("1 runs failed; the next call tries them again") == 2
    table = pd.read_csv(folder / "results" / "tiny" / "runs.csv")
    assert set(table.loc[table["status"] == "failed", "loss"]) == {"is_killed"}
    assert {"train_sound", "train_damaged"} <= set(snakemake(folder, "collect", "-n").split())


def test_fault_19_the_report_names_the_reason_of_a_failed_run(troubled, tmp_path, monkeypatch):
    monkeypatch.chdir(troubled.folder)
    monkeypatch.syspath_prepend(troubled.folder)
    for name in (layout.CONFIG, layout.RUNS, layout.RECORDS, layout.IMAGE_SOURCES):
        shutil.copy(f"results/tiny/{name}", tmp_path)
    results = Results.open(tmp_path)
    NOTHING_MEASURED.to_csv(tmp_path / layout.MECHANISM, index=False)
    results.table.head(0).to_csv(tmp_path / layout.CONTROLS, index=False)
    pd.DataFrame(columns=["dataset", "seed"]).to_csv(tmp_path / layout.STRESSES, index=False)
    estimates.run(results)
    verdicts.run(results)
    recommendation.run(results)
    draw.run(results, "ranking")
    (tmp_path / layout.CONTACT).mkdir()
    (tmp_path / layout.CONTACT / layout.CAPTIONS).write_text("{}")
    line = f"<li>is_killed: {REASONS['is_killed']} (2 runs)</li>"
    assert line in html.unescape(report.render(results))
