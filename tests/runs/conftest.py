import json
from pathlib import Path

import pytest

from experiments.data import prepare
from experiments.plan.study import Study
from experiments.runs import provenance, worker
from experiments.runs.validity import validity

collect_ignore = ["pretended.py", "touches_cuda.py"]
"""Modules that change the process which imports them: for the workers' server only."""


@pytest.fixture
def short(tiny):
    """Two cells by two losses, one seed."""
    tiny["experiments"] = {"noise": tiny["experiments"]["noise"]}
    tiny["seeds"] = [0]
    return tiny


def prepared_study(config, stresses=None):
    """The study of a configuration, with the data of its cells; any loss may be its reference."""
    study = Study({"reference": next(iter(config["losses"]))} | config)
    for dataset in study.datasets.values():
        for name in stresses or study.stresses(dataset.name):
            for seed in study.seeds:
                prepare.write_cell(study, dataset, name, seed)
    return study


def everything_but_time(study, run):
    """The record and the files of a run, without times."""
    folder = Path(study.run_folder(run))
    record = json.loads((folder / "run.json").read_text())
    del record["seconds"], record["written"], record["sha256"]
    record.pop("evaluated", None)
    return record, {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "run.json"}


def state(study, run):
    """The state of a run."""
    return validity(study.workspace, run).state


def train_here(study, *runs):
    """Train runs as a worker does, but in this process."""
    for run in runs:
        result = worker.work(study.workspace, run, provenance.code(run.loss_spec))
        assert "status" in result, result
