"""The whole workflow on small studies, from configuration to report, in a copy of the tree."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis.verdicts import KEY
from tests.conftest import TINY, write_halves

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "losses", "experiments", "analysis", "profiles")
SHARED = ROOT.parent / "shared" / "data"


def copy_tree(target):
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return target


def snakemake(folder, *words, ok=True):
    """Run Snakemake in a folder; returns all it said."""
    snake = Path(sys.executable).with_name("snakemake")
    env = os.environ | {"PATH": f"{snake.parent}{os.pathsep}{os.environ['PATH']}"}
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        [snake, *words, "--cores", "2", "--configfile", "study.yaml"],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode == 0) == ok, done.stdout[-6000:]
    return done.stdout


def records(folder):
    """Path of each run's record below runs/ -> when it was written."""
    runs = folder / "results" / "tiny" / "runs"
    return {
        str(p.parent.relative_to(runs)): json.loads(p.read_text()) for p in runs.rglob("run.json")
    }


def same_but_time(one, two):
    return all(one[k] == two[k] for k in one.keys() | two.keys() if k not in ("seconds", "written"))


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A finished tiny study."""
    folder = copy_tree(tmp_path_factory.mktemp("study"))
    (folder / "study.yaml").write_text(yaml.safe_dump(TINY))
    said = snakemake(folder)
    return folder, said


CLAIMS = {"definition", "imbalance", "boundary", "object_size", "noise", "threshold"}


def test_a_study_ends_in_a_report_with_a_verdict_for_each_claim(studied):
    folder, said = studied
    results = folder / "results" / "tiny"
    table = pd.read_csv(results / "verdicts.csv")
    assert set(table["claim"]) == CLAIMS
    assert set(table["level"]) == {"mechanism", "controlled"}
    assert set(table["verdict"]) <= {"supported", "contradicted", "undecided"}
    trained = table[table["level"] != "mechanism"]
    assert (trained["planned"] == 2).all()
    assert not trained.duplicated(KEY).any()
    figures = {p.name for p in (results / "figures").iterdir()}
    for name in ("imbalance", "object_size", "boundary", "noise"):
        for end in (".svg", ".pdf", ".png", "_examples.png"):
            stem = f"{name}_controlled"
            assert f"{stem}{end}" in figures
    html = (results / "report.html").read_text()
    assert html.count('class="card"') == len(CLAIMS)
    assert all(f'id="{claim}"' in html for claim in CLAIMS)
    assert "https://" not in html.split("<body>")[0]
    assert 'src="http' not in html
    assert len(records(folder)) == 24
    assert "[24/24]" in said
    assert "[24/24]" in (results / "logs" / "train" / "controlled.log").read_text()


def test_a_paper_is_a_folder_of_figures_tables_and_captions(studied):
    folder, _ = studied
    snakemake(folder, "paper")
    paper = folder / "results" / "tiny" / "paper"
    assert (paper / "figures" / "verdicts.pdf").read_bytes().startswith(b"%PDF")
    assert "\\toprule" in (paper / "tables" / "verdicts.tex").read_text()
    assert len(pd.read_csv(paper / "tables" / "verdicts.csv")) > 0
    assert (paper / "captions.tex").read_text().count("\\caption{") > 10


def test_a_second_call_finds_nothing_to_do(studied):
    folder, _ = studied
    assert "Nothing to be done" in snakemake(folder)


def test_one_deleted_record_is_one_run_trained_with_the_same_bytes(studied):
    folder, _ = studied
    before = records(folder)
    path = "controlled/flips-0.3/dice/lr-0.001/seed-1"
    run = folder / "results" / "tiny" / "runs" / path
    files = {p.name: p.read_bytes() for p in run.iterdir() if p.name != "run.json"}
    (run / "run.json").unlink()
    said = snakemake(folder)
    assert "training 1 runs" in said
    after = records(folder)
    assert all(after[p] == before[p] for p in before if p != path)
    assert same_but_time(after[path], before[path])
    assert {n: (run / n).read_bytes() for n in files} == files


def test_a_loss_of_ones_own_trains_alone_and_stands_in_every_figure(studied):
    folder, _ = studied
    shutil.copy(ROOT / "tests" / "user_losses.py", folder / "some_module.py")
    config = yaml.safe_load((folder / "study.yaml").read_text())
    config["losses"]["my_loss"] = {"use": "some_module:MyLoss", "weight": 2}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    before = records(folder)
    said = snakemake(folder)
    after = records(folder)
    new = set(after) - set(before)
    assert "training 12 runs" in said
    assert all("/my_loss/" in path for path in new)
    assert len(new) == 12
    assert all(after[path] == before[path] for path in before)
    assert "my_loss" in set(pd.read_csv(folder / "results" / "tiny" / "verdicts.csv")["loss"])
    figures = folder / "results" / "tiny" / "figures"
    for figure in figures.glob("*.svg"):
        if not figure.name.startswith("threshold_"):  # of cross-entropy alone
            assert "my_loss" in figure.read_text(), figure
    assert "Nothing to be done" in snakemake(folder)


def test_a_level_more_is_trained_alone(studied):
    folder, _ = studied
    config = yaml.safe_load((folder / "study.yaml").read_text())
    config["experiments"]["noise"]["values"] = [0, 0.1, 0.3]
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    before = records(folder)
    runs = len(config["losses"]) * len(config["seeds"])
    assert f"training {runs} runs" in snakemake(folder, "results/tiny/runs.csv")
    after = records(folder)
    assert all("/flips-0.1/" in path for path in set(after) - set(before))
    assert all(after[path] == before[path] for path in before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": [1, 1]}, "seeds: 1 stands there more than once"),
        ({"losses": {"dise": {}}}, "did you mean 'dice'"),
        ({"datasets": {"own": {"folder": "nowhere"}}}, "'nowhere' is not allowed"),
    ],
)
def test_a_bad_configuration_is_refused_before_any_job(tiny, tmp_path, change, words):
    folder = copy_tree(tmp_path)
    (folder / "study.yaml").write_text(yaml.safe_dump({**tiny, **change}))
    assert words in snakemake(folder, ok=False)
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": {"dice": {"smoth": 1}}}, ["losses.dice", "smoth"]),
        ({"training": {"encoder": "resnet1"}}, ["encoder 'resnet1'", "Encoders"]),
        ({"training": {"architecture": "Unett"}}, ["'Unett'", "did you mean 'Unet'"]),
        (
            {"losses": {"l": {"use": "tests.user_losses:NotScalar"}}},
            ["losses.l", "one finite number"],
        ),
        ({"losses": {"l": {"use": "tests.user_losses:Raises"}}}, ["losses.l", "no such thing"]),
        ({"losses": {"l": {"use": "tests.user_losses:Nothing"}}}, ["losses.l", "'Nothing'"]),
    ],
)
def test_what_only_libraries_can_tell_is_refused_before_training(tiny, change, words):
    from experiments.check import check
    from experiments.plan import Study

    with pytest.raises(ValueError) as error:
        check(Study({**tiny, **change}))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("classes", [1, 3])
def test_every_loss_of_the_suite_passes_the_check(tiny, classes):
    from experiments.check import check_losses
    from experiments.plan import Study
    from losses import LOSSES

    check_losses(Study({**tiny, "losses": {key: {} for key in LOSSES}}), classes)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images beside the checkout")
def test_real_images_from_a_mirror_end_in_the_same_report(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    tiny["datasets"] = {
        "wbc": {"target": "nucleus", "train": 8, "val": 4, "test": 4},
        "crackforest": {"train": 8, "val": 4, "test": 4},
    }
    tiny["experiments"] |= {
        "imbalance": {
            "knob": "fraction",
            "values": {"wbc": [0.4, 0.2], "crackforest": [0.1, 0.02]},
        },
        "object_size": {"levels": {"as it is": {}, "side by side": {"size": "mixed"}}},
    }
    tiny["seeds"] = [0]
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder, "--config", f"mirror={SHARED}")
    table = pd.read_csv(folder / "results" / "tiny" / "verdicts.csv")
    assert set(table["dataset"]) == {"constructed", "wbc", "crackforest", "all datasets"}
    assert set(table["level"]) == {"mechanism", "field"}
    assert (folder / "results" / "tiny" / "report.html").exists()


def test_several_classes_end_in_a_report_that_tells_them_apart(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    write_halves(folder / "halves")
    sizes = {"train": 8, "val": 2, "test": 2}
    tiny["datasets"] = {
        "halves": {"folder": "halves", "classes": {"left": 4, "right": 9}, **sizes},
        "one_half": {"folder": "halves", "classes": {"left": 4}, **sizes},
    }
    tiny["experiments"] = {"blur": {"knob": "blur", "values": [0, 1]}}
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder)
    results = folder / "results" / "tiny"
    table = pd.read_csv(results / "runs.csv")
    assert set(table.loc[table["dataset"] == "halves", "class"]) == {"left", "right"}
    assert set(table.loc[table["dataset"] == "one_half", "class"]) == {"left"}
    assert (results / "figures" / "classes_halves.pdf").exists()
    assert not (results / "figures" / "classes_one_half.pdf").exists()
    html = (results / "report.html").read_text()
    assert "Each class by itself" in html
    assert "Scores by class" in html
