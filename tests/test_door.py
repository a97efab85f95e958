"""The command line of both packages."""

import json

import pytest

from experiments import door
from tests import layouts
from tests.workflow import step


def test_a_step_without_a_study_names_the_missing_file(tmp_path):
    for package, name in (("experiments", "check"), ("analysis", "figures")):
        words = step(tmp_path, package, name, "results/none", ok=False)
        assert "results/none/config.json" in words
        assert "Traceback" not in words
        assert not (tmp_path / "results").exists()


def test_an_invalid_setting_is_a_message_without_a_traceback(tiny, tmp_path):
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    tiny["training"]["encoder"] = "resnet1"
    (folder / "config.json").write_text(json.dumps(tiny))
    words = step(tmp_path, "experiments", "check", "results/tiny", ok=False)
    assert "resnet1" in words
    assert "Traceback" not in words
    assert "resnet1" in (folder / "logs" / "check.log").read_text()


def test_a_hostile_configuration_is_a_message_and_runs_nothing(tiny, tmp_path):
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    tiny |= {"study": "-h", "datasets": {"$(touch pwned)": {"source": "controlled"}}}
    tiny["experiments"] = {"`touch pwned`": {"levels": {"x": {}}}}
    tiny["losses"] = {
        "; touch pwned": {"use": "dice"},
        "run": {"use": "subprocess:Popen", "args": ["touch", "pwned"]},
        "call": {"sum": {"os:system": {"weight": 1, "command": "touch pwned"}}},
    }
    (folder / "config.json").write_text(json.dumps(tiny))
    words = step(tmp_path, "experiments", "prepare", "results/tiny", ok=False)
    for word in ("'-h'", "'$(touch pwned)'", "'`touch pwned`'", "'; touch pwned'"):
        assert f"{word} is not allowed" in words
    for path in ("subprocess:Popen", "os:system"):
        assert f"use: '{path}': the module" in words
    assert "Traceback" not in words
    assert not list(tmp_path.rglob("pwned"))


def test_every_step_has_its_function():
    from analysis.steps import STEPS as analysis
    from experiments.steps import STEPS as experiments

    for path in (*experiments.values(), *analysis.values()):
        assert callable(door.step_function(path)), path


def test_datasets_are_downloaded_by_name(tmp_path, monkeypatch):
    with layouts.serving(tmp_path / "served") as server:
        layouts.serve(server, monkeypatch, "wbc")
        door.download(["wbc", "--root", str(tmp_path / "data")])
    assert (tmp_path / "data" / "wbc" / "dataset.json").exists()
    with pytest.raises(SystemExit):
        door.download(["wbd", "--root", str(tmp_path / "data")])
