"""Settings that are allowed and may not do the intended thing: a warning before any job."""

import pytest

from experiments import driver
from experiments.plan.stamps import Stamps
from experiments.plan.study import Study
from tests.conftest import write_folder


@pytest.mark.parametrize("seeds", [1, [7], "1"])
def test_one_seed_is_a_warning(tiny, seeds):
    (warning,) = Study(tiny | {"seeds": seeds}).warnings
    assert warning == "seeds: estimates only, no verdicts: one seed has no interval"
    assert Study(tiny).warnings == []


def test_a_mirror_that_no_dataset_uses_is_a_warning(tiny, in_tmp, monkeypatch):
    words = ["mirror: no dataset of the study uses it"]
    write_folder(in_tmp / "mirror" / "wbc", 3)
    own = {"datasets": {"mine": {"folder": "mirror/wbc"}, "controlled": {}}}
    for mirror in ("mirror", "https://me:secret@host/data"):
        assert Study(tiny | {"mirror": mirror}).warnings == words
        assert Study(tiny | {"datasets": {"wbc": {}}, "mirror": mirror}).warnings == []
    assert Study(tiny | own | {"mirror": "https://host"}).warnings == words
    monkeypatch.setenv("HOME", str(in_tmp))
    assert Study(tiny | {"datasets": {"wbc": {}}, "mirror": "~/mirror"}).warnings == []


def test_warnings_are_printed_before_any_job(tiny, in_tmp, capsys, monkeypatch):
    monkeypatch.setattr(driver.signal, "signal", lambda *_: None)
    study = Study(tiny | {"seeds": 1, "mirror": "nowhere"})
    one = driver.Driver(study, Stamps(study))
    one.start()
    one._held.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["warning", "warning"]
    assert "one seed has no interval" in lines[0]
    assert "mirror" in lines[1]
