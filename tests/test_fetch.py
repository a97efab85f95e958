"""Mirrors with an address, against a server on this machine."""

import functools
import http.server
import threading
import zipfile

import pytest

from experiments.fetch import fetch
from tests.test_images import folder_of


@pytest.fixture
def mirror(tmp_path):
    """A folder that is served, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def pack(archive, members):
    with zipfile.ZipFile(archive, "w") as out:
        for name, data in members:
            out.writestr(name, data)


def members_of(folder, name="own"):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return [(f"{name}/{p.relative_to(folder)}", p.read_bytes()) for p in files]


def test_a_prepared_dataset_is_fetched_once(mirror, tmp_path):
    served, address = mirror
    pack(served / "own.zip", members_of(folder_of(tmp_path / "own")))
    target = fetch(address, "own", tmp_path / "data")
    assert (target / "dataset.json").exists()
    assert len(list((target / "images").iterdir())) == 10
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["own"]
    (served / "own.zip").unlink()
    assert fetch(address, "own", tmp_path / "data") == target


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "other/evil", "own/../../evil"])
def test_members_that_leave_their_folder_are_refused(mirror, tmp_path, name):
    served, address = mirror
    pack(served / "own.zip", [*members_of(folder_of(tmp_path / "own")), (name, b"x")])
    with pytest.raises(ValueError, match="not allowed"):
        fetch(address, "own", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_links_are_refused(mirror, tmp_path):
    served, address = mirror
    link = zipfile.ZipInfo("own/images/link.png")
    link.external_attr = 0o120777 << 16
    pack(served / "own.zip", [*members_of(folder_of(tmp_path / "own")), (link, "/etc/passwd")])
    with pytest.raises(ValueError, match=r"link\.png"):
        fetch(address, "own", tmp_path / "data")


def test_what_is_cut_off_missing_or_not_a_dataset_leaves_nothing(mirror, tmp_path):
    served, address = mirror
    pack(served / "whole.zip", members_of(folder_of(tmp_path / "own")))
    (served / "own.zip").write_bytes((served / "whole.zip").read_bytes()[:2000])
    pack(served / "maskless.zip", [("maskless/images/a.png", b"")])
    for name in ("own", "absent", "maskless"):
        with pytest.raises(ValueError, match=f"{name}.*Without a network put"):
            fetch(address, name, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())
