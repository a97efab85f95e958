"""Configurations: what they come to, and what is refused with which words."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.errors import ConfigError
from experiments.plan.config import Schedule, schema
from experiments.plan.labels import label_of
from experiments.plan.reading import refuse_duplicates
from experiments.plan.seeds import stable_seed
from experiments.plan.study import Study
from experiments.plan.values import to_label, to_number
from losses import build

ROOT = Path(__file__).parents[1]


def test_a_value_that_is_the_datasets_own_is_no_stress(tiny):
    tiny["experiments"] = {
        "a": {"levels": {"x": {"fraction": 0.06, "size": "large", "flips": 0.0, "blur": 0}}},
        "b": {"knob": "flips", "values": [0, 0.1]},
    }
    assert list(Study(tiny).stresses("controlled")) == ["none", "flips-0.1"]


def test_a_run_depends_on_its_own_settings_only(tiny):
    before = {run.path: run.fingerprint for run in Study(tiny).runs}
    tiny["losses"]["squared_dice"] = {}
    tiny["experiments"]["noise"]["values"] = [0, 0.1, 0.3]
    tiny["seeds"] = [0, 1, 2]
    after = {run.path: run.fingerprint for run in Study(tiny).runs}
    assert before.items() <= after.items()
    tiny["training"]["steps"] = 7
    changed = {run.path: run.fingerprint for run in Study(tiny).runs}
    assert not set(changed.values()) & set(after.values())


def test_the_check_is_made_again_where_models_have_other_outputs(tiny):
    tiny["experiments"] = {"a": {"levels": {"x": {"blur": 1}}}}
    one = Study(tiny)
    tiny["datasets"] = {"wbc": {"classes": {"cell": "masks", "nucleus": "nucleus"}}}
    two = Study(tiny)
    assert (one.class_counts, two.class_counts) == ([(1, False)], [(2, False)])
    assert one.check_fingerprint != two.check_fingerprint


def test_a_cell_does_not_know_its_loss(tiny):
    runs = Study(tiny).runs
    by_loss = {loss: [r.cell for r in runs if r.loss == loss] for loss in ("dice", "cross_entropy")}
    assert by_loss["dice"] == by_loss["cross_entropy"]


def test_seeds_are_the_same_in_every_process():
    code = "from experiments.plan.seeds import stable_seed as s; print(s('order', 'a', 'none', 0))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert int(out.stdout) == stable_seed("order", "a", "none", 0)
    assert stable_seed("order", "a", "none", 0) != stable_seed("order", "a", "none", 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losess": {}}, ["losess", "did you mean 'losses'"]),
        ({"study": "a/b"}, ["study", "'a/b'", "letters"]),
        ({"seeds": [0, 0]}, ["seeds", "duplicate value 0"]),
        ({"seeds": ["a"]}, ["seeds", "'a'", "whole number"]),
        ({"seeds": []}, ["seeds", "at least one"]),
        ({"seeds": [True]}, ["seeds", "True", "whole number"]),
        ({"image_size": 30}, ["image_size", "30", "multiple of 8"]),
        ({"device": "gpu"}, ["device", "'gpu'", "auto, cpu, cuda"]),
        ({"losses": {"dise": {}}}, ["losses.dise", "did you mean 'dice'"]),
        ({"losses": {}}, ["losses", "at least one"]),
        ({"losses": {"dice": {"use": "mine:Dice"}}}, ["losses.dice.use", "'mine:Dice'", "suite"]),
        ({"losses": {"dice": {"use": "tversky"}}}, ["losses.dice.use", "'tversky'", "suite"]),
        ({"losses": {"dice_ce": {"sum": {"dice": 1}}}}, ["losses.dice_ce.sum", "suite"]),
        ({"losses": {"l": {"sum": {"dicee": 1}}}}, ["losses.l.sum", "did you mean 'dice'"]),
        ({"losses": {"l": {"sum": {"dice": -1}}}}, ["losses.l.sum.dice", "-1"]),
        ({"losses": {"l": {"use": "no_such_module:L"}}}, ["no_such_module", "PYTHONPATH"]),
        ({"datasets": {"controlled": {"trian": 3}}}, ["datasets.controlled", "'train'"]),
        ({"datasets": {"controlled": {"train": 0}}}, ["datasets.controlled.train", "0"]),
        ({"datasets": {"wbd": {}}}, ["datasets.wbd", "did you mean 'wbc'", "mirror", "folder"]),
        ({"datasets": {"wbc": {"target": "nuclues"}}}, ["wbc.target", "did you mean 'nucleus'"]),
        ({"datasets": {"wbc": {}}, "mirror": "/no/such"}, ["mirror", "/no/such", "folder"]),
        ({"datasets": {"controlled": {"ignore": 3}}}, ["controlled.ignore", "3", "nothing"]),
        ({"datasets": {"wbc": {"ignore": "x"}}}, ["wbc.ignore", "'x'", "number"]),
        ({"datasets": {"controlled": {"classes": [1]}}}, ["controlled.classes", "nothing"]),
        ({"datasets": {"wbc": {"classes": 8}}}, ["wbc.classes", "8", "list"]),
        ({"datasets": {"wbc": {"classes": ["car"]}}}, ["wbc.classes", "'car'", "number"]),
        ({"datasets": {"wbc": {"classes": {}}}}, ["wbc.classes", "{}", "class ids"]),
        ({"datasets": {"wbc": {"classes": {"a b": 1}}}}, ["wbc.classes", "'a b'", "letters"]),
        (
            {"datasets": {"wbc": {"classes": {"a": "nuclues"}}}},
            ["wbc.classes", "did you mean 'nucleus'"],
        ),
        ({"datasets": {"wbc": {"classes": {"a": 300}}}}, ["wbc.classes.a", "300", "at most 255"]),
        (
            {"datasets": {"wbc": {"classes": {"a": [1, 2], "b": 2}}}},
            ["wbc.classes.b", "2", "no other class"],
        ),
        (
            {"datasets": {"wbc": {"classes": {"a": 1, "b": 2}}}},
            ["boundary.levels.jittered.jitter", "2", "several classes"],
        ),
        (
            {"datasets": {"wbc": {"classes": [8], "target": "nucleus"}}},
            ["wbc.target", "'nucleus'", "next to 'classes'"],
        ),
        ({"datasets": {"x": {"folder": "/no/such/folder"}}}, ["datasets.x", "/no/such/folder"]),
        ({"training": {"steps": 0}}, ["training.steps", "0", "at least 1"]),
        ({"training": {"steps": 2.5}}, ["training.steps", "2.5", "whole number"]),
        ({"training": {"learning_rate": 0}}, ["training.learning_rate", "above 0"]),
        (
            {"training": {"optimiser": "sgd"}},
            ["training", "'optimiser'", "did you mean 'optimizer'"],
        ),
        ({"training": {"augment": "yes"}}, ["training.augment", "'yes'"]),
        ({"experiments": {"e": {"knob": "flip", "values": [0]}}}, ["e.knob", "'flips'"]),
        ({"experiments": {"e": {"knob": "flips", "values": [0.6]}}}, ["0.6", "below 0.5"]),
        ({"experiments": {"e": {"knob": "flips", "values": [0, 0]}}}, ["duplicate value 0"]),
        ({"experiments": {"e": {"levels": {"a": {}, "b": {}}}}}, ["same cell"]),
        ({"experiments": {"e": {"levels": {"a": {"size": "tiny"}}}}}, ["'tiny'", "large, small"]),
        ({"experiments": {"e": {"levels": {}, "knob": "flips"}}}, ["either"]),
        ({"experiments": {"e": {"levels": {"a": {"hue": 1}}}}}, ["'hue'", "blur"]),
        ({"experiments": {"e": {"levels": {"a": {"missed": 1}}}}}, ["a.missed", "below 1"]),
        (
            {"experiments": {"e": {"levels": {"a": {"fraction": "natural"}}}}},
            ["a.fraction", "natural"],
        ),
        ({"experiments": {"e": {"levels": {"a": {"shift": "x"}}}}}, ["a.shift", "'x'"]),
        ({"experiments": {"e": {"levels": {"a": {"overdraw": -40}}}}}, ["overdraw", "-40"]),
        ({"experiments": {"e": {"levels": {"a": {"observer": "x"}}}}}, ["observer", "controlled"]),
        (
            {"experiments": {"e": {"levels": {"a": {"flips": 0.1, "flips_background": 0.1}}}}},
            ["flips_background", "next to 'flips'"],
        ),
        ({"study": "-h"}, ["study", "'-h'", "not '-' first"]),
        ({"study": "a" * 101}, ["study", "at most 100 characters"]),
        ({"study": "é" * 51}, ["study", "fewer if they are not ASCII"]),
        ({"study": "a\n"}, ["study", r"'a\n'", "letters"]),
        ({"study": ["a"]}, ["study", "['a']", "letters"]),
        ({"losses": {"$(touch x)": {"use": "dice"}}}, ["losses.$(touch x)", "letters"]),
        ({"losses": {"-h": {"use": "dice"}}}, ["losses.-h", "not '-' first"]),
        ({"datasets": {"a": {"source": "$(touch x)"}}}, ["datasets.a.source", "letters"]),
        ({"datasets": {"a": {"source": "../wbc"}}}, ["datasets.a.source", "letters"]),
        ({"datasets": {"wbc": {"target": "../x"}}}, ["datasets.wbc.target", "letters"]),
        ({"datasets": {"wbc": {"classes": {"a": "../x"}}}}, ["wbc.classes.a", "letters"]),
        ({"experiments": {"e": {"levels": {"a": {"observer": "-x"}}}}}, ["a.observer", "'-x'"]),
        ({"experiments": {"e": {"levels": {"a\0": {"blur": 1}}}}}, ["e.levels", "control charac"]),
        ({"experiments": {"e": {"levels": {"": {"blur": 1}}}}}, ["e.levels", "''", "a text"]),
        ({"experiments": {"e": {"levels": {"a": {"blur": 1e308}}}}}, ["a.blur", "at most 256"]),
        ({"image_size": 10**9}, ["image_size", "at most 8192"]),
        ({"training": {"steps": 10**12}}, ["training.steps", "at most"]),
        ({"training": {"batch_size": 10**9}}, ["training.batch_size", "at most"]),
        ({"datasets": {"controlled": {"train": 10**9}}}, ["controlled.train", "at most"]),
        ({"seeds": 10**9}, ["seeds", "1000000000", "at most 10000"]),
        ({"losses": {"l": {"use": ["dice"]}}}, ["losses.l", "unknown loss ['dice']"]),
        ({"losses": {"l": {"use": "dice:"}}}, ["losses.l", "unknown loss 'dice:'"]),
        ({"losses": {"l": {"sum": {"dice": {"use": ["d"]}}}}}, ["losses.l.sum", "['d']"]),
        ({"losses": {"l": {"sum": {"in": {"sum": {"dise": 1}}}}}}, ["l.sum.in.sum", "'dice'"]),
        ({"losses": {"l": {"use": "subprocess:Popen"}}}, ["losses.l", "standard library"]),
        (
            {"losses": {"l": {"use": "blob", "criterion": {"use": "os:system"}}}},
            ["losses.l", "'os:system'", "standard library"],
        ),
        ({"losses": {"l": {"sum": {"torch.hub:load": 1}}}}, ["losses.l", "torch.nn"]),
        ({"losses": {"dice": {"smooth": math.inf}}}, ["losses.dice", "inf", "finite"]),
        ({"losses": {"l": {"sum": {"dice": math.inf}}}}, ["losses.l", "inf", "finite"]),
        ({"training": {"learning_rate": math.inf}}, ["training.learning_rate", "inf", "finite"]),
        ({"training": {"learning_rate": "nan"}}, ["training.learning_rate", "'nan'", "finite"]),
        (
            {"training": {"learning_rate": [0.001, 0.0010000001]}},
            ["training.learning_rate", "0.0010000001", "as 0.001 to six digits"],
        ),
        ({"training": {"learning_rate": [0.001, "1e-3"]}}, ["duplicate value '1e-3'"]),
        (
            {"training": {"optimizer": {"name": "SGD", "momentum": math.nan}}},
            ["training.optimizer", "nan", "finite"],
        ),
        ({"training": {"model_options": {"x": [math.inf]}}}, ["model_options", "inf", "finite"]),
        ({"training": {"augment": [{"Blur": {"p": math.inf}}]}}, ["augment", "inf", "finite"]),
        ({"experiments": {"e": {"levels": {"a": {"blur": math.inf}}}}}, ["a.blur", "finite"]),
    ],
)
def test_what_cannot_be_meant_is_refused(tiny, change, words):
    with pytest.raises(ConfigError) as error:
        Study({**tiny, **change})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["a", "2nd_observer", "übung-1", "a" * 100])
def test_names_of_letters_and_digits_are_allowed(tiny, name):
    tiny |= {"study": name, "datasets": {name: {"source": "controlled"}}}
    tiny |= {"losses": {name: {"use": "dice"}, "other": {"use": "focal"}}, "reference": name}
    tiny["experiments"] = {name: {"levels": {"x": {}}}}
    assert Study(tiny).runs[0].path.startswith(f"runs/{name}/none/{name}/")


@pytest.mark.parametrize("text", ["inf", "nan", "Infinity", "1e999", "1_000", "-"])
def test_texts_that_are_no_finite_numbers_stay_texts(text):
    assert to_number(text) == (1000 if text == "1_000" else text)


def test_a_whole_number_is_the_same_cell_however_it_is_written(tiny):
    tiny["experiments"] = {
        "a": {"knob": "blur", "values": [0, 1]},
        "b": {"levels": {"x": {"blur": 1.0}}},
        "c": {"knob": "blur", "values": ["1.0e0", 2.5]},
    }
    assert list(Study(tiny).stresses("controlled")) == ["none", "blur-1", "blur-2.5"]


def test_numbers_of_a_label_keep_all_their_digits():
    assert label_of(0.001) == "0.001"
    assert label_of(1e-4) == "0.0001"
    assert label_of(0.0010000001) == "0.0010000001"
    schedules = [Schedule(name="polynomial", power=p) for p in (0.9, 0.90000001)]
    assert list(map(label_of, schedules)) == ["polynomial-0.9", "polynomial-0.90000001"]


@pytest.mark.parametrize("label", ["", " ", "a\0b", "a\x1b[31m", "a" * 1001, 3])
def test_a_label_is_a_text_without_control_characters(label):
    with pytest.raises(ValueError, match="is not allowed; allowed: "):
        to_label(label)


@pytest.mark.parametrize("label", [r"$\frac$", "two\nlines", "<b>", "\"'", "w" * 300])
def test_a_label_may_have_any_other_signs(label):
    assert to_label(label) == label


def test_a_missing_setting_is_named(tiny):
    del tiny["seeds"]
    with pytest.raises(ConfigError, match="'seeds' is missing"):
        Study(tiny)


def test_a_mirror_says_what_it_holds(tiny, tmp_path):
    (tmp_path / "cells").mkdir()
    tiny |= {"datasets": {"cell": {}}, "mirror": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"did you mean 'cells'.*holds: cells"):
        Study(tiny)


def test_a_public_dataset_is_fetched_unless_a_mirror_holds_it(tiny, in_tmp):
    tiny["datasets"] = {"wbc": {}, "nuclei": {"source": "wbc", "target": "nucleus"}}
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0, 0.3]}}
    study = Study(tiny)
    assert study.fetched == ["wbc"]
    assert study.datasets["nuclei"].input_files([]) == []
    for part in ("images", "masks", "masks_nucleus"):
        (in_tmp / "mirror" / "wbc" / part).mkdir(parents=True)
        (in_tmp / "mirror" / "wbc" / part / "a.png").touch()
    assert Study(tiny | {"mirror": "mirror"}).fetched == []
    (in_tmp / "empty").mkdir()
    assert Study(tiny | {"mirror": "empty"}).fetched == ["wbc"]
    assert study.mirror_address is None
    url = "http://localhost"
    assert Study(tiny | {"mirror": url}).mirror_address == url
    (in_tmp / "mirror").rename(in_tmp / "data")  # a folder of one's own is never fetched
    own = {"datasets": {"wbc": {"folder": "data/wbc"}}}
    assert Study(tiny | own).fetched == []


def test_an_image_without_a_mask_is_refused(tiny, tmp_path):
    for path in ("images/a.png", "images/b.png", "masks/a.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    tiny["datasets"] = {"own": {"folder": str(tmp_path)}}
    with pytest.raises(ConfigError, match=r"masks/b\.png"):
        Study(tiny)
    tiny["datasets"]["own"]["target"] = "nucleus"
    with pytest.raises(ConfigError, match="masks_nucleus"):
        Study(tiny)


def test_each_dataset_can_have_its_own_values(tiny):
    tiny["datasets"] = {"controlled": {}, "more": {"source": "controlled"}}
    tiny["experiments"] = {
        "noise": {"knob": "flips", "values": {"controlled": [0, 0.1], "more": [0, 0.4]}}
    }
    levels = Study(tiny).experiments["noise"].levels
    assert [level.stress.name for level in levels["more"]] == ["none", "flips-0.4"]
    del tiny["experiments"]["noise"]["values"]["more"]
    with pytest.raises(ConfigError, match="'more' is missing"):
        Study(tiny)


@pytest.mark.parametrize("job_per", ["dataset", "loss", "seed"])
def test_jobs_hold_every_run_once(tiny, job_per):
    study = Study({**tiny, "job_per": job_per})
    runs = [run for job in study.jobs.values() for run in job.runs]
    assert len(runs) == len({run.path for run in runs}) == len(study.runs)


def test_every_problem_is_reported_at_once(tiny):
    tiny["datasets"]["wbd"] = {}
    tiny |= {"seeds": [0, 0], "losess": {}, "training": {"steps": 0}}
    tiny["experiments"]["noise"]["values"] = [0, 0.6]
    with pytest.raises(ConfigError) as error:
        Study(tiny)
    places = [problem.partition(":")[0] for problem in error.value.problems]
    expected = {"seeds", "unknown setting 'losess' (did you mean 'losses'?); allowed"}
    expected |= {"training.steps", "datasets.wbd", "experiments.noise.values"}
    assert set(places) == expected
    assert len(places) == len(expected)


def test_an_invalid_entry_hides_no_other_problem(tiny):
    tiny["datasets"] |= {"wbd": {}, "typo": {"trian": 1}}
    tiny["experiments"] |= {"empty": {}, "high": {"knob": "flips", "values": [0.7]}}
    tiny["experiments"]["size"] = {"levels": {"a": {"size": "tiny"}}}
    with pytest.raises(ConfigError) as error:
        Study(tiny)
    for word in ("datasets.wbd", "'trian'", "experiments.empty", "0.7", "a.size"):
        assert word in str(error.value), word


@pytest.mark.parametrize("section", ["study", "datasets", "losses", "experiments", "seeds"])
def test_an_empty_section_is_a_missing_one(tiny, section):
    with pytest.raises(ConfigError, match=f"'{section}' is missing"):
        Study(tiny | {section: None})


def test_a_configuration_takes_the_sums_that_build_takes(tiny):
    own = "tests.user_losses:MyLoss"
    mine = {"weight": 0.5, "use": own}
    sums = [
        {own: 0.5, "dice": 1},
        {"mine": mine, "dice": {"smooth": 1}},
        {"a": {"use": "dice", "weight": 1}, "b": {"use": "dice", "smooth": 1}},
        {"in": {"weight": 2, "sum": {"mine": mine, "dice": 1}}, "mine": mine},
    ]
    tiny["losses"] = {"dice": {"multilabel": True}, "dice_ce": {"smooth": 1, "per": "batch"}}
    tiny["losses"] |= {f"s{i}": {"sum": t, "multilabel": i == 0} for i, t in enumerate(sums)}
    study = Study(tiny | {"reference": "dice"})
    assert "tests.user_losses" in study.loss_modules
    for name in tiny["losses"]:
        assert len(list(build(study.losses[name]).children())) == (1 if name == "dice" else 2)


def test_numbers_among_options_may_be_texts(tiny):
    tiny["training"]["optimizer"] = {"name": "AdamW", "weight_decay": "1e-2"}
    tiny["losses"] |= {"focal": {"gamma": "2e0"}, "s": {"sum": {"dice": "5e-1"}}}
    study = Study(tiny)
    assert study.training.optimizer.options == {"weight_decay": 0.01}
    assert build(study.losses["focal"]).gamma == 2
    assert build(study.losses["s"]).weights == {"dice": 0.5}


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))])
def test_every_configuration_fits_the_schema(path):
    jsonschema = pytest.importorskip("jsonschema")
    config = yaml.safe_load(path.read_text())
    if "datasets" not in config:  # a change of the quick study
        config = yaml.safe_load((ROOT / "config.yaml").read_text()) | config
    jsonschema.validate(config, schema())
    wrong = config | {"training": {"stepz": 1}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


def test_duplicate_keys_are_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("losses:\n  dice: {}\n  focal: {}\n  dice: {smooth: 1}\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml: duplicate key 'dice' at lines 2 and 4"):
        refuse_duplicates(path)
    refuse_duplicates(ROOT / "config.yaml")


def test_numbers_may_be_texts_and_seeds_a_count(tiny):
    tiny["training"] |= {"learning_rate": "1e-3", "steps": "6"}
    tiny["experiments"]["noise"]["values"] = ["0", "3e-1"]
    study = Study(tiny | {"seeds": "2", "image_size": "32"})
    assert (study.training.learning_rate, study.training.steps) == (0.001, 6)
    assert (study.seeds, study.image_size) == ([0, 1], 32)
    assert [v.value for v in study.experiments["noise"].levels["controlled"]] == [0, 0.3]


def test_lists_of_numbers_may_be_texts_as_on_a_command_line(tiny):
    tiny["datasets"] = {"wbc": {"classes": {"a": ["8", "9"]}, "train": "8"}}
    tiny["training"] |= {"steps": ["6", "12"], "learning_rate": ["1e-3", "3e-3"]}
    tiny["experiments"] = {"noise": {"knob": "blur", "values": ["0", "1"]}}
    study = Study(tiny | {"seeds": ["0", "1"]})
    assert study.seeds == [0, 1]
    assert study.datasets["wbc"].classes == (("a", (8, 9)),)
    assert study.rates == [0.001, 0.003]
    assert {run.training.steps for run in study.runs} == {6, 12}
