"""Training fields as axes: lists, named settings, and the knob of an experiment."""

import pytest

from experiments.errors import ConfigError
from experiments.plan.study import Study


def test_lists_and_named_settings_give_a_grid(tiny):
    tiny["training"]["steps"] = [6, 12]
    tiny["models"] = {"small": {}, "wide": {"encoder": "resnet18", "optimizer": "SGD"}}
    study = Study(tiny)
    assert study.axes == ["steps", "model"]
    assert [setting.name for setting in study.settings] == [
        "",
        "model-wide",
        "steps-12",
        "steps-12_model-wide",
    ]
    assert study.settings[3].label == "steps 12, model wide"
    assert study.settings[3].training.optimizer.name == "SGD"
    assert study.training == study.settings[0].training
    assert len(study.runs) == 4 * 24
    assert study.key_columns == [
        *("dataset", "stress", "loss", "learning_rate", "steps", "model", "seed")
    ]


def test_a_longer_axis_keeps_the_runs_that_are_there(tiny):
    before = {run.path: run.fingerprint for run in Study(tiny).runs}
    tiny["training"]["steps"] = [6, 12]
    after = {run.path: run.fingerprint for run in Study(tiny).runs}
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)


def test_learning_rates_are_a_grid_whose_first_rate_is_fixed(tiny):
    tiny["training"]["learning_rate"] = [0.001, 0.0003, 0.003]
    study = Study(tiny)
    assert study.rates == [0.0003, 0.001, 0.003]
    assert study.training.learning_rate == 0.001
    assert study.axes == []
    assert len(study.runs) == 3 * 24


def test_a_training_field_may_be_the_knob_of_an_experiment(tiny):
    tiny["experiments"]["budget"] = {"knob": "steps", "values": [6, 12], "hold": {"blur": 2}}
    tiny["experiments"]["models"] = {"levels": {"a": {}, "b": {"encoder": "resnet18"}}}
    study = Study(tiny)
    budget = study.experiments["budget"]
    assert (budget.axis, budget.log) == ("Training steps", True)
    assert [(v.label, v.value) for v in budget.levels["controlled"]] == [("6", 6), ("12", 12)]
    assert study.axes == ["steps", "encoder"]
    assert [setting.label for setting in study.settings] == [""]
    where = [study.where("controlled", v, study.settings[0]) for v in budget.levels["controlled"]]
    assert [w["steps"] for w in where] == ["6", "12"]
    runs = [run for run in study.runs if run.stress.name == "blur-2"]
    assert {run.training.steps for run in runs} == {6, 12}
    assert len(study.runs) == 24 + 2 * 4 + 4  # two budgets, one encoder more


def test_an_axis_that_an_experiment_sets_does_not_multiply_it(tiny):
    tiny["training"]["steps"] = [6, 12]
    tiny["experiments"] = {"budget": {"knob": "steps", "values": [3, 6]}}
    study = Study(tiny)
    assert [setting.name for setting in study.settings_of("budget")] == [""]
    assert {run.training.steps for run in study.runs} == {3, 6}


def test_a_list_of_transforms_is_one_value_and_a_list_of_lists_an_axis(tiny):
    tiny["training"]["augment"] = ["HorizontalFlip", {"RandomGamma": {"p": 0.5}}]
    one = Study(tiny)
    assert one.axes == []
    assert one.training.augment == [{"HorizontalFlip": {}}, {"RandomGamma": {"p": 0.5}}]
    tiny["training"]["augment"] = [True, False, ["HorizontalFlip"]]
    labels = [setting.labels["augment"] for setting in Study(tiny).settings]
    assert labels == ["true", "false", "HorizontalFlip"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"steps": []}}, ["training.steps", "at least one"]),
        ({"training": {"steps": [6, 6]}}, ["training.steps", "duplicate value 6"]),
        ({"training": {"schedule": "cosin"}}, ["schedule", "did you mean 'cosine'"]),
        ({"training": {"augment": [{"a": 1}]}}, ["augment", "one name with options"]),
        ({"models": {"a": {"learning_rate": 1}}}, ["models.a", "'learning_rate'"]),
        ({"models": {"a b": {}}}, ["models", "'a b'"]),
        (
            {"training": {"steps": [6, 12]}, "models": {"a": {"steps": 3}}},
            ["models.a.steps", "no list"],
        ),
        ({"models": {"a": {}, "b": {"steps": 6}}}, ["models.b", "settings of no other model"]),
        ({"keep": ["prediction"]}, ["keep", "did you mean 'predictions'"]),
        ({"experiments": {"e": {"knob": "steps", "values": [0]}}}, ["e.values", "0", "at least 1"]),
        ({"experiments": {"e": {"knob": "learning_rate", "values": [1]}}}, ["e.knob"]),
    ],
)
def test_invalid_axes_are_refused(tiny, change, words):
    with pytest.raises(ConfigError) as error:
        Study({**tiny, **change})
    for word in words:
        assert word in str(error.value)


def test_each_dataset_can_hold_its_own_knobs_and_fields(tiny):
    tiny["datasets"] = {"controlled": {}, "more": {"source": "controlled"}}
    hold = {"controlled": {"size": "small"}, "more": {"batch_size": 1}}
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0, 0.1], "hold": hold}}
    levels = Study(tiny).experiments["noise"].levels
    assert [level.stress.name for level in levels["controlled"]] == [
        "size-small",
        "flips-0.1_size-small",
    ]
    assert [level.training for level in levels["more"]] == [{"batch_size": 1}] * 2
    del hold["more"]
    with pytest.raises(ConfigError, match=r"noise\.hold: 'more' is missing"):
        Study(tiny)
    tiny["experiments"]["noise"]["hold"] = {"flipz": 3}
    with pytest.raises(ConfigError, match="unknown setting 'flipz'"):
        Study(tiny)
