"""Two clones of the project with the same results folder, run at the same time."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.slurm.watch import Watch
from tests.workflow import copy_tree, snakemake

RUNS = 8


@pytest.fixture
def clones(tiny, tmp_path):
    """Two trees with a study of eight runs."""
    study = copy.deepcopy(tiny)
    study["experiments"] = {"noise": study["experiments"]["noise"]}
    study["training"]["steps"] = 60
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        copy_tree(folder)
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folders[0] / "results").mkdir()
    (folders[1] / "results").symlink_to(folders[0] / "results")
    return folders


def start(folder):
    snake = Path(sys.executable).with_name("snakemake")
    words = (snake, "train_controlled", "--cores", "1", "--configfile", "study.yaml")
    with (folder / "driver.log").open("w") as log:
        return subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)


def test_two_clones_at_once_train_every_run_once(clones):
    with Watch(clones[0]) as watch:
        drivers = [start(folder) for folder in clones]
        codes = [driver.wait(600) for driver in drivers]
    assert codes == [0, 0], [(folder / "driver.log").read_text()[-3000:] for folder in clones]
    assert watch.trained(times=1) == RUNS
    assert len(watch.seen) == RUNS
    for folder in clones:
        assert "Nothing to be done" in snakemake(folder, "train_controlled")
