"""Faults 21, 24 and 25 on a finished study: damaged records, a full disk, stale parts."""

import contextlib
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from experiments.runs.records import _text, read_record, sha256
from tests.conftest import TINY
from tests.test_files import contents, mounted
from tests.test_interruptions import SLOW, wait
from tests.test_staleness import replaced
from tests.workflow import command, copy_tree, records, snakemake, start, step

LOSS = """
from torch import nn


class Mine(nn.Module):
    def forward(self, logits, target):
        return (logits.sigmoid() - target).square().mean()
"""
STUDY = {
    **TINY,
    "losses": {"dice": {}, "mine": {"use": "brought:Mine"}},
    "reference": "dice",
    "experiments": {"noise": TINY["experiments"]["noise"]},
    "seeds": 3,
}
RUNS = 12
GIT = shutil.which("git")


def write_study(folder, **changes):
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study, in a git repository if there is git."""
    folder = copy_tree(tmp_path_factory.mktemp("finished"))
    (folder / "brought.py").write_text(LOSS)
    write_study(folder)
    if GIT:
        name = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        for words in (("init", "-q"), ("add", "."), (*name, "commit", "-qm", "first")):
            subprocess.run([GIT, *words], cwd=folder, check=True)
    snakemake(folder)
    return folder


def study_of(folder):
    return folder / "results" / "tiny"


def run_of(folder, number):
    """The folder of a run."""
    return study_of(folder) / "runs" / sorted(records(folder))[number]


# Commands


@pytest.mark.parametrize("words", ["--unlock", "--summary", "--report study.zip", "--dag"])
def test_a_command_of_snakemake_needs_no_cores(finished, words):
    (snake, *_), environment = command()
    done = subprocess.run(
        [snake, *words.split(), "--configfile", "study.yaml"],
        cwd=finished,
        env=os.environ | environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_job_on_a_cluster_may_name_files_and_a_user_may_not(finished):
    (stamp,) = (study_of(finished) / "done").glob("check-*")
    words = ("--wait-for-files", str(stamp.relative_to(finished)), "--target-jobs", "check:")
    snakemake(finished, "--mode", "remote", *words, "--dry-run")
    assert "allowed: names of steps" in snakemake(finished, *words[:2], ok=False)


def test_verify_finds_a_finished_study_valid(finished):
    said = snakemake(finished, "verify")
    assert f"all {RUNS} runs, their data, tables and figures are valid" in said


def test_fault_21_without_the_memory_of_snakemake_nothing_is_trained_again(finished):
    shutil.rmtree(finished / ".snakemake")
    assert "Nothing to be done" in snakemake(finished)


# Fault 25: stale parts


def test_fault_25_verify_names_an_edited_loss_and_a_changed_image(finished):
    image, other, *_ = sorted((study_of(finished) / "data").rglob("seed-1/images/*.png"))
    cell = image.parents[1].relative_to(study_of(finished) / "data")
    with (
        replaced(finished / "brought.py", LOSS.replace("square", "abs")),
        replaced(image, other.read_bytes()),
    ):
        said = step(finished, "analysis", "verify", "results/tiny", ok=False)
    stale = dict(re.findall(r"stale: (?:runs/)?(\S*): (.*)", said))
    assert stale[f"results/tiny/data/{cell}"] == "files changed or are missing"
    for path in records(finished):
        of_cell = path.startswith(f"{cell.parent}/") and path.endswith("seed-1")
        reason = "other training code" if "/mine/" in path else "other data" if of_cell else None
        assert stale.get(path) == reason


def test_fault_25_verify_names_a_changed_table(finished):
    table = study_of(finished) / "runs.csv"
    with replaced(table, table.read_text().replace(",ok,0.5", ",ok,0.6", 1)):
        said = step(finished, "analysis", "verify", "results/tiny", ok=False)
    first, second = re.findall("stale: (.*)", said)
    assert first.startswith("results/tiny/runs.csv: ")
    assert second == "step collect: results/tiny/runs.csv changed or is missing"


def test_fault_25_verify_names_the_runs_of_other_settings(finished):
    write_study(finished, training=TINY["training"] | {"steps": 7})
    said = snakemake(finished, "verify", ok=False)
    for path in records(finished):
        assert f"stale: runs/{path}: training.steps 6 -> 7" in said
    assert "stale: step train-controlled: not done with the present settings" in said
    write_study(finished)
    assert "train_controlled" not in snakemake(finished)
    config = json.loads((study_of(finished) / "config.json").read_text())
    assert config["training"]["steps"] == 6


# Fault 24: a full disk, and one that is read only


@pytest.fixture
def disk(finished, tmp_path):
    """The results on a small disk of their own; functions that fill it and mount it again."""
    results, kept = finished / "results", finished / "kept"
    disk = tmp_path / "disk"
    with mounted(disk, "64m") as remount:
        shutil.copytree(results, disk / "results", symlinks=True)
        results.rename(kept)
        results.symlink_to(disk / "results")
        try:
            yield remount
        finally:
            results.unlink()
            kept.rename(results)


def fill(folder, room=0):
    """Fill the disk of the results but for some bytes; return the file."""
    ballast = (folder / "results").resolve() / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, ballast.stat().st_size - room)
    return ballast


def check_whole(folder):
    """No file but logs is empty or temporary, and each record is whole or not there."""
    results = (folder / "results").resolve()
    for path in results.rglob("*"):
        if path.is_file() and "logs" not in path.parts and path.name != ".snakemake_timestamp":
            assert path.stat().st_size, path
            assert not [part for part in path.relative_to(results).parts if part[0] == "."], path
    for path in results.rglob("run.json"):
        read_record(path.parent)


def test_fault_24_training_on_a_full_disk_is_a_clear_error_and_goes_on_with_room(finished, disk):
    before = records(finished)
    runs = [run_of(finished, 1), run_of(finished, 4)]
    for run in runs:
        shutil.rmtree(run)
    fill(finished, room=2**20)
    driver, log = start(finished, "train_controlled")
    wait(lambda: any((run / ".lock").exists() for run in runs) or driver.poll() is not None)
    ballast = fill(finished)
    assert driver.wait(SLOW) == 1
    said = log.read_text()
    assert "No space left on device" in said
    assert "2 runs are not trained" in said
    assert "Traceback" not in said
    check_whole(finished)
    assert len(records(finished)) == RUNS - 2
    ballast.unlink()
    snakemake(finished, "train_controlled")
    after = records(finished)
    assert after.keys() == before.keys()
    for path, record in after.items():
        assert everything_but_time(record) == everything_but_time(before[path])


def test_fault_24_drawing_on_a_full_disk_leaves_no_half_figures(finished, disk):
    study = study_of(finished).resolve()
    before = contents(study / "figures"), records(finished)
    for stamp in (study / "done").glob("figures-*"):
        stamp.unlink()
    driver, log = start(finished, "figures")
    wait(lambda: list(study.glob(".figures.*/*")) or driver.poll() is not None)
    ballast = fill(finished)
    assert driver.wait(SLOW) == 1
    said = log.read_text()
    assert len(re.findall("dicebench: .*/figures.*No space left on device; free space", said)) == 1
    assert "Traceback" not in said
    assert not (study / "figures").exists()
    check_whole(finished)
    ballast.unlink()
    snakemake(finished, "figures")
    assert (contents(study / "figures"), records(finished)) == before


def test_fault_24_read_only_results_are_an_error_before_training(finished, disk):
    disk("ro")
    assert "Nothing to be done" in snakemake(finished)
    disk("rw")
    (run_of(finished, 1) / "run.json").unlink()
    disk("ro")
    for words in ((), ("--config", "study=other")):
        said = snakemake(finished, "collect", *words, ok=False)
        (line,) = [line for line in said.splitlines() if "dicebench:" in line]
        assert "Read-only file system; make it accessible, then run the same command" in line
        assert "Traceback" not in said
        assert " to train" not in said


# Fault 21: damaged records


def cut(text):
    return text[: len(text) // 2]


def not_utf_8(text):
    return b"\xff" + text.encode()


def null(text):
    return "null"


def empty_list(text):
    return "[]"


def empty(text):
    return ""


def a_key_less(text):
    record = json.loads(text)
    del record["sha256"], record["code"]
    return _text(record | {"sha256": sha256(_text(record))})


def next_digit(match):
    return match[1] + str((int(match[2]) + 1) % 10)


def other_threshold(text):
    return re.sub(r'("threshold": \{\s*"\w+": 0\.)(\d)', next_digit, text)


def other_score(text):
    return re.sub(r'("val_dice": \{\s*"\w+": \{\s*"0\.5": 0\.)(\d)', next_digit, text)


DAMAGES = (cut, not_utf_8, null, empty_list, empty, a_key_less, other_threshold, other_score)


def flip(path):
    """Flip a bit in the middle of a file, which keeps its size and its time."""
    data, times = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


class Healed:
    """A study with damaged runs after the plain command, which found no git."""

    def __init__(self, folder, bin_folder):
        self.before = records(folder)
        runs = sorted(self.before)
        self.damaged = dict(zip((d.__name__ for d in DAMAGES), runs, strict=False))
        flipped, missing = (run_of(folder, n) for n in (len(DAMAGES), len(DAMAGES) + 1))
        flip(flipped / "counts.csv")
        self.nothing = snakemake(folder, "collect", "-n")
        self.verified = step(folder, "analysis", "verify", "results/tiny", ok=False)
        self.collected = step(folder, "experiments", "collect", "results/tiny", ok=False)
        self.refused = snakemake(folder, "collect", "-n")
        (missing / "counts.csv").unlink()
        for damage, run in zip(DAMAGES, runs, strict=False):
            path = study_of(folder) / "runs" / run / "run.json"
            text = path.read_text()
            damaged = damage(text)
            assert damaged != text
            path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
        self.damaged |= {"flipped": runs[len(DAMAGES)], "missing": runs[len(DAMAGES) + 1]}
        shutil.rmtree(folder / ".snakemake")
        self.said = without_git(folder, bin_folder, "collect")
        self.after = records(folder)


def without_git(folder, bin_folder, *words):
    """Run Snakemake with a PATH of the programs that it needs; return its output."""
    (snake, *words), _ = command(*words)
    for name in ("bash", "which"):  # the second one is for the executor plugin of Slurm
        (bin_folder / name).symlink_to(shutil.which(name))
    path = f"{snake.parent}{os.pathsep}{bin_folder}"
    done = subprocess.run(
        [snake, *words], cwd=folder, env=os.environ | {"PATH": path}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def healed(finished, tmp_path_factory):
    return Healed(finished, tmp_path_factory.mktemp("bin"))


def test_fault_21_damage_that_no_time_shows_is_found_by_verify_and_refused_by_collect(healed):
    run = f"runs/{healed.damaged['flipped']}"
    assert "Nothing to be done" in healed.nothing
    (line,) = [line for line in healed.verified.splitlines() if f"stale: {run}: " in line]
    assert line.endswith("damaged or missing: counts.csv")
    assert "1 runs are not valid" in healed.collected
    assert re.search(rf"  {run}: .*damaged or missing: counts.csv", healed.collected)
    assert "train_controlled" in healed.refused


def test_fault_21_the_plain_command_trains_exactly_the_damaged_runs_again(healed):
    again = {path for path, record in healed.before.items() if healed.after[path] != record}
    assert again == set(healed.damaged.values())
    assert "2 runs are valid, 10 to train, 0 to evaluate" in healed.said


@pytest.mark.parametrize("damage", [*(d.__name__ for d in DAMAGES), "flipped", "missing"])
def test_fault_21_a_damaged_run_gets_the_same_record_again(healed, damage):
    path = healed.damaged[damage]
    assert everything_but_time(healed.after[path]) == everything_but_time(healed.before[path])


def everything_but_time(record):
    others = ("seconds", "written", "sha256", "commit", "dirty")
    return {key: value for key, value in record.items() if key not in others}


def test_without_git_a_study_works_and_has_no_commit(finished, healed):
    for path in healed.damaged.values():
        assert healed.after[path]["commit"] is None
        assert healed.after[path]["dirty"] is None
        if GIT:
            assert len(healed.before[path]["commit"]) == 40
    calls = (study_of(finished) / "origin" / "calls.jsonl").read_text().splitlines()
    assert json.loads(calls[-1])["reason"] == "git cannot be started: No such file or directory"


# Fault 25: missing runs


def test_fault_25_collect_refuses_an_unfinished_study_and_names_the_runs(finished):
    paths = [run_of(finished, number) / "run.json" for number in (2, 5)]
    texts = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    said = step(finished, "experiments", "collect", "results/tiny", ok=False)
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    assert "2 runs are not valid:" in said
    for path in paths:
        run = path.parent.relative_to(study_of(finished))
        assert f"  {run}: results/tiny/{run}: no run.json" in said
