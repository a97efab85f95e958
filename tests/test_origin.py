"""The origin of a study: calls, code, packages, machine, custom losses and datasets."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.data import writing
from experiments.origin import calls, datasets, machine, repository
from experiments.plan.study import Study
from tests.conftest import write_folder
from tests.test_structure import HEAVY, loaded

COMMAND = ["/home/me/.venv/bin/snakemake", "--cores", "2"]


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A git repository with one committed file, whatever git's own settings on this machine."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "loss.py").write_text("x = 1\n")
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder, *words):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder):
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "a")


def test_a_committed_project_has_a_commit_and_no_difference(repo):
    state = repository.state(repo)
    assert state.commit == git(repo, "rev-parse", "HEAD").strip()
    assert state.difference == b""
    assert state.reason is None
    git(repo, "checkout", "--quiet", "--detach")
    assert repository.state(repo) == state


def test_the_difference_turns_the_commit_into_the_files(repo, tmp_path):
    git(repo, "clone", "--quiet", ".", str(tmp_path / "clone"))
    git(repo, "config", "diff.noprefix", "true")
    git(repo, "config", "color.ui", "always")
    (repo / "loss.py").write_text("x = 2")
    (repo / "sub dir").mkdir()
    names = ("new.py", "empty.py", "sub dir/größe 'q'.yaml")
    for name in names:
        (repo / name).write_text("" if name == "empty.py" else "y: 1\n")
    (repo / "image.png").write_bytes(b"png")
    (repo / "token.txt").write_text("secret\n")
    (repo / "large.py").write_text("#" * repository.FILE_BYTES + "\n")
    (repo / "broken.py").symlink_to("nowhere")
    status, index = git(repo, "status", "--porcelain"), (repo / ".git" / "index").read_bytes()
    state = repository.state(repo)
    assert git(repo, "status", "--porcelain") == status
    assert (repo / ".git" / "index").read_bytes() == index
    (tmp_path / "a.patch").write_bytes(state.difference)
    git(tmp_path / "clone", "apply", str(tmp_path / "a.patch"))
    for name in ("loss.py", *names):
        assert (tmp_path / "clone" / name).read_bytes() == (repo / name).read_bytes()
    assert not list(tmp_path.glob("clone/*.png")) + list(tmp_path.glob("clone/token.txt"))
    assert state.left_out == 2


def test_a_change_in_the_second_of_the_commit_is_part_of_the_difference(repo):
    git(repo, "config", "core.trustctime", "false")
    path, index = repo / "loss.py", repo / ".git" / "index"
    for value in (6, 7):
        path.write_text(f"x = {value}\n")
        os.utime(path, (1e9, 1e9))
        if value == 6:
            commit(repo)
    os.utime(index, (1e9, 1e9))  # git compares the content of a file as new as its index
    assert b"+x = 7" in repository.state(repo).difference


def hang(folder, monkeypatch):
    program = folder / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(repository, "SECONDS", 0.3)


FAULTS = {
    "git cannot be started": lambda folder, m: m.setenv("PATH", str(folder)),
    "git took longer than 0.3 s": hang,
    "the project is not in a git repository": lambda folder, m: shutil.rmtree(folder / ".git"),
    "belongs to another user": lambda _, m: m.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1"),
    "has no commit": lambda folder, _: git(folder, "update-ref", "-d", "HEAD"),
    "ended with status": lambda folder, _: (folder / ".git" / "index").write_bytes(b"broken"),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_without_an_answer_of_git_there_is_a_reason(repo, monkeypatch, reason):
    FAULTS[reason](repo, monkeypatch)
    state = repository.state(repo)
    assert state.difference is None
    assert reason in state.reason
    assert str(repo) not in state.reason
    if "status" not in reason:
        assert state.commit is None
        assert repository.git("rev-parse", "HEAD", folder=repo) is None


@pytest.fixture
def study(tiny, in_tmp):
    return Study(tiny)


def test_a_call_is_one_line_with_all_that_it_depends_on(study, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    calls.write(study, [*COMMAND, "--config", "mirror=https://me:secret@host/x y"], 2)
    (call,) = calls.read(study)
    assert call["command"] == "snakemake --cores 2 --config 'mirror=https://host/x y'"
    assert call["cores"] == 2
    assert call["machine"]["arch"] == platform.machine()
    assert call["environment"]["OMP_NUM_THREADS"] == "1"
    packages = (study.file("origin") / call["packages"]).read_text().splitlines()
    assert f"numpy=={__import__('numpy').__version__}" in packages
    assert len(packages) > 50
    text = "".join(p.read_text() for p in study.file("origin").rglob("*.[tj]*"))
    for private in (platform.node(), str(Path.cwd()), sys.prefix, str(Path.home()) + "/", "secret"):
        assert len(private) < 4 or private not in text


def test_an_equal_call_adds_a_line_and_no_file(study, in_tmp):
    calls.write(study, COMMAND)
    before = sorted(in_tmp.rglob("*"))
    calls.write(study, COMMAND)
    assert sorted(in_tmp.rglob("*")) == before
    assert len(calls.read(study)) == 2


def test_a_line_that_was_cut_off_costs_no_other_call(study):
    calls.write(study, COMMAND)
    path = study.file("origin/calls.jsonl")
    path.write_text(path.read_text() + path.read_text()[:100])
    calls.write(study, COMMAND, 3)
    assert [call["cores"] for call in calls.read(study)] == [None, 3]


def test_the_uncommitted_difference_is_stored_once(study, repo, monkeypatch):
    (repo / "loss.py").write_text("x = 3\n")
    state = repository.state(repo)
    monkeypatch.setattr(repository, "state", lambda: state)
    calls.write(study, COMMAND)
    (call,) = calls.read(study)
    assert not call["clean"]
    assert (study.file("origin") / call["difference"]["file"]).read_bytes() == state.difference
    monkeypatch.setattr(calls, "PATCH_BYTES", 10)
    calls.write(study, COMMAND)
    assert calls.read(study)[1]["difference"] == call["difference"] | {"file": None}


def test_the_source_of_a_custom_loss_is_copied_with_its_imports(tiny, in_tmp, monkeypatch):
    (in_tmp / "code" / "pack").mkdir(parents=True)
    (in_tmp / "code" / "pack" / "__init__.py").write_text("")
    (in_tmp / "code" / "pack" / "part.py").write_text("import aside\nfrom losses import LOSSES\n")
    (in_tmp / "code" / "aside.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(in_tmp / "code")
    tiny["losses"] |= {
        "mine": {"sum": {"dice": 1, "own": {"weight": 1, "use": "pack.part:Loss"}}},
        "theirs": {"use": "monai.losses:DiceLoss"},
        "suite": {"use": "losses.overlap:DiceLoss"},
    }
    study = Study(tiny)
    calls.write(study, COMMAND)
    losses = calls.read(study)[0]["losses"]
    assert losses["modules"] == {"mine": ["pack.part"], "theirs": ["monai.losses"]}
    assert losses["files"] == ["aside.py", "pack/__init__.py", "pack/part.py"]
    assert list(losses["packages"]) == ["monai"]
    copy = study.file("origin") / losses["folder"]
    for name in losses["files"]:
        assert (copy / name).read_bytes() == (in_tmp / "code" / name).read_bytes()
    (in_tmp / "code" / "aside.py").write_text("x = 2\n")
    calls.write(study, COMMAND)
    assert calls.read(study)[1]["losses"]["folder"] != losses["folder"]
    assert (copy / "aside.py").read_text() == "x = 1\n"


def test_a_package_without_a_fixed_version_has_its_commit(tmp_path, monkeypatch):
    folder = tmp_path / "own_loss-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own-loss\nVersion: 1.0\n")
    address = {"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "0123"}}
    (folder / "direct_url.json").write_text(json.dumps(address))
    monkeypatch.syspath_prepend(tmp_path)
    assert "own-loss==1.0  # commit 0123" in calls.packages()


def test_instruction_sets_are_words_of_arithmetic_only(monkeypatch):
    flags = "fpu sse sse4_1 ssse3 avx2 avx512_bf16 fma amx_tile hypervisor asimd sve2 aes"
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: flags if field == "flags" else None)
    named = "amx_tile asimd avx2 avx512_bf16 fma sse sse4_1 ssse3 sve2"
    assert machine.instructions() == sorted(named.split())


@pytest.mark.parametrize("file", ["images/1.png", "masks/1.png"])
def test_the_files_of_an_own_dataset_are_hashed(tiny, in_tmp, file):
    write_folder(in_tmp / "own", 6)
    tiny["datasets"] = {"own": {"folder": "own"}, "controlled": {}}
    study = Study(tiny)
    datasets.write(study)
    before = datasets.read(study)
    assert before["own"]["hashed"]["files"] == 12
    assert before["controlled"] == {"source": "controlled", "title": before["controlled"]["title"]}
    shutil.copy(in_tmp / "own" / "masks" / "2.png", in_tmp / "own" / file)
    datasets.write(study)
    assert datasets.read(study)["own"]["hashed"]["sha256"] != before["own"]["hashed"]["sha256"]


def test_a_fetched_dataset_has_its_licence_addresses_and_checksums(tiny, in_tmp):
    write_folder(in_tmp / "data" / "wbc", 6)
    file = {"name": "a.zip", "address": "https://host/a.zip", "checksum": None, "sha256": "01"}
    about = {"title": "Cells", "licence": "GPL-3.0", "files": [file], "split": {"train": ["1"]}}
    writing.write_whole(in_tmp / "data" / "wbc" / "dataset.json", json.dumps(about))
    tiny["datasets"] = {"wbc": {}}
    entry = datasets.describe(Study(tiny), Study(tiny).datasets["wbc"])
    assert (entry["title"], entry["licence"], entry["files"]) == ("Cells", "GPL-3.0", [file])
    assert entry["fetched"]
    assert "split" not in entry


def test_the_origin_of_a_call_needs_no_heavy_library():
    present = loaded("experiments.origin.calls", "experiments.origin.datasets")
    assert [name for name in HEAVY if name in present] == []
