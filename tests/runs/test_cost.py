"""The cost of a study before it starts, against real runs and files."""

import resource
import sys
import time
from types import SimpleNamespace

import pytest

from experiments.plan.study import Study
from experiments.runs import cost, models
from experiments.runs.cost import Cost, announce, estimate
from experiments.runs.sizes import FIGURES, TABLE_ROW, Pace, Sizes, used
from tests.conftest import write_halves
from tests.layouts import folder_of
from tests.runs.conftest import prepared_study, train_here


@pytest.fixture
def burning(monkeypatch):
    """Make the call of a model take so many seconds of the processor: function of the seconds.

    It returns the list of the calls.
    """
    build = models.build

    def burn(seconds):
        calls = []

        def slow(*args, **options):
            model = build(*args, **options)
            forward = model.forward

            def call(images):
                calls.append(len(images))
                end = time.process_time() + seconds
                while time.process_time() < end:
                    pass
                return forward(images)

            model.forward = call
            return model

        monkeypatch.setattr(models, "build", slow)
        return calls

    return burn


def blocks(folder):
    """Bytes of a folder's files in whole blocks of 4,096 bytes."""
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())


def test_the_estimated_time_is_that_of_real_runs(short, in_tmp):
    short["training"]["steps"] = 60
    study = prepared_study(short)
    first, *others = study.runs
    train_here(study, first)  # the first calls take longer
    began = time.process_time()
    train_here(study, *others)
    spent = time.process_time() - began
    expected = estimate(study, 1).seconds * len(others) / len(study.runs)
    assert 0.5 < expected / spent < 2


def test_a_slower_model_makes_the_study_longer(short, burning):
    study = Study(short)
    burning(0.02)
    assert estimate(study, 1).seconds > len(study.runs) * 6 * 0.02
    assert estimate(study, 2).seconds > len(study.runs) * 6 * 0.02 / 2


def test_of_a_slow_model_two_steps_and_one_prediction_are_made(short, burning, monkeypatch):
    quick = burning(0)
    estimate(Study(short), 1)
    assert quick == [2] * (cost.STEPS + 1) + [cost.PREDICTED] * 2
    monkeypatch.setattr(cost, "BUDGET", 0.05)
    slow = burning(0.1)
    estimate(Study(short), 1)
    assert slow == [2, 2, cost.PREDICTED]


@pytest.mark.parametrize(
    ("training", "measured"),
    [
        ({"steps": [6, 12], "learning_rate": [0.001, 0.01]}, 1),
        ({"batch_size": [2, 3]}, 2),
        ({"optimizer": ["Adam", "SGD"], "batch_size": [2, 3]}, 4),
    ],
)
def test_each_kind_of_model_is_measured_once(short, monkeypatch, training, measured):
    kinds = []

    def pace(sizes, run, device, budget):
        kinds.append(run)
        return Pace(step=1, predict=0, count=0, weights=0)

    monkeypatch.setattr(cost, "measure", pace)
    short["training"] |= training
    study = Study(short)
    total = estimate(study, 1)
    assert len(kinds) == measured
    assert total.models == len(study.runs)
    assert total.seconds == sum(run.training.steps for run in study.runs)


def test_no_custom_loss_is_imported(short, in_tmp, monkeypatch):
    (in_tmp / "harmful_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(in_tmp)
    short |= {"losses": {"harmful": {"use": "harmful_module:Loss"}}, "reference": "harmful"}
    assert estimate(Study(short), 1).models == 2
    assert "harmful_module" not in sys.modules


def test_a_study_of_several_classes_and_colours_is_measured(short, in_tmp):
    write_halves(in_tmp / "halves")
    folder_of(in_tmp / "colour", colour=True)
    short["datasets"] = {
        "halves": {"folder": "halves", "classes": {"left": 4, "right": 9}},
        "colour": {"folder": "colour"},
    }
    short["experiments"] = {"size": {"levels": {"large": {}}}}
    assert estimate(Study(short), 1).seconds > 0


def test_the_channels_are_those_of_the_first_image(short, in_tmp):
    short["datasets"] = {}
    for name, colour in (("grey", False), ("colour", True), ("damaged", False)):
        folder_of(in_tmp / name, colour=colour)
        short["datasets"][name] = {"folder": name}
    short["datasets"]["wbc"] = {}  # not fetched yet
    (in_tmp / "damaged/images/0.png").write_bytes(b"not a picture")
    study = Study(short)
    channels = {d.name: Sizes(study, d).channels for d in study.datasets.values()}
    assert channels == {"grey": 1, "colour": 3, "damaged": 3, "wbc": 3}


def test_the_estimated_bytes_are_those_of_the_files(short, in_tmp):
    short |= {"image_size": 64, "keep": ["data", "predictions", "weights"]}
    study = prepared_study(short)
    sizes = Sizes(study, study.datasets["controlled"])
    assert (sizes.data() - FIGURES) / blocks(in_tmp / study.folder / "data") == pytest.approx(
        1, 0.1
    )
    run = study.runs[-1]
    assert run.stress["flips"]
    train_here(study, run)
    weights = (study.run_folder(run) / "weights.safetensors").stat().st_size
    rows = 2 * study.datasets["controlled"].test
    files = sizes.record(run, Pace(0, 0, 0, weights)) - rows * TABLE_ROW
    assert files / blocks(study.run_folder(run)) == pytest.approx(1, 0.1)


def test_memory_contains_the_process_and_the_images(short):
    study = Study(short)
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    small = estimate(study, 1).memory
    assert before < small < before + 2**30
    short["datasets"]["controlled"]["test"] = 10**6
    assert estimate(Study(short), 1).memory > small + 10**6 * study.image_size**2


def test_too_small_a_disk_gives_a_warning_with_both_sizes(short, in_tmp, monkeypatch, caplog):
    study = Study(short)
    caplog.set_level("WARNING", "dicebench")
    announce(study)
    assert not caplog.text
    disk = estimate(study, 1).disk
    monkeypatch.setattr(cost.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3e6))
    announce(study)
    assert "has 3 MB left" in caplog.text
    assert f"needs about {disk / 1e6:.0f} MB more" in caplog.text
    caplog.clear()
    monkeypatch.setattr(cost, "used", lambda folder: disk)  # the files are already there
    announce(study)
    assert not caplog.text


def test_the_bytes_of_a_folder_are_those_of_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(b"1" * 10**6)
    (tmp_path / "link").symlink_to("/")
    assert 10**6 <= used(tmp_path) < 1.1 * 10**6


def test_a_cost_that_cannot_be_measured_refuses_no_study(short, in_tmp, monkeypatch):
    def fail(*args):
        raise RuntimeError("no memory")

    monkeypatch.setattr(models, "build", fail)
    assert announce(Study(short)) == "cost unknown: no memory"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            (220, (160, 160), 2, 540, 6e8, 1.1e8),
            "220 models of 160 steps; about 18 min with 1 process, 9 min with 2; 600 MB of memory "
            "per process, 1.2 GB in total; 110 MB of disk",
        ),
        (
            (1, (6, 12), 1, 9000, 6e8, 1.1e9),
            "1 model of 6 to 12 steps; about 2.5 h with 1 process; 600 MB of memory per process; "
            "1.1 GB of disk",
        ),
        (
            (2, (6, 6), 1, 45.4, 2e9, 1e6),
            "2 models of 6 steps; about 45 s with 1 process; 2.0 GB of memory per process; "
            "1 MB of disk",
        ),
    ],
)
def test_a_cost_in_words(values, words):
    assert Cost(*values).words() == words
