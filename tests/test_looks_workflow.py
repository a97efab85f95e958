"""Adaptive seeds in the workflow: looks follow decisions, after any interruption too."""

import json
import signal
import time

import pandas as pd
import pytest
import yaml

from tests.conftest import TINY
from tests.workflow import copy_tree, records, snakemake, start, step

STUDY = {
    **TINY,
    "losses": {"cross_entropy": {}, "dice": {}, "focal": {}},
    "experiments": {name: TINY["experiments"][name] for name in ("imbalance", "noise")},
    "seeds": {"looks": [2, 3, 4]},
    "training": TINY["training"] | {"steps": 2},
    "image_size": 16,
}
FORCED = """

def primary(study, table):
    p = {p}
    pairs = measured(study, table)
    def forced(row, one):
        estimated = statistics.Estimate(0.25, 0.05, 1, 2, (statistics.Part(0.05**2, 1, 2),))
        one = replace(one, estimated=estimated, enough=True)
        return replace(row, p_corrected=p[row.claim]), one
    return [forced(*pair) for pair in pairs]
"""


def force(folder, **p):
    """Replace the corrected p of the primary verdicts in a copy of the code."""
    path = folder / "analysis" / "decision.py"
    text = path.read_text().partition("\n\ndef primary(study, table):")[0]
    text = text.replace("def primary(", "def measured(")
    text = text.replace("import json\n", "import json\nfrom dataclasses import replace\n", 1)
    text = text.replace("scores import tuning", "scores import statistics, tuning")
    path.write_text(text.rstrip() + "\n" + FORCED.replace("{p}", repr(p)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tree with a study whose noise verdict is decided at look 1, all others at no look."""
    folder = copy_tree(tmp_path_factory.mktemp("looks"))
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    force(folder, noise=0.001, imbalance=0.9, threshold=0.001)
    return folder


def decisions(folder):
    paths = sorted((folder / "results" / "tiny" / "looks").glob("look-*.json"))
    return [json.loads(path.read_text()) for path in paths]


def seeds(folder):
    """(stress, loss) -> number of records."""
    keys = pd.Series(["/".join(path.split("/")[1:3]) for path in records(folder)])
    return keys.value_counts().to_dict()


def test_a_call_that_is_killed_between_two_looks_goes_on(folder):
    driver, log = start(folder, "collect")
    while not decisions(folder) and driver.poll() is None:
        time.sleep(0.02)
    assert driver.poll() is None, log.read_text()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (first,) = decisions(folder)
    assert first["next"]
    done = records(folder)
    assert "look_2" in snakemake(folder, "-n", "verdicts")
    said = snakemake(folder, "verdicts")
    assert "the seeds of the last look are spent" in said
    assert records(folder).items() >= done.items()


def test_undecided_verdicts_get_seeds_and_others_none(folder):
    found = seeds(folder)
    assert [d["look"] for d in decisions(folder)] == [1, 2, 3]
    chosen = {cell["stress"] for cell in decisions(folder)[0]["next"]}
    assert chosen
    assert not any(stress.startswith("flips") for stress in chosen)
    for name, number in found.items():
        stress, loss = name.split("/")
        assert number == (4 if stress in chosen and loss != "focal" else 2), name
    table = pd.read_csv(folder / "results" / "tiny" / "verdicts.csv")
    main = table[(table["loss"] == "dice") & (table["threshold"] == "0.5")].set_index("claim")
    assert main.loc["noise", "look"] == 1
    assert pd.isna(main.loc["imbalance", "look"])
    assert main.loc["imbalance", "verdict"] == "undecided"


def test_a_second_call_finds_nothing_to_do(folder):
    assert "Nothing to be done" in snakemake(folder, "verdicts")


def test_another_decision_takes_the_runs_out_of_the_study_and_trains_nothing(folder):
    before = records(folder)
    force(folder, noise=0.001, imbalance=0.001, threshold=0.001)
    said = snakemake(folder, "collect")
    assert records(folder) == before
    assert " 1 to train" not in said
    assert "all primary verdicts are decided" in said
    table = pd.read_csv(folder / "results" / "tiny" / "runs.csv")
    assert set(table["seed"]) == {0, 1}


def test_a_look_out_of_turn_is_refused(folder):
    words = "analysis", "look", "results/tiny"
    assert "'9' is not allowed; allowed: 1, 2, 3" in step(folder, *words, "9", ok=False)
