"""Fetching, against a server on this machine: mirrors, the datasets' own archives, hostile ones."""

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from experiments import datasets
from experiments.data import archives
from experiments.data import fetch as fetching
from experiments.data.archives import unpack
from experiments.data.fetch import download, fetch, run, run_terms, terms
from experiments.plan.study import Study
from tests import layouts
from tests.layouts import folder_of, pack
from tests.workflow import copy_tree, snakemake


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


# Archives


def hostile_tar(path, name, kind, link=""):
    with tarfile.open(path, "w:gz") as out:
        good = tarfile.TarInfo("images/good.jpg")
        out.addfile(good)
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        out.addfile(info, io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../evil", tarfile.REGTYPE, ""),
        ("/tmp/evil", tarfile.REGTYPE, ""),
        ("a/../../evil", tarfile.REGTYPE, ""),
        ("..\\evil", tarfile.REGTYPE, ""),
        ("../evil", tarfile.DIRTYPE, ""),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("link", tarfile.SYMTYPE, "images/good.jpg"),
        ("link", tarfile.LNKTYPE, "../../etc/passwd"),
        ("link", tarfile.LNKTYPE, "images/good.jpg"),
        ("pipe", tarfile.FIFOTYPE, ""),
        ("device", tarfile.CHRTYPE, ""),
    ],
)
def test_tar_members_that_are_no_plain_files_of_the_folder_are_refused(tmp_path, name, kind, link):
    archive = hostile_tar(tmp_path / "a.tar.gz", name, kind, link)
    with pytest.raises(ValueError, match=r"a\.tar\.gz: member .* is not allowed"):
        unpack(archive, tmp_path / "out")
    below = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    assert below == {"a.tar.gz", "out", "out/images", "out/images/good.jpg"}


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "../evil/"])
def test_zip_members_outside_the_folder_are_refused(tmp_path, name):
    pack(tmp_path / "a.zip", {name: b""})
    with pytest.raises(ValueError, match="is not allowed"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_links_in_zip_files_are_refused(tmp_path):
    link = zipfile.ZipInfo("images/link.png")
    link.external_attr = 0o120777 << 16
    pack(tmp_path / "a.zip", {link: "/etc/passwd"})
    with pytest.raises(ValueError, match=r"link\.png"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_bombs_stop_before_they_are_written(tmp_path, monkeypatch, kind):
    large, many = tmp_path / f"large.{kind}", tmp_path / f"many.{kind}"
    pack(large, {"a": b"x", "b": bytes(2**20)})
    pack(many, {str(i): b"" for i in range(50)})
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20)
    monkeypatch.setattr(archives, "MAX_FILES", 40)
    with pytest.raises(ValueError, match=r"more than .* 1048576 bytes"):
        unpack(large, tmp_path / "large")
    assert [p.name for p in (tmp_path / "large").iterdir()] == ["a"]
    with pytest.raises(ValueError, match="more than 40 files"):
        unpack(many, tmp_path / "many")
    assert len(list((tmp_path / "many").iterdir())) == 40


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a", bytes(2**20))
    size = (2**20).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_size <= 10


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_damaged_archives_are_named(tmp_path, kind):
    pack(tmp_path / f"a.{kind}", {"a": bytes(range(256)) * 40})
    data = bytearray((tmp_path / f"a.{kind}").read_bytes())
    for damaged in (data[: len(data) // 2], data[:60] + b"\xff" * 9 + data[69:], b"nothing"):
        (tmp_path / f"a.{kind}").write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"a\.{kind}: cannot be unpacked"):
            unpack(tmp_path / f"a.{kind}", tmp_path / "out")


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


# A dataset's own address


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_is_cut_off_goes_on(server, monkeypatch, in_tmp, ranges):
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


def test_a_download_that_is_always_cut_off_ends(server, monkeypatch, in_tmp):
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
