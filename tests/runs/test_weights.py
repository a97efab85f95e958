"""The evaluated weights: last, with batch-norm statistics estimated again, or averaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from experiments.runs import fit, lane, models, records, table
from experiments.runs.batches import Cell, to_tensor
from experiments.runs.fit import predict, weights_hash
from experiments.runs.lane import Lane
from experiments.runs.overlap import dice_by_class
from tests.runs.conftest import prepared_study, train_here
from tests.runs.tape import Tapes, repeat

WEIGHTS = ("last", "recalibrated", "averaged")


@pytest.fixture
def one_cell(short, in_tmp):
    """A function that returns a cell, and its run under a loss with training settings."""

    def make(loss="dice", **training):
        config = short | {"losses": {"loss": {"use": loss}}}
        config["training"] = short["training"] | training
        study = prepared_study(config, ["none"])
        run = study.runs[0]
        return Cell(study.data_folder(*run.cell)), run

    return make


def fitted(cell, run):
    return fit.fit(cell, run, "cpu", lambda *_: None)


def without_batch_norm(*_):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1))


def inputs_of_norms(model, images):
    """Batch norm -> its input when the model is trained on these images."""
    inputs = {}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [n.register_forward_pre_hook(lambda n, x: inputs.update({n: x[0]})) for n in norms]
    with torch.no_grad():
        model(to_tensor(images, "cpu"))
    for hook in hooks:
        hook.remove()
    return inputs


@pytest.mark.parametrize(("at_once", "sizes"), [(32, [8]), (3, [3, 3, 2])])
def test_wrong_statistics_become_those_of_the_training_images(
    one_cell, monkeypatch, at_once, sizes
):
    monkeypatch.setattr(lane, "AT_ONCE", at_once)
    cell, run = one_cell()
    line = Lane(cell, run, "cpu")
    parts = np.split(cell.images, np.cumsum(sizes)[:-1])
    seen = [inputs_of_norms(line.model, part) for part in parts]
    for norm in seen[0]:
        norm.running_mean.fill_(7)
        norm.running_var.fill_(100)
    line.recalibrate(cell.images)
    assert len(seen[0]) > 5
    for norm in seen[0]:
        mean = sum(part[norm].mean((0, 2, 3)) for part in seen) / len(seen)
        variance = sum(part[norm].var((0, 2, 3)) for part in seen) / len(seen)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
        assert norm.momentum == 0.1
    assert line.model.training


def test_statistics_change_no_step_and_no_other_weight(one_cell):
    last, again = (fitted(*one_cell(weights=weights)).model for weights in WEIGHTS[:2])
    for (name, one), other in zip(last.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert weights_hash(last) != weights_hash(again)


def test_a_model_without_batch_norm_is_that_of_the_last_step(one_cell, monkeypatch):
    monkeypatch.setattr(models, "build", without_batch_norm)
    last, again, averaged = (fitted(*one_cell(weights=weights)) for weights in WEIGHTS)
    assert weights_hash(last.model) == weights_hash(again.model) != weights_hash(averaged.model)
    assert last.curve == again.curve


def test_the_average_is_that_of_a_plain_loop(one_cell):
    line = Lane(*one_cell(weights="averaged"), "cpu")
    expected = {}
    while line.step < line.steps:
        line.advance()
        for name, value in line.model.state_dict().items():
            before = expected.get(name, value)
            mean = 0.95 * before + 0.05 * value
            expected[name] = (mean if value.is_floating_point() else mean.long()).clone()
    line.close()
    found = line.evaluated.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert weights_hash(line.evaluated) != weights_hash(line.model)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_last_point_of_the_curve_is_of_the_evaluated_model(one_cell, weights):
    cell, run = one_cell(weights=weights)
    found = fitted(cell, run)
    prob = predict(found.model, cell.val_images, "cpu")
    assert found.curve[-1]["val_fraction"] == (prob > 0.5).any(1).mean() > 0
    assert found.curve[-1]["val_dice"] == np.mean(dice_by_class(prob > 0.5, cell.val_masks))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_steps_give_the_same_model_and_curve(one_cell, monkeypatch, weights, precision):
    cell, run = one_cell(weights=weights, precision=precision)
    results = []
    for record in (Tapes(), repeat):
        monkeypatch.setattr(fit, "recorder", lambda device, record=record: record)
        found = fitted(cell, run)
        results.append((weights_hash(found.model), found.curve, found.diverged))
    assert results[0] == results[1]
    assert results[0][2] is None


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_loss_that_turns_nan_diverges_at_the_same_step(one_cell, weights):
    assert fitted(*one_cell("tests.user_losses:TurnsNaN", weights=weights)).diverged == 3


@pytest.mark.parametrize("weights", WEIGHTS[1:])
def test_weights_that_overflow_at_the_last_step_have_diverged(one_cell, weights):
    sgd = {"name": "SGD"}
    found = fitted(*one_cell(weights=weights, steps=1, optimizer=sgd, learning_rate=1e39))
    assert found.diverged == 1


def test_weights_are_an_axis_whose_kept_models_are_the_evaluated_ones(short, in_tmp):
    short["training"]["weights"] = list(WEIGHTS)
    short["experiments"] = {"e": {"levels": {"as it is": {}}}}
    short["losses"] = {"dice": {}}
    study = prepared_study(short | {"reference": "dice", "keep": ["weights"]})
    train_here(study, *study.runs)
    rows, every = table.collect(study)
    assert list(study.axes) == ["weights"]
    assert set(rows["weights"]) == set(WEIGHTS)
    assert [record["run"]["training"]["weights"] for record in every] == list(WEIGHTS)
    assert len({record["weights"] for record in every}) == 3
    assert ["weights-averaged" in run.path for run in study.runs] == [False, False, True]
    for run in study.runs:
        model = models.build(run.training, 1)
        model.load_state_dict(load_file(Path(study.run_folder(run), "weights.safetensors")))
        assert weights_hash(model) == records.read_record(study.run_folder(run))["weights"]
