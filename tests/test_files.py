"""Whole files and folders: kills in mid-write, disks that are full or read-only, competitors."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from analysis.figures import draw, ranks
from analysis.results import Results
from experiments.data import prepare, writing
from experiments.data.fetch import fetch
from experiments.files import _host, whole_file, whole_folder, write_whole
from experiments.layout import FIGURES
from experiments.locks import lock
from experiments.plan.study import Study
from tests import layouts
from tests.results import write_results
from tests.workflow import ROOT, step


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def python(script, *words):
    return subprocess.Popen(
        (sys.executable, "-c", script, *words),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


# Errors and competitors


def test_after_an_error_the_old_file_or_folder_is_there_and_nothing_else(tmp_path):
    write_whole(tmp_path / "file", "old")
    with whole_folder(tmp_path / "folder") as folder:
        write_whole(folder / "a" / "b", "old")

    def stop(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "file") as temporary:
        stop(temporary)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "folder") as folder:
        stop(folder / "b")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "folder" / "a" / "b").read_text() == "old"


def test_a_new_folder_replaces_the_old_one_with_all_of_its_files(tmp_path):
    for name in ("one", "two"):
        with whole_folder(tmp_path / "folder") as folder:
            write_whole(folder / name, name)
            assert names(tmp_path / "folder") == ["one"] if name == "two" else True
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["two"]


def test_a_link_to_a_folder_is_replaced_and_not_the_folder(tmp_path):
    write_whole(tmp_path / "far" / "file", "far")
    (tmp_path / "link").symlink_to("far")
    with whole_folder(tmp_path / "link"):
        pass
    assert names(tmp_path) == ["far", "link"]
    assert names(tmp_path / "far") == ["file"]
    assert names(tmp_path / "link") == []


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    write_whole(tmp_path / "name", "a file")
    with pytest.raises(NotADirectoryError), whole_folder(tmp_path / "name"):
        pass
    assert names(tmp_path) == ["name"]


def test_only_what_dead_processes_left_is_removed(tmp_path):
    file = tmp_path / "a"
    kept = [
        ".a.txt",
        ".a.0123456789.old",
        f".a.{_host()}.{os.getpid()}.00000000",  # of another thread
        f".a.{_host()}.{os.getppid()}.00000000",
        ".a.00000000.99999999.00000000",  # of another host
        f".a.b.{_host()}.99999999.00000000",  # of another file
    ]
    left = [f".a.{_host()}.99999999.{i:08d}" for i in range(2)] + [".a.00000000.99999999.11111111"]
    for name in kept + left:
        (tmp_path / name).write_text("")
    os.utime(tmp_path / left[2], (time.time() - 90_000, time.time() - 90_000))
    (tmp_path / left[1]).unlink()
    (tmp_path / left[1] / "images").mkdir(parents=True)
    write_whole(file, "")
    assert names(tmp_path) == sorted([*kept, "a"])


COMPETE = """
import sys
from pathlib import Path
from experiments.files import whole_folder
for number in range(100):
    with whole_folder(Path(sys.argv[1], "folder")) as folder:
        for name in "abc":
            (folder / name).write_text(f"{sys.argv[2]} {number}")
"""


def test_processes_that_replace_a_folder_at_once_leave_a_whole_one(tmp_path):
    processes = [python(COMPETE, tmp_path, str(i)) for i in range(3)]
    for process in processes:
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 0
    assert names(tmp_path) == ["folder"]
    assert len({(tmp_path / "folder" / name).read_text() for name in "abc"}) == 1


# Kills

WRITE = """
import sys
from pathlib import Path
from experiments.files import whole_folder, write_whole
path = Path(sys.argv[1])
number = 0
while True:
    write_whole(path / "file", bytes([number % 256]) * 2**22)
    with whole_folder(path / "folder") as folder:
        for name in map(str, range(20)):
            (folder / name).write_bytes(bytes([number % 256]) * 2**14)
    number += 1
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(5))
def test_fault_21_after_a_kill_in_mid_write_the_old_or_the_new_one_is_there(tmp_path, seed):
    process = python(WRITE, tmp_path)
    for _ in range(2):
        process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    data = (tmp_path / "file").read_bytes()
    assert len(data) == 2**22
    assert len(set(data)) == 1
    if (tmp_path / "folder").exists():  # a kill between two renames leaves none
        parts = [p.read_bytes() for p in (tmp_path / "folder").iterdir()]
        assert len(parts) == 20
        assert len(set(b"".join(parts))) == 1
    write_whole(tmp_path / "file", "")
    with whole_folder(tmp_path / "folder"):
        pass
    assert names(tmp_path) == ["file", "folder"]


DRAW = """
import os, signal, sys
from analysis.figures import draw, ranks, style
from analysis.results import Results
draw.MAKERS = (ranks,)
save = style.save
def kill(*words):
    save(*words)
    os.kill(os.getpid(), signal.SIGKILL)
style.save = kill
draw.run(Results.open(sys.argv[1]))
"""


def test_fault_21_a_kill_while_figures_are_drawn_leaves_the_old_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "MAKERS", (ranks,))
    folder = tmp_path / "tiny"
    write_results(folder, tiny)
    write_whole(folder / FIGURES / "captions.json", "old")
    process = python(DRAW, folder)
    words = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, words
    assert names(folder / FIGURES) == ["captions.json"]
    assert [name for name in names(folder) if name.startswith(f".{FIGURES}.")]
    results = Results.open(folder)
    draw.run(results)
    assert not [name for name in names(folder) if name.startswith(".")]
    captions = json.loads((folder / FIGURES / "captions.json").read_text())
    assert list(captions) == [figure.stem for figure in draw.plan(results)]
    assert len(names(folder / FIGURES)) == 3 * len(captions) + 1


def test_a_cell_with_its_content_is_left_alone_and_a_changed_one_written_again(tiny, in_tmp):
    study = Study(tiny)

    def write():
        prepare.write_cell(study, study.datasets["controlled"], "flips-0.3", 0)
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    folder = in_tmp / study.data_folder("controlled", "flips-0.3", 0)
    first, inode = write(), folder.stat().st_ino
    assert write() == first
    assert folder.stat().st_ino == inode
    images, described = sorted((folder / "images").iterdir()), folder / "dataset.json"
    masks = sorted((folder / "masks").iterdir())

    def add():
        writing.save_image(folder / "images" / "new.png", np.zeros((32, 32), np.uint8))

    changes = [
        lambda: images[0].write_bytes(images[1].read_bytes()),
        lambda: masks[0].write_bytes(masks[0].read_bytes()[:40]),
        masks[0].unlink,
        add,
        described.unlink,
        lambda: described.write_text("{"),
        lambda: described.write_text(described.read_text().replace("flips", "other")),
    ]
    for change in changes:
        change()
        assert write() == first
    assert names(folder.parent) == [folder.name]


# Disks

FULL = r"No space left on device"


@contextmanager
def mounted(folder, size):
    """A small disk; a function that mounts it again, with other options."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    try:
        done = subprocess.run([*mount, f"size={size}", "disk", folder], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no command mount")
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.decode().strip()}")
    try:
        yield lambda options: subprocess.run(
            [*mount, f"remount,{options}", "disk", folder], check=True
        )
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def contents(folder):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_fault_24_on_a_full_disk_the_old_files_stay_and_no_new_ones(tmp_path):
    with mounted(tmp_path / "disk", "64k"):
        folder = tmp_path / "disk"
        write_whole(folder / "file", "old")
        with whole_folder(folder / "folder") as new:
            write_whole(new / "file", "old")
        before = contents(folder)
        with pytest.raises(OSError, match=FULL) as error:
            write_whole(folder / "file", bytes(2**17))
        assert error.value.filename == str(folder / "file")
        with pytest.raises(OSError, match=FULL) as error, whole_folder(folder / "folder") as new:
            write_whole(new / "other", bytes(2**17))
        assert error.value.filename == str(folder / "folder" / "other")
        noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
        with pytest.raises(OSError, match=FULL) as error, whole_folder(folder / "folder") as new:
            writing.save_image(new / "image.png", noise)
        assert error.value.filename == str(folder / "folder")
        assert contents(folder) == before
        (folder / "filler").write_bytes(bytes(os.statvfs(folder).f_bavail * 4096))
        with pytest.raises(OSError, match=FULL), lock(folder / "lock"):
            pass
        assert names(folder) == ["file", "filler", "folder"]


MAP = """
import sys
from pathlib import Path
import numpy as np
from experiments.runs import batches
batches.LARGE = 1000
arrays = (np.full((100, 100), i, np.uint8) for i in range(100))
print(batches.stack(arrays, (100, 100, 100), Path(sys.argv[1])).sum())
"""


def test_fault_24_a_mapped_split_on_a_full_disk_is_an_error_and_no_signal(tmp_path):
    with mounted(tmp_path / "disk", "512k") as remount:
        path = tmp_path / "disk" / "split.npy"
        process = python(MAP, path)
        words = process.communicate()[0]
        assert process.returncode == 1, words  # and not -signal.SIGBUS
        assert f"No space left on device: '{path}'" in words
        assert names(path.parent) == []
        remount("size=8m")
        process = python(MAP, path)
        assert process.communicate()[0].split() == ["49500000"]
        assert names(path.parent) == ["split.npy", "split.sha256"]


def test_fault_24_a_dataset_that_the_disk_has_no_room_for_is_not_there(tmp_path):
    members = {f"own/{name}": data for name, data in contents(layouts.folder_of(tmp_path)).items()}
    with (
        layouts.serving(tmp_path / "served") as server,
        mounted(tmp_path / "disk", "64k") as remount,
    ):
        data = tmp_path / "disk" / "data"
        for size, named in ((2**20, "own.zip"), (0, ".png")):  # in the download, in the unpacking
            layouts.pack(server.folder / "own.zip", members | {"own/filler": bytes(size)})
            with pytest.raises(OSError, match=FULL) as error:
                fetch("own", server.address, data)
            assert error.value.filename.startswith(str(data))
            assert error.value.filename.endswith(named)
            assert names(data) == []
        remount("size=8m")
        assert (fetch("own", server.address, data) / "images" / "3.png").exists()


def prepared_on(disk, tiny):
    """The folder of a study on a disk, with its configuration alone."""
    tiny["experiments"] = {"noise": tiny["experiments"]["noise"]}
    folder = disk / "results" / "tiny"
    write_whole(folder / "config.json", json.dumps(tiny))
    return folder


def test_fault_24_a_step_on_a_full_disk_ends_in_one_line_and_goes_on_with_room(tiny, tmp_path):
    other = prepared_on(tmp_path / "other", tiny)
    step(tmp_path / "other", "experiments", "prepare", "results/tiny")
    with mounted(tmp_path / "disk", "32k") as remount:
        folder = prepared_on(tmp_path / "disk", tiny)
        words = step(tmp_path / "disk", "experiments", "prepare", "results/tiny", ok=False)
        assert "Traceback" not in words
        (line,) = [line for line in words.splitlines() if "dicebench:" in line]
        assert "results/tiny/data/controlled/" in line
        assert "No space left on device; free space, then run the same command again" in line
        left = {name: data for name, data in contents(folder).items() if "logs/" not in name}
        assert left.keys() >= {"config.json"}
        assert not [name for name, data in left.items() if not data or "/." in name]
        shutil.rmtree(folder / "logs")
        (folder / "filler").write_bytes(bytes(os.statvfs(folder).f_bavail * 4096))
        words = step(tmp_path / "disk", "experiments", "prepare", "results/tiny", ok=False)
        assert words.count("No space left on device") == 1  # the log has no room either
        remount("size=8m")
        step(tmp_path / "disk", "experiments", "prepare", "results/tiny")
        assert contents(folder / "data") == contents(other / "data")


def test_fault_24_a_step_on_a_read_only_disk_ends_in_one_line(tiny, tmp_path):
    with mounted(tmp_path / "disk", "8m") as remount:
        folder = prepared_on(tmp_path / "disk", tiny)
        before = contents(folder)
        remount("ro")
        words = step(tmp_path / "disk", "experiments", "prepare", "results/tiny", ok=False)
        assert "Traceback" not in words
        (line,) = [line for line in words.splitlines() if "dicebench:" in line]
        assert "results/tiny/logs: Read-only file system; make it accessible, then run" in line
        assert contents(folder) == before


def test_fault_24_figures_on_a_full_disk_stay_as_they_were(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "MAKERS", (ranks,))
    with mounted(tmp_path / "disk", "8m") as remount:
        folder = tmp_path / "disk" / "tiny"
        results = write_results(folder, tiny)
        draw.run(results)
        before = contents(folder / FIGURES)
        room = os.statvfs(folder).f_bavail * 4096
        (folder / "filler").write_bytes(bytes(room - 2**15))
        for name in (None, *(figure.stem for figure in draw.plan(results))):
            with pytest.raises(OSError, match=FULL) as error:
                draw.run(results, name)
            assert error.value.filename.startswith(str(folder / FIGURES))
            assert contents(folder / FIGURES) == before
            assert not [name for name in names(folder) if name.startswith(".")]
        remount("size=16m")
        draw.run(results)
        assert contents(folder / FIGURES) == before
