"""`snakemake card`: a loss is added to a finished study, which stays as it was."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from experiments.layout import REPORT
from tests.conftest import TINY
from tests.workflow import ROOT, copy_tree, records, snakemake

WITH_BUDGET = TINY | {
    "experiments": TINY["experiments"] | {"budget": {"knob": "steps", "values": [3, 6]}}
}
"""The tiny study, and an experiment that sets the training steps."""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A tiny study that has not begun, and a file with losses next to it."""
    folder = copy_tree(tmp_path_factory.mktemp("study"))
    (folder / "study.yaml").write_text(yaml.safe_dump(WITH_BUDGET))
    shutil.copy(ROOT / "tests" / "user_losses.py", folder / "some_module.py")
    return folder


def files(folder):
    """Path -> size and time of every file of a study, without its locks."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("[!.]*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "loss: the setting is missing"),
        (["loss=nowhere:MyLoss"], "there is no module 'nowhere'"),
        (["loss=dice"], "loss: 'dice' is a loss of the study 'tiny'; its card is /"),
        (["loss=dise"], "did you mean 'dice'"),
        (["loss={'sum': {'dice': 1}}"], "allowed: my_module:MyLoss"),
    ],
)
def test_a_loss_that_cannot_be_added_is_refused_before_any_job(planned, words, reason):
    said = snakemake(planned, "card", *(["--config", *words] if words else []), ok=False)
    assert reason in said
    assert not (planned / "results").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("NoSuchLoss", "has no 'NoSuchLoss'"), ("NoGradient", "and no gradient")],
)
def test_a_loss_that_cannot_be_trained_is_refused_by_the_check(planned, name, reason):
    said = snakemake(planned, "card", "--config", f"loss=some_module:{name}", ok=False)
    assert reason in said
    assert "to train" not in said
    assert "Traceback" not in said


def test_a_card_trains_the_added_loss_alone_and_ends_in_its_address(planned):
    snakemake(planned)
    base = planned / "results" / "tiny"
    before, trained = files(base), records(planned)
    loss = 'loss={"use": "some_module:MyLoss", "weight": "2"}'
    said = snakemake(planned, "card", "--config", loss)
    study = planned / "results" / "tiny-my_loss"
    assert " 12 to train" in said
    last = [line for line in said.splitlines() if line.startswith("dicebench: ")][-1]
    assert last == f"dicebench: card: {study / REPORT}#loss-my_loss"
    assert files(base) == before
    config = json.loads((study / "config.json").read_text())
    assert config["reference"] == ["cross_entropy", "dice"]
    assert "budget" not in config["experiments"]
    own = {p.parent: json.loads(p.read_text()) for p in study.rglob("run.json")}
    others = {
        str(p.relative_to(study / "runs")): r for p, r in own.items() if "my_loss" not in p.parts
    }
    assert others
    assert all(trained[path] == record for path, record in others.items())
    html = (study / REPORT).read_text()
    assert 'id="loss-my_loss"' in html
    assert "leaves out the experiment budget" in html
    against = pd.read_csv(study / "verdicts.csv").query("loss == 'my_loss'")["against"]
    assert {"cross_entropy", "dice"} <= set(against.dropna())
    assert "Nothing to be done" in snakemake(planned)
    assert "to train" not in snakemake(planned, "card", "--config", loss)
