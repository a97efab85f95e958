"""Optimizers and schedules by name."""

import pytest
import torch
from torch import nn

from experiments.errors import ConfigError
from experiments.plan.config import Training
from experiments.runs import jobs, optimizers, records
from tests.runs.conftest import prepared_study


def settings(**fields):
    return Training(**{"steps": 4, "learning_rate": 0.1, **fields})


def parameters():
    return nn.Linear(2, 2).parameters()


def test_adam_in_its_fused_form_is_the_default():
    optimizer = optimizers.build(settings(), parameters())
    reference = torch.optim.Adam(parameters(), lr=0.1, fused=True)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults == reference.defaults


@pytest.mark.parametrize("name", [n for n in optimizers.names() if n != "Muon"])
def test_any_optimizer_of_torch_makes_a_step(name):
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    optimizer = optimizers.build(settings(optimizer=name), layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, layer.weight)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_options_reach_the_optimizer():
    sgd = {"name": "SGD", "options": {"momentum": 0.9, "nesterov": True}}
    optimizer = optimizers.build(settings(optimizer=sgd), parameters())
    assert optimizer.defaults["momentum"] == 0.9
    assert optimizer.defaults["fused"] is True
    plain = {"name": "SGD", "options": {"fused": False}}
    assert not optimizers.build(settings(optimizer=plain), parameters()).defaults["fused"]


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ("LBFGS", ["'LBFGS' is not allowed", "several times per step"]),
        ("SparseAdam", ["sparse gradients"]),
        ("AdamX", ["unknown optimizer 'AdamX'", "did you mean 'Adam", "SGD"]),
        ({"name": "SGD", "momentm": 0.9}, ["'momentm'", "did you mean 'momentum'", "nesterov"]),
        ({"name": "SGD", "lr": 0.9}, ["optimizer.lr", "training.learning_rate"]),
        ({"name": "SGD", "momentum": -1}, ["SGD", "Invalid momentum"]),
    ],
)
def test_unknown_names_and_options_are_refused(optimizer, words):
    with pytest.raises(ConfigError) as error:
        optimizers.build(settings(optimizer=optimizer), parameters())
    for word in ("training.optimizer", *words):
        assert word in str(error.value)


def rates(schedule):
    """The learning rates of four steps and the one after them."""
    training = settings(schedule=schedule)
    optimizer = optimizers.build(training, parameters())
    schedule = optimizers.schedule(training, optimizer)
    result = []
    for _ in range(5):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return result


def test_schedules_by_their_formulas():
    assert rates("constant") == [0.1] * 5
    assert rates("cosine") == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447, 0], abs=1e-7)
    linear = {"name": "polynomial", "power": 1}
    assert rates(linear) == pytest.approx([0.1, 0.075, 0.05, 0.025, 0])
    squared = {"name": "polynomial", "power": 2}
    assert rates(squared) == pytest.approx([0.1, 0.05625, 0.025, 0.00625, 0])


def test_a_grid_of_optimizers_and_schedules_is_trained(short, in_tmp):
    short["losses"] = {"dice": {}}
    short["training"]["optimizer"] = ["Adam", {"name": "SGD", "momentum": 0.9}]
    short["training"]["schedule"] = ["constant", "cosine"]
    study = prepared_study(short, ["none"])
    runs = [run for run in study.runs if not run.stress]
    assert len(runs) == 4
    jobs.train_all(study, runs, jobs=1)
    weights = {records.read_record(study.run_folder(run))["weights"] for run in runs}
    assert len(weights) == 4
