"""The whole workflow on other studies: real images, several classes, training axes."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from analysis.verdicts import POOLED
from tests.conftest import write_folder, write_halves
from tests.workflow import SHARED, copy_tree, records, snakemake


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
            "hold": {"mosaic": 2},
            "values": {"wbc": [0.57, 0.15], "crackforest": [0.109, 0.028]},
        },
        "object_size": {"levels": {"as it is": {}, "side by side": {"size": "mixed"}}},
    }
    tiny["seeds"] = [0]
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder, "--config", f"mirror={SHARED}")
    table = pd.read_csv(folder / "results" / "tiny" / "verdicts.csv")
    assert set(table["dataset"]) == {"constructed", "wbc", "crackforest", POOLED}
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


def small(config, name):
    """One experiment of two levels, one seed."""
    config["study"] = name
    config["experiments"] = {"noise": config["experiments"]["noise"]}
    config["seeds"] = 1
    return config


def test_training_axes_end_in_a_report_that_shows_them(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    small(tiny, "tiny")
    options = tiny["training"].pop("model_options")
    tiny["training"]["steps"] = [6, 9]
    tiny["models"] = {
        "small": {"model_options": options},
        "other": {"encoder": "resnet18", "model_options": options, "optimizer": "SGD"},
    }
    tiny["experiments"]["budget"] = {"knob": "steps", "values": [3, 6]}
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder)
    results = folder / "results" / "tiny"
    table = pd.read_csv(results / "runs.csv", dtype=str)
    assert set(table["steps"]) == {"3", "6", "9"}
    assert set(table["model"]) == {"small", "other"}
    assert set(table["status"]) == {"ok"}
    verdicts = pd.read_csv(results / "verdicts.csv")
    settings = {f"steps {s}, model {m}" for s in (6, 9) for m in ("small", "other")}
    assert set(verdicts.loc[verdicts["level"] == "controlled", "setting"]) == settings
    estimates = pd.read_csv(results / "estimates.csv")
    assert set(estimates["setting"]) >= settings
    html = (results / "report.html").read_text()
    assert all(setting in html for setting in settings)
    assert "axes_controlled" in html
    assert (results / "figures" / "budget_controlled.pdf").exists()


def test_images_that_are_corrected_in_place_are_prepared_and_trained_again(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    write_folder(folder / "own", 12)
    small(tiny, "tiny")["datasets"] = {"own": {"folder": "own", "train": 8, "val": 2, "test": 2}}
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder, "collect")
    before = records(folder)
    assert "Nothing to be done" in snakemake(folder, "collect")
    for path in (folder / "own" / "masks").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 3, 0)).save(path)
    assert " 4 to train" in snakemake(folder, "collect")
    after = records(folder)
    assert all(after[path]["data"] != before[path]["data"] for path in before)


def test_a_configuration_of_any_size_reaches_every_job(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    small(tiny, "tiny")
    padded = {"use": "tests_loss:Padded", "text": "x" * 140_000}
    tiny["losses"] = {"cross_entropy": {}, "padded": padded}
    (folder / "tests_loss.py").write_text(
        "from losses import DiceLoss\n\n\nclass Padded(DiceLoss):\n"
        "    def __init__(self, text):\n        super().__init__()\n"
    )
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    words = "training={steps: 3}", "seeds=2"
    snakemake(folder, "collect", "--config", *words)
    config = json.loads((folder / "results" / "tiny" / "config.json").read_text())
    assert len(config["losses"]["padded"]["text"]) == 140_000
    found = records(folder)
    assert len(found) == 8
    assert {record["run"]["training"]["steps"] for record in found.values()} == {3}


def test_a_key_twice_is_refused_before_any_job(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    text = yaml.safe_dump(tiny) + "seeds: [5]\n"
    (folder / "study.yaml").write_text(text)
    assert "duplicate key 'seeds'" in snakemake(folder, ok=False)
    assert not (folder / "results").exists()
