"""The step `drop`: the stressed images of a finished study make room, their descriptions stay."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from experiments.data import drop, prepare, prepared
from experiments.layout import DESCRIPTION
from experiments.plan.stamps import is_dropped
from experiments.plan.study import Study
from tests.layouts import folder_of


@pytest.fixture
def study(tiny, in_tmp):
    """A study that keeps no data, with two cells."""
    study = Study(tiny | {"keep": []})
    for stress in ("none", "flips-0.3"):
        prepare.write_cell(study, study.datasets["controlled"], stress, 0)
    return study


def cell(study, stress="flips-0.3"):
    return study.file("data") / "controlled" / stress / "seed-0"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(study, monkeypatch, target, calls):
    """Drop in a process that is killed at a call of a function, which it does not make."""

    def call(*args, **options):
        made.append(args)
        if len(made) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    module, name = target
    made, function = [], getattr(module, name)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, call)
        child = os.fork()
        if not child:
            drop.run(study)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_only_the_marked_descriptions_stay(study, caplog):
    np.save(cell(study) / "0123-train-images.npy", np.zeros(10**6, np.uint8))
    before = json.loads((cell(study) / DESCRIPTION).read_text())
    caplog.set_level("INFO", "dicebench")
    drop.run(study)
    for stress in ("none", "flips-0.3"):
        assert names(cell(study, stress)) == [DESCRIPTION]
        assert is_dropped(cell(study, stress))
    after = json.loads((cell(study) / DESCRIPTION).read_text())
    assert after == before | {"dropped": True}
    freed = float(caplog.messages[-1].split(" MB freed")[0])
    assert 1 < freed < 2
    assert "2 stressed folders" in caplog.messages[-1]


def test_the_data_are_kept_if_the_study_keeps_them(study, tiny):
    drop.run(Study(tiny))
    assert prepared.measure(cell(study)) == prepared.content(cell(study))
    assert not is_dropped(cell(study))


def test_a_second_call_changes_nothing(study, caplog):
    drop.run(study)
    time = (cell(study) / DESCRIPTION).stat().st_mtime_ns
    caplog.set_level("INFO", "dicebench")
    drop.run(study)
    assert caplog.messages[-1].startswith("0.0 MB freed")
    assert (cell(study) / DESCRIPTION).stat().st_mtime_ns == time


def test_a_folder_is_marked_before_its_first_image_is_removed(study, monkeypatch):
    # Killed before the mark: the folder is whole.
    killed(study, monkeypatch, (drop, "write_whole"), 1)
    assert not is_dropped(cell(study))
    assert prepared.measure(cell(study)) == prepared.content(cell(study))
    # Killed at the first and at a later removal: it has images, and counts as dropped.
    for calls in (1, 2):
        killed(study, monkeypatch, (shutil, "rmtree"), calls)
        assert is_dropped(cell(study))
        assert "masks" in names(cell(study))
        assert ("images" in names(cell(study))) == (calls == 1)
    assert prepared.measure(cell(study)) != prepared.content(cell(study))
    drop.run(study)
    assert names(cell(study)) == [DESCRIPTION]


def test_nothing_outside_is_removed_through_a_link(study, in_tmp, caplog):
    outside = folder_of(in_tmp / "outside")
    (outside / DESCRIPTION).write_text(json.dumps({"content": "1"}))
    whole = sorted(outside.rglob("*"))
    data = study.file("data")
    (data / "linked").symlink_to(in_tmp)
    (data / "controlled/linked").symlink_to(in_tmp)
    (cell(study).parent / "seed-1").symlink_to(outside)
    (cell(study) / "linked").symlink_to(outside)
    drop.run(study)
    assert sorted(outside.rglob("*")) == whole
    assert names(cell(study)) == [DESCRIPTION]
    assert caplog.text.count("symbolic link") == 3
    data.rename(in_tmp / "elsewhere")
    data.symlink_to(in_tmp / "elsewhere")
    prepare.write_cell(study, study.datasets["controlled"], "none", 0)
    drop.run(study)
    assert "images" in names(cell(study, "none"))


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_folder_without_a_description_stays_as_it_is(study, text, caplog):
    path = cell(study) / DESCRIPTION
    path.unlink()
    if text is not None:
        path.write_text(text)
    before = names(cell(study))
    drop.run(study)
    assert names(cell(study)) == before
    assert "flips-0.3/seed-0 stays as it is" in caplog.text
    assert is_dropped(cell(study, "none"))


def test_a_dropped_cell_is_prepared_again_with_the_same_content(study):
    content = prepared.content(cell(study))
    drop.run(study)
    assert prepared.content(cell(study)) == content
    prepare.write_cell(study, study.datasets["controlled"], "flips-0.3", 0)
    assert prepared.measure(cell(study)) == prepared.content(cell(study)) == content
    assert not is_dropped(cell(study))


def test_a_study_without_data_has_nothing_to_drop(tiny, in_tmp, caplog):
    caplog.set_level("INFO", "dicebench")
    drop.run(Study(tiny | {"keep": []}))
    assert caplog.messages[-1] == "0.0 MB freed: images of 0 stressed folders"
