"""Studies that are compared with a repetition, and packed as an archive."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from experiments.errors import ConfigError
from experiments.origin import archive, calls, compare, datasets, repository
from experiments.plan.study import Study
from experiments.runs import provenance
from experiments.runs.records import read_record, write_record
from tests.crates import problems
from tests.workflow import ROOT, copy_tree, records, snakemake, step

COMMAND = ["snakemake", "--cores", "2"]
MACHINE = {"arch": "x86_64", "cpu": "A", "capability": "AVX2"}
FILES = {"counts.csv": b"image,tp\n0,1\n", "probabilities.png": b"picture"}


def record_of(run, **entries):
    """A run's record as training writes it."""
    record = {
        "fingerprint": run.fingerprint,
        "run": run.description,
        "status": "ok",
        "data": "d",
        "weights": f"w{run.seed}",
        "curve": [{"step": 0, "loss": 1.0}],
        "code": provenance.code(run.loss_spec),
        "versions": {"python": "3.11.7", "torch": "2", "numpy": "2", "matplotlib": "3"},
        "device": "cpu",
        "machine": MACHINE,
        "written": "2026-01-02T03:04:05+00:00",
        "seconds": {"train": 1.0},
    }
    return record | entries


@pytest.fixture
def small(tiny):
    """A configuration of four runs."""
    noise = {"noise": tiny["experiments"]["noise"]}
    return tiny | {"experiments": noise, "losses": {"dice": {}}, "reference": "dice"}


@pytest.fixture
def pair(small, in_tmp):
    """A study and its repetition, with records of equal results."""
    return [finished(small, f"results/{name}") for name in ("tiny", "tiny-again")]


def finished(config, folder):
    study = Study(config, folder)
    for run in study.runs:
        write_record(study.run_folder(run), record_of(run), FILES)
    study.file("config.json").write_text(study.json)
    study.file("runs.csv").write_text("dataset\n")
    written = [read_record(study.run_folder(run)) for run in study.runs]
    study.file("records.json").write_text(json.dumps(written))
    study.file("report.html").write_text("<html>")
    calls.write(study, COMMAND)
    return study


def change(study, files=FILES, **entries):
    """Write the record of the study's second run again with other entries; return its path."""
    run = study.runs[1]
    write_record(study.run_folder(run), record_of(run, **entries), files)
    return run.path


def test_equal_records_are_equal_whatever_their_time(pair):
    change(pair[1], written="2027-01-01", seconds={"train": 9.0}, commit="c")
    compared = compare.compare(*pair)
    assert len(compared) == len(pair[0].runs)
    assert set(compared.values()) == {("equal", "")}
    compare.run(pair[0], pair[1].folder)


DIFFERENT = {
    "weights": {"weights": "other"},
    "counts": {"files": FILES | {"counts.csv": b"image,tp\n0,2\n"}},
    "data": {"data": "other"},
    "curve": {"curve": [{"step": 0, "loss": 1.5}]},
    "status": {"status": "failed", "reason": "signal 11"},
}


@pytest.mark.parametrize("result", DIFFERENT)
def test_another_result_is_different_and_an_error(pair, result):
    path = change(pair[1], **DIFFERENT[result])
    compared = compare.compare(*pair)
    kind, reason = compared.pop(path)
    assert kind == "different"
    assert result in reason
    assert set(compared.values()) == {("equal", "")}
    with pytest.raises(compare.NotEqual, match="1 runs differ, 0 are missing"):
        compare.run(pair[0], pair[1].folder)


NOT_ALIKE = {
    "torch 2 and 3": {"versions": {"python": "3.11.7", "torch": "3", "numpy": "2"}},
    "mine None and 1": {"versions": {"torch": "2", "numpy": "2", "mine": "1"}},
    "device cpu and H100": {"device": "H100"},
    "CPU capability AVX2 and AVX512": {"machine": {"arch": "x86_64", "capability": "AVX512"}},
    "architecture x86_64 and arm64": {"machine": {"arch": "arm64", "capability": "AVX2"}},
    "other code: train; other code: evaluate": {"code": {"train": "z", "evaluate": "z"}},
    "another configuration": {"fingerprint": "z"},
    "not deterministic: a, b": {"nondeterministic": ["b", "a"]},
    "CUDA None and 12; cuDNN None and 9; GPU driver None and 5": {
        "machine": MACHINE | {"gpu": {"cuda": "12", "cudnn": 9, "driver": "5"}}
    },
}


@pytest.mark.parametrize("reason", NOT_ALIKE)
def test_runs_that_are_not_alike_are_not_compared(pair, reason):
    path = change(pair[1], weights="other", **NOT_ALIKE[reason])
    assert compare.compare(*pair)[path] == ("not comparable", reason)
    compare.run(pair[0], pair[1].folder)


def test_other_versions_of_the_analysis_change_no_run(pair):
    path = change(pair[1], versions={"python": "3.12.1", "torch": "2", "numpy": "2"})
    assert compare.compare(*pair)[path] == ("equal", "")


def test_augmentation_by_a_list_depends_on_its_library(small, in_tmp):
    small["training"]["augment"] = ["HorizontalFlip"]
    one, two = (finished(small, f"results/{name}") for name in "ab")
    path = change(two, versions={"torch": "2", "numpy": "2", "albumentations": "9"})
    assert compare.compare(one, two)[path] == ("not comparable", "albumentations None and 9")


def test_diverged_and_failed_runs_are_compared_too(pair):
    nan = {"status": "diverged", "step": 3, "curve": [{"loss": float("nan")}], "weights": None}
    failed = {"status": "failed", "reason": "process 12 ended"}
    path, _ = (change(study, {}, **nan) for study in pair)
    assert compare.compare(*pair)[path] == ("equal", "")
    change(pair[1], {}, **nan | {"step": 4})
    assert compare.compare(*pair)[path] == ("different", "step")
    change(pair[0], {}, **failed)
    change(pair[1], {}, **failed | {"reason": "process 13 ended"})
    assert compare.compare(*pair)[path] == ("equal", "")


def damage(folder):
    (folder / "counts.csv").write_bytes(b"damaged")


FAULTS = {
    "no run.json": lambda folder: (folder / "run.json").unlink(),
    "counts.csv: missing, or changed": damage,
}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("reason", FAULTS)
def test_a_missing_or_damaged_record_is_missing_and_an_error(pair, reason, side):
    FAULTS[reason](pair[side].run_folder(pair[side].runs[1]))
    kind, words = compare.compare(*pair)[pair[0].runs[1].path]
    assert kind == "missing"
    assert reason in words
    assert pair[side].folder in words
    with pytest.raises(compare.NotEqual, match="0 runs differ, 1 are missing"):
        compare.run(pair[0], pair[1].folder)


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_that_only_one_study_plans_is_missing(small, pair, order):
    more = finished(small | {"seeds": [0, 1, 2]}, "results/more")
    kinds = [kind for kind, _ in compare.compare(*[pair[0], more][::order]).values()]
    assert kinds.count("missing") == len(more.runs) - len(pair[0].runs)


def test_a_repetition_that_cannot_be_compared_is_no_success(pair):
    for run in pair[1].runs:
        write_record(pair[1].run_folder(run), record_of(run, device="H100"), FILES)
    with pytest.raises(compare.NotEqual, match="no run can be compared"):
        compare.run(pair[0], pair[1].folder)


def test_the_table_groups_runs_by_reason(pair):
    change(pair[1], weights="other")
    text = compare.table("a", "b", compare.compare(*pair))
    assert "4 runs of a and b" in text
    assert "1 x weights" in text
    assert pair[0].runs[1].path in text


def test_changes_since_a_study_are_reported(pair, monkeypatch):
    study = pair[0]
    state = repository.State("c" * 40, b"patch")
    monkeypatch.setattr(repository, "state", lambda: state)
    calls.write(study, COMMAND)
    assert compare.changes(study) == []
    monkeypatch.setattr(repository, "state", lambda: repository.State("d" * 40, b""))
    call = calls.read(study)[-1]
    old = (study.file("origin") / call["packages"]).read_text()
    (study.file("origin") / "old.txt").write_text(old.replace("numpy==", "numpy==0."))
    call |= {"machine": call["machine"] | {"instructions": []}, "packages": "old.txt"}
    study.file("origin/calls.jsonl").write_text(json.dumps(call) + "\n")
    change(study, code={"train": "z", "evaluate": "z"})
    commit, difference, code, package, machine = compare.changes(study)
    assert commit == "results/tiny: commit cccccccccccc -> dddddddddddd"
    assert "the uncommitted changes differ" in difference
    assert "1 of 4 runs were trained with other code" in code
    assert "numpy 0." in package
    assert "other instruction sets" in machine
    monkeypatch.setattr(repository, "state", lambda: repository.State(None, None, reason="no git"))
    assert "commit unknown: no git" in compare.changes(study)[0]
    study.file("origin/calls.jsonl").unlink()
    assert "no call is recorded" in compare.changes(study)[0]


@pytest.fixture
def archived(pair):
    archive.run(pair[0])
    return pair[0], Path(f"{pair[0].folder}.zip")


def test_an_archive_holds_results_origin_and_code_without_images_and_logs(archived):
    study, path = archived
    for name in ("data/x/1.png", "logs/a.log", "done/a.json", ".lock", "runs/old/run.json"):
        study.file(name).parent.mkdir(parents=True, exist_ok=True)
        study.file(name).write_text("x")
    before = path.read_bytes()
    archive.run(study)
    assert path.read_bytes() == before
    with zipfile.ZipFile(path) as packed:
        names = set(packed.namelist())
        assert packed.read("runs.csv") == study.file("runs.csv").read_bytes()
        text = packed.read("README.md").decode()
    own = {"README.md", "LICENSE", "config.json", "runs.csv", "report.html", "origin/calls.jsonl"}
    assert own | {"ro-crate-metadata.json", "workflow/Snakefile"} <= names
    assert {f"{run.path}/run.json" for run in study.runs} <= names
    assert {"workflow/experiments/rules.smk", "workflow/dicebench/__init__.py"} <= names
    templates = {"report.html.j2", "style.css", "script.js"}
    assert {f"workflow/analysis/report/templates/{name}" for name in templates} <= names
    tops = {name.partition("/")[0] for name in names}
    assert not tops & {"data", "logs", "done", ".lock"}
    assert "runs/old/run.json" not in names
    assert not [name for name in names if "__pycache__" in name]
    assert "--configfile ../config.json" in text


def test_an_archive_of_an_unfinished_study_is_refused(pair):
    pair[0].file("report.html").unlink()
    with pytest.raises(ConfigError, match="finish the study first"):
        archive.run(pair[0])


def test_a_validator_accepts_the_archive(archived, monkeypatch):
    assert problems(archived[1], "workflow-run-crate-0.5", "REQUIRED", monkeypatch) == []


def test_the_validator_refuses_an_archive_without_a_licence(archived, monkeypatch, in_tmp):
    with zipfile.ZipFile(archived[1]) as packed, zipfile.ZipFile("other.zip", "w") as other:
        for name in packed.namelist():
            data = packed.read(name)
            if name == "ro-crate-metadata.json":
                data = data.replace(b'"license"', b'"citation"')
            other.writestr(name, data)
    issues = problems("other.zip", "ro-crate-1.1", "REQUIRED", monkeypatch)
    assert any("license" in message for _, message in issues)


def test_the_description_names_the_licences_of_the_datasets(pair, monkeypatch):
    entry = {"title": "Cells", "licence": "GPL-3.0", "homepage": "https://host/", "hashed": None}
    study = pair[0]
    datasets.write(study)
    study.file("origin/datasets.json").write_text(json.dumps({"my cells": entry}))
    archive.run(study)
    with zipfile.ZipFile(f"{study.folder}.zip") as packed:
        graph = json.loads(packed.read("ro-crate-metadata.json"))["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert "my cells: GPL-3.0" in entities["./"]["description"]
    assert entities["#dataset-my%20cells"]["license"] == "GPL-3.0"
    profile = "workflow-ro-crate-1.0"
    assert problems(f"{study.folder}.zip", profile, "RECOMMENDED", monkeypatch) == []


def make_reproduce(folder):
    """Run the goal with the environment of this test; return (exit status, output)."""
    command = ["make", "-o", f"{sys.prefix}/figures.ok", "reproduce", f"VENV={sys.prefix}"]
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "STUDY=results/tiny/", "CORES=2"],
        cwd=folder,
        env=own,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(not Path(sys.prefix, "bin", "activate").exists(), reason="not in a venv")
def test_a_study_is_repeated_with_equal_bytes_by_one_command(small, tmp_path):
    folder = copy_tree(tmp_path)
    shutil.copy(ROOT / "Makefile", folder)
    small["experiments"]["noise"]["values"] = [0.3]
    small["seeds"] = [0]
    (folder / "study.yaml").write_text(yaml.safe_dump(small))
    snakemake(folder, "collect")
    status, said = make_reproduce(folder)
    assert "1 to train" in said
    assert f"equal{1:>16}" in said
    assert status == 0, said
    path = "controlled/flips-0.3/dice/lr-0.001/seed-0"
    assert records(folder).keys() == {path}
    counts = folder / "results" / "tiny-again" / "runs" / path / "counts.csv"
    counts.write_text(counts.read_text().replace("0", "1"))
    said = step(folder, "experiments", "compare", "results/tiny", "results/tiny-again", ok=False)
    assert "1 are missing" in said
    assert "Traceback" not in said
