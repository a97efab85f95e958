"""Fetching, against a server on this machine: mirrors, the datasets' own archives, hostile ones."""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from experiments import datasets
from experiments.data import fetch as fetching
from experiments.data.fetch import download, fetch, run, run_terms, terms
from experiments.plan.dataset import fetched_state, stats
from experiments.plan.study import Study
from tests import layouts
from tests.layouts import folder_of, pack
from tests.workflow import ROOT, copy_tree, snakemake


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "WAIT", 0.01)
    with layouts.serving(tmp_path / "served") as server:
        yield server


def members_of(folder, name="own"):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {f"{name}/{p.relative_to(folder)}": p.read_bytes() for p in files}


# A mirror


def test_a_prepared_dataset_is_fetched_once(server, tmp_path):
    pack(server.folder / "own.zip", members_of(folder_of(tmp_path / "own")))
    target = fetch("own", server.address, tmp_path / "data")
    assert json.loads((target / "dataset.json").read_text()) == {}
    assert len(list((target / "images").iterdir())) == 10
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["own"]
    (server.folder / "own.zip").unlink()
    assert fetch("own", server.address, tmp_path / "data") == target


def test_a_mirror_comes_before_the_datasets_own_address(server, tmp_path, monkeypatch):
    layouts.serve(server, monkeypatch, "wbc")
    pack(server.folder / "wbc.zip", members_of(folder_of(tmp_path / "own"), "wbc"))
    fetch("wbc", server.address, tmp_path / "data")
    assert [path for path, _ in server.requests] == ["/wbc.zip"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "other/evil", "own/../../evil"])
def test_members_that_leave_their_folder_are_refused(server, tmp_path, name):
    pack(server.folder / "own.zip", members_of(folder_of(tmp_path / "own")) | {name: b"x"})
    with pytest.raises(ValueError, match="not allowed"):
        fetch("own", server.address, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_archives_that_are_cut_off_missing_or_not_a_dataset_leave_nothing(server, tmp_path):
    whole = server.folder / "whole.zip"
    pack(whole, members_of(folder_of(tmp_path / "own")))
    (server.folder / "own.zip").write_bytes(whole.read_bytes()[:2000])
    pack(server.folder / "maskless.zip", {"maskless/images/a.png": b""})
    for name in ("own", "absent", "maskless"):
        with pytest.raises(ValueError, match=f"{name}.*Without a network put"):
            fetch(name, server.address, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def manifest_of(members):
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in members.items()]
    return "".join(f"{line}\n" for line in lines).replace("  own/", "  ").encode()


def test_a_mirrors_manifest_is_compared(server, tmp_path):
    members = members_of(folder_of(tmp_path / "own"))
    pack(server.folder / "own.zip", members | {"own/manifest.sha256": manifest_of(members)})
    assert (fetch("own", server.address, tmp_path / "data") / "images" / "3.png").exists()


def test_fault_06_a_mirrors_file_that_is_not_its_manifests_is_named(server, tmp_path):
    members = members_of(folder_of(tmp_path / "own"))
    manifest = manifest_of(members)
    other = members["own/images/4.png"]
    faults = {
        r"images/3\.png has the SHA-256": (members | {"own/images/3.png": other}, manifest),
        r"masks/3\.png is in manifest\.sha256, but not in the archive": (
            {name: data for name, data in members.items() if name != "own/masks/3.png"},
            manifest,
        ),
        r"images/new\.png is in the archive, but not in": (
            members | {"own/images/new.png": other, "own/masks/new.png": other},
            manifest,
        ),
        r"manifest\.sha256: 'nonsense' is not allowed": (members, b"nonsense\n" + manifest),
        r"\.\./4\.png is in manifest": (members, manifest.replace(b"  images/4", b"  ../4")),
    }
    for words, (changed, text) in faults.items():
        pack(server.folder / "own.zip", changed | {"own/manifest.sha256": text})
        with pytest.raises(ValueError, match=f"own.zip: {words}"):
            fetch("own", server.address, tmp_path / "data")
        assert not list((tmp_path / "data").iterdir())


def test_a_fetched_folder_knows_its_files(server, tmp_path):
    members = members_of(folder_of(tmp_path / "own")) | {"own/.fetched.json": b"not trusted"}
    pack(server.folder / "own.zip", members)
    target = fetch("own", server.address, tmp_path / "data")
    assert len(fetched_state(target)) == 21
    assert fetched_state(target) == stats(target)
    image = target / "images" / "3.png"
    before = image.stat()
    image.write_bytes((target / "images" / "4.png").read_bytes()[: before.st_size])
    os.utime(image, ns=(before.st_mtime_ns, before.st_mtime_ns))
    now = stats(target)
    assert [name for name, state in now.items() if fetched_state(target)[name] != state] == [
        "images/3.png"
    ]


# Several processes

FETCH = """
import sys
from dataclasses import replace
from experiments import datasets
from experiments.data import fetch

fetch.WAIT = float(sys.argv[1])
if sys.argv[4:]:
    module = datasets.load("wbc")
    module.ABOUT = replace(module.ABOUT, files=(datasets.File(*sys.argv[4:]),))
    fetch.fetch("wbc", None, sys.argv[2])
else:
    fetch.fetch("own", sys.argv[3], sys.argv[2])
"""


def fetching_process(wait, root, address, *file):
    words = (sys.executable, "-c", FETCH, str(wait), str(root), address, *file)
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_processes_that_fetch_a_dataset_at_once_fetch_it_once(server, tmp_path):
    members = members_of(folder_of(tmp_path / "own")) | {"own/filler": bytes(2**20)}
    pack(server.folder / "own.zip", members)
    server.cuts = 1  # so the first one waits in the middle of its download
    processes = [fetching_process(1, tmp_path / "data", server.address) for _ in range(3)]
    for process in processes:
        words = process.communicate(timeout=60)[0]
        assert process.returncode == 0, words
    assert [path for path, _ in server.requests] == ["/own.zip", "/own.zip"]  # begun, continued
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["own"]


def test_fault_07_a_download_that_is_killed_leaves_nothing_that_counts(server, monkeypatch, in_tmp):
    members = layouts.layout("wbc")
    next(iter(members.values()))["filler"] = bytes(2**20)
    (file,) = layouts.serve(server, monkeypatch, "wbc", members)
    server.cuts = 1
    data, downloads = in_tmp / "data", in_tmp / "data" / "downloads" / "wbc"
    process = fetching_process(300, data, "", file.name, file.address, file.checksum)
    try:
        end = time.monotonic() + 60
        while not [p for p in downloads.glob("tmp*") if p.stat().st_size > 2**18]:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert not (data / "wbc").exists()
    assert not (downloads / file.name).exists()
    assert (fetch("wbc") / "dataset.json").exists()
    assert {p.name for p in data.iterdir()} == {"downloads", "wbc"}
    assert [p.name for p in downloads.iterdir()] == [file.name]


# A dataset's own address


@pytest.mark.parametrize(
    "member", [{"../evil": b"x"}, {"/tmp/evil": b"x"}], ids=["parent", "absolute"]
)
def test_a_hostile_archive_of_a_dataset_leaves_nothing(server, monkeypatch, in_tmp, member):
    members = layouts.layout("oxford_pet")
    members["annotations.tar.gz"] |= member
    layouts.serve(server, monkeypatch, "oxford_pet", members)
    with pytest.raises(ValueError, match="is not allowed"):
        fetch("oxford_pet")
    assert [p.name for p in Path("data").iterdir()] == ["downloads"]
    assert not (in_tmp / "evil").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_fault_07_a_download_that_is_cut_off_goes_on(server, monkeypatch, in_tmp, ranges):
    members = layouts.layout("wbc")
    next(iter(members.values()))["filler"] = bytes(2**20)
    layouts.serve(server, monkeypatch, "wbc", members)
    server.cuts, server.ranges = 2, ranges
    fetch("wbc")
    first, *resumed = [start for _, start in server.requests]
    assert first is None
    second, third = (int(start.removeprefix("bytes=").rstrip("-")) for start in resumed)
    assert 0 < second <= 2**19 + 2**14
    assert (third > second) == ranges  # without ranges, the second answer began again
    assert json.loads(Path("data/wbc/dataset.json").read_text())["files"][0]["sha256"]


def test_fault_07_a_download_that_is_always_cut_off_ends(server, monkeypatch, in_tmp):
    layouts.serve(server, monkeypatch, "wbc")
    server.cuts, server.ranges = 99, False
    words = r"(?s)dataset 'wbc': cannot download.*put these files in place"
    with pytest.raises(ValueError, match=words):
        fetch("wbc")
    assert len(server.requests) == fetching.TRIES
    assert not list(Path("data").rglob("*.zip*"))


def test_a_wrong_checksum_is_refused_and_nothing_kept(server, monkeypatch, in_tmp):
    (file,) = layouts.serve(server, monkeypatch, "wbc")
    pack(server.folder / "wbc" / file.name, {"other": b"content"})
    with pytest.raises(ValueError, match=f"(?s)does not match.*{file.checksum}"):
        fetch("wbc")
    assert not [p for p in Path("data").rglob("*") if p.is_file()]


def test_an_unknown_checksum_is_recorded(server, monkeypatch, in_tmp):
    known = layouts.serve(server, monkeypatch, "wbc")
    layouts.serve(server, monkeypatch, "wbc", checksum=False)
    fetch("wbc")
    (file,) = json.loads(Path("data/wbc/dataset.json").read_text())["files"]
    assert file["checksum"] is None
    assert f"sha256:{file['sha256']}" == known[0].checksum


def test_a_missing_file_is_requested_once(server, monkeypatch, in_tmp):
    layouts.serve(server, monkeypatch, "wbc")
    for file in (server.folder / "wbc").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="404"):
        fetch("wbc")
    assert len(server.requests) == 1


def test_without_a_network_the_files_are_named_and_used_when_put_there(server, monkeypatch, in_tmp):
    files = layouts.serve(server, monkeypatch, "oxford_pet")
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match="put these files in place") as error:
        fetch("oxford_pet")
    for file in files:
        assert f"data/downloads/oxford_pet/{file.name}" in str(error.value)
        assert file.checksum in str(error.value)
        assert file.address in str(error.value)
    put = Path("data/downloads/oxford_pet")
    put.mkdir(parents=True, exist_ok=True)
    for file in files:
        (server.folder / "oxford_pet" / file.name).rename(put / file.name)
    assert (fetch("oxford_pet") / "images" / "Cat_1.png").exists()


def test_a_dataset_that_requires_registration_is_refused_without_a_download(
    server, monkeypatch, in_tmp
):
    with pytest.raises(ValueError, match=r"registration.*register at https") as error:
        terms("drive")
    for file in datasets.load("drive").ABOUT.files:
        assert f"data/downloads/drive/{file.name}" in str(error.value)
        assert file.checksum in str(error.value)
    with pytest.raises(ValueError, match="registration"):
        fetch("drive")
    # With the files in place it is a dataset like the others.
    files = layouts.serve(server, monkeypatch, "drive")
    module = datasets.load("drive")
    about = replace(module.ABOUT, ask="register", files=[replace(f, address=None) for f in files])
    monkeypatch.setattr(module, "ABOUT", about)
    for file in files:
        put = Path("data/downloads/drive", file.name)
        put.parent.mkdir(parents=True, exist_ok=True)
        (server.folder / "drive" / file.name).rename(put)
    assert (fetch("drive") / "dataset.json").exists()
    assert not server.requests


def test_an_unknown_name_is_refused_with_the_nearest(in_tmp):
    with pytest.raises(ValueError, match="did you mean 'camvid'"):
        fetch("camvit")


def test_other_files_in_its_folder_are_not_overwritten(server, monkeypatch, in_tmp):
    layouts.serve(server, monkeypatch, "wbc")
    own = in_tmp / "data" / "wbc" / "mine.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(ValueError, match="not overwritten"):
        fetch("wbc")
    assert own.read_text() == "mine"


# The commands


def test_a_download_refuses_all_before_it_fetches_one(server, monkeypatch, in_tmp):
    layouts.serve(server, monkeypatch, "wbc")
    with pytest.raises(ValueError, match=r"dataset 'drive' \(registration"):
        download(["wbc", "drive"])
    assert not server.requests
    assert not list(Path("data").rglob("*"))


def test_the_steps_fetch_the_datasets_of_a_study(server, monkeypatch, in_tmp, tiny, caplog):
    caplog.set_level("INFO", "dicebench")
    layouts.serve(server, monkeypatch, "wbc")
    tiny["datasets"] = {"wbc": {}, "other": {"source": "wbc", "target": "nucleus"}}
    study = Study(tiny)
    run_terms(study)
    assert caplog.text.count("licence: GPL-3.0") == 1
    assert not server.requests
    run(study, "wbc")
    assert "fetched data/wbc" in caplog.text
    tiny["datasets"]["drive"] = {}
    with pytest.raises(ValueError, match="register at"):
        run_terms(Study(tiny))


def test_the_steps_use_the_mirror_of_a_study(server, in_tmp, tiny, caplog):
    caplog.set_level("INFO", "dicebench")
    pack(server.folder / "wbc.zip", members_of(folder_of(in_tmp / "own"), "wbc"))
    study = Study({**tiny, "datasets": {"wbc": {}}, "mirror": server.address})
    run_terms(study)
    assert "licence" not in caplog.text
    run(study)
    assert [path for path, _ in server.requests] == ["/wbc.zip"]


def test_snakemake_fetch_gets_the_datasets_of_a_study_once(server, tmp_path, tiny):
    folder = copy_tree(tmp_path)
    tiny["datasets"] = {"one": {}, "two": {"source": "two"}, "same": {"source": "one"}}
    for name in ("one", "two"):
        pack(server.folder / f"{name}.zip", members_of(folder_of(tmp_path / "own"), name))
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder, "fetch", "--config", f"mirror={server.address}")
    assert sorted(path for path, _ in server.requests) == ["/one.zip", "/two.zip"]
    assert {p.name for p in (folder / "data").iterdir()} == {"one", "two"}
    assert not (folder / "results" / "tiny" / "data").exists()
    printed = snakemake(folder, "fetch", "--config", f"mirror={server.address}")
    assert "Nothing to be done" in printed


def test_snakemake_fetch_prints_terms_before_a_download(tmp_path, tiny):
    folder = copy_tree(tmp_path)
    tiny["datasets"] = {"drive": {}, "wbc": {}}
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny))
    printed = snakemake(folder, "fetch", ok=False)
    assert "register at https://drive.grand-challenge.org/" in printed
    assert not (folder / "data").exists()
