"""Stamps of steps: named by content, void after any change, and no reason to trust a file time."""

import json
import os
import time

import pytest

from analysis.stamps import Stamps
from experiments import layout
from experiments.errors import ConfigError
from experiments.files import file_sha256
from experiments.plan.study import Study
from tests.conftest import write_folder


@pytest.fixture
def stamps(tiny, in_tmp):
    """The stamps of a study with a stamp and empty files for each step up to its table."""
    done = Stamps(Study(tiny))
    for stamp in [done.check, *done.prepare.values(), *done.train.values(), done.collect]:
        for path in stamp.made:
            make(path)
        stamp.write(stamp.upstream())
    return done


def make(path):
    folder = not path.suffix or "lr-" in str(path)
    (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    (path / "file" if folder else path).write_text("x")


def voids(stamps):
    every = [stamps.check, *stamps.prepare.values(), *stamps.train.values(), stamps.collect]
    return [stamp.path.stem.rpartition("-")[0] for stamp in every if stamp.void()]


def test_a_stamp_counts_until_something_changes(stamps):
    assert voids(stamps) == []
    assert stamps.mechanism.void() == "not done with the present settings, code, data and versions"


def test_a_changed_table_makes_one_step_run_again(stamps):
    table = stamps.study.file(layout.RUNS)
    times = table.stat()
    table.write_text("y")
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert voids(stamps) == ["collect"]
    stamps.sweep()
    assert not stamps.collect.path.exists()
    assert stamps.train["controlled"].path.exists()


def test_a_missing_file_is_no_output(stamps):
    for path in stamps.collect.made:
        path.unlink()
    stamps.collect.write(stamps.collect.upstream())
    assert voids(stamps) == ["collect"]


def test_a_step_that_ran_again_makes_void_what_depends_on_it(stamps):
    before = stamps.collect.upstream()
    train = stamps.train["controlled"]
    (train.made[0] / "file").write_text("longer")
    train.write(train.upstream())
    assert voids(stamps) == ["collect"]
    stamps.collect.write(before)  # it read the older runs
    assert voids(stamps) == ["collect"]
    stamps.collect.write(stamps.collect.upstream())
    assert voids(stamps) == []


def test_failed_runs_are_tried_again(stamps):
    train = stamps.train["controlled"]
    train.write(train.upstream(), again=["a run"])
    assert train.void() == "1 runs failed and are tried again"
    stamps.sweep()
    assert not train.path.exists()
    assert not stamps.collect.path.exists()


@pytest.mark.parametrize("text", ["", "null", '{"files": {}}', "[1]", "\ud800"])
def test_a_damaged_stamp_is_void(stamps, text):
    stamps.collect.path.write_bytes(text.encode(errors="surrogatepass"))
    assert "damaged" in stamps.collect.void()


def test_a_stamp_from_the_future_is_given_the_present_time(stamps):
    later = time.time() + 9999
    os.utime(stamps.check.path, (later, later))
    stamps.sweep()
    assert stamps.check.path.stat().st_mtime < time.time() + 1


def test_a_step_has_one_stamp(stamps):
    other = stamps.collect.path.with_name("collect-0123456789abcdef.json")
    other.write_text("{}")
    stamps.collect.write(stamps.collect.upstream())
    assert not other.exists()


def test_a_moved_study_keeps_its_stamps(stamps, in_tmp):
    moved = Stamps(Study(stamps.study.config, str(in_tmp / "results" / "tiny")))
    assert [stamp.void() for stamp in (moved.check, moved.collect)] == [None, None]


@pytest.mark.parametrize(
    ("word", "step"),
    [
        ("results/tiny/runs.csv", "collect"),
        ("./results/tiny/figures/", "figures"),
        ("results/tiny", "report"),
    ],
)
def test_a_file_is_no_target(stamps, in_tmp, word, step):
    for target in (word, str(in_tmp / word)):
        with pytest.raises(ConfigError, match=f"names of steps, such as '{step}'"):
            stamps.refuse_files(["--cores", "2", target])


def test_a_configuration_and_the_name_of_a_step_are_no_files(stamps):
    stamps.refuse_files(["collect", "--configfile", "results/tiny/config.json", "study.yaml"])


def test_edited_lists_of_a_folder_are_other_data(tiny, in_tmp):
    write_folder(in_tmp / "own", 6)
    description = in_tmp / "own" / "dataset.json"
    description.write_text(
        json.dumps({"split": {"train": ["0", "1"], "val": ["2"], "test": ["3"]}})
    )
    tiny["datasets"] = {"own": {"folder": "own"}}
    before = Stamps(Study(tiny)).prepare["own"].path
    assert Stamps(Study(tiny)).prepare["own"].path == before
    description.write_text(description.read_text().replace('["0", "1"]', '["0", "4"]'))
    assert Stamps(Study(tiny)).prepare["own"].path != before


def test_a_dataset_that_is_fetched_again_is_prepared_again(tiny, in_tmp):
    tiny["datasets"] = {"wbc": {}}
    stamps = Stamps(Study(tiny))
    prepare, fetch = stamps.prepare["wbc"], stamps.fetch["wbc"]
    description = in_tmp / "data" / "wbc" / "dataset.json"
    make(description)
    for path in prepare.made:
        make(path)
    for stamp in (stamps.terms, fetch, prepare):
        stamp.write(stamp.upstream())
    assert prepare.void() is None
    description.write_text("other content")
    fetch.write(fetch.upstream())
    assert "ran again" in prepare.void()


@pytest.mark.parametrize("name", ["report.html.j2", "style.css", "script.js"])
def test_a_template_style_or_script_is_code_of_the_report_only(tiny, in_tmp, monkeypatch, name):
    def paths():
        done = Stamps(Study(tiny))
        return {step: getattr(done, step).path.name for step in ("report", "paper", "verdicts")}

    before, edited = paths(), []

    def sha256(path):
        edited.append(path.name == name)
        return "edited" if path.name == name else file_sha256(path)

    monkeypatch.setattr("analysis.stamps.file_sha256", sha256)
    after = paths()
    assert any(edited)
    assert after["report"] != before["report"]
    assert after["verdicts"] == before["verdicts"]


def test_jobs_of_equal_names_are_refused(tiny, in_tmp):
    for name in ("a", "a_b"):
        write_folder(in_tmp / name, 6)
    tiny["datasets"] = {name: {"folder": name} for name in ("a", "a_b")}
    tiny |= {"losses": {"b_c": {"use": "dice"}, "c": {"use": "dice"}}, "reference": "c"}
    tiny["job_per"] = "loss"
    with pytest.raises(ConfigError, match="two jobs have the name 'a_b_c'"):
        Study(tiny).jobs  # noqa: B018


def test_parts_of_a_job_have_all_runs_once(tiny):
    study = Study(tiny | {"runs_per_job": 10})
    assert [len(job.runs) for job in study.jobs.values()] == [10, 10, 4]
    assert next(iter(study.jobs)) == "controlled_part-1"
    assert [run for job in study.jobs.values() for run in job.runs] == study.runs
