"""Archives that are not trusted: members that leave their folder, links, bombs, damage."""

import io
import tarfile
import zipfile

import pytest

from experiments.data import archives
from experiments.data.archives import unpack
from tests.layouts import pack


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
