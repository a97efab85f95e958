"""The steps of a run: one after another as a plain script makes them, and from recordings."""

import pytest
import torch

import losses
from experiments.plan.seeds import stable_seed
from experiments.runs import batches, fit, lane, models
from experiments.runs.batches import Cell
from experiments.runs.fit import weights_hash
from tests.losses.conftest import VARIANTS
from tests.runs.conftest import prepared_study
from tests.runs.tape import Tapes, repeat

STEPS = 7
SEVERAL = {"folder": "classes", "classes": {"a": [1], "b": [2]}, "train": 7, "val": 2, "test": 2}


def cell_and_run(config, loss=None, **training):
    config["experiments"] = {"noise": {"knob": "flips", "values": [0.2]}}
    config["losses"] = {"loss": loss or {"use": "dice"}}
    config["seeds"] = [0]
    config["training"] |= {"steps": STEPS, **training}
    study = prepared_study(config)
    (run,) = study.runs
    return Cell(study.workspace.data_folder(*run.cell)), run


def trained(cell, run, record=None):
    """The weights, the losses, and whether steps were replayed, after the steps of a run."""
    line = lane.Lane(cell, run, "cpu", record)
    while line.step < line.steps:
        line.advance()
    line.read()
    values, line.recent = line.recent, []
    captured = line.captured
    line.close()
    return weights_hash(line.model), values, captured


def plain(cell, run):
    """The weights after the steps of a run, in a plain script."""
    torch.manual_seed(stable_seed("weights", *run.cell))
    model = models.build(run.training, cell.channels)
    model = model.to(memory_format=torch.channels_last).train()
    loss_fn = losses.build(run.loss_spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=run.training.learning_rate, fused=True)
    maps = None
    if hasattr(loss_fn, "maps"):
        maps = loss_fn.maps(torch.from_numpy(cell.masks)[:, None].float())
        maps = maps.permute(0, 2, 3, 1).numpy()
    values = []
    for step, (_, images, masks, _, some) in enumerate(batches.batches(cell, run, maps)):
        torch.manual_seed(stable_seed("step", *run.cell, step))
        logits = model(batches.to_tensor(images, "cpu"))
        if hasattr(loss_fn, "set_progress"):
            loss_fn.set_progress(step / STEPS)
        extra = {} if some is None else {"maps": torch.from_numpy(some).permute(0, 3, 1, 2)}
        loss = loss_fn(logits, torch.from_numpy(masks)[:, None].float(), **extra)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return weights_hash(model), values


LIBRARY = {"smp": {"use": "segmentation_models_pytorch.losses:DiceLoss", "mode": "binary"}}
SPECS = {
    name: {"use": spec} if isinstance(spec, str) else spec for name, spec in VARIANTS.items()
} | LIBRARY


@pytest.mark.parametrize("loss", SPECS.values(), ids=SPECS)
def test_a_run_has_the_bytes_of_a_plain_script_and_of_its_recording(tiny, in_tmp, loss):
    cell, run = cell_and_run(tiny, loss)
    expected = plain(cell, run)
    assert trained(cell, run)[:2] == expected
    tapes = Tapes()
    weights, values, captured = trained(cell, run, tapes)
    repeated, again, _ = trained(cell, run, repeat)  # the learning rate is a tensor in both
    assert (weights, values) == (repeated, again)
    assert captured
    assert min(tapes.recorded) > 50


MODELS = {
    "U-Net": {},
    "FPN": {"architecture": "FPN", "encoder": "tu-test_resnet", "model_options": {}},
    "DeepLabV3+": {"architecture": "DeepLabV3Plus", "encoder": "resnet18", "model_options": {}},
}
SETTINGS = {
    "tf32": {"precision": "tf32"},
    "cosine": {"schedule": {"name": "cosine"}},
    "SGD": {"optimizer": {"name": "SGD", "momentum": 0.9}},
    "AdamW, cosine": {"optimizer": "AdamW", "schedule": {"name": "cosine"}},
    "list": {"augment": [{"HorizontalFlip": {}}, {"RandomRotate90": {}}]},
}
CASES = {
    f"{name}, {precision}": model | {"precision": precision}
    for name, model in MODELS.items()
    for precision in ("fp32", "bf16")
} | SETTINGS


@pytest.mark.parametrize("training", CASES.values(), ids=CASES)
def test_a_recording_gives_the_bytes_of_the_calls_that_it_replaces(tiny, in_tmp, training):
    cell, run = cell_and_run(tiny, {"use": "dice_ce"}, **training)
    weights, values, captured = trained(cell, run, Tapes())
    assert (weights, values) == trained(cell, run, repeat)[:2]
    assert captured
    assert len(set(values)) == STEPS


def test_a_recording_draws_the_dropout_masks_of_its_steps(tiny, in_tmp, monkeypatch):
    build = models.build
    monkeypatch.setattr(
        models, "build", lambda *a: torch.nn.Sequential(build(*a), torch.nn.Dropout(0.5))
    )
    cell, run = cell_and_run(tiny)
    weights, values, captured = trained(cell, run, Tapes())
    assert (weights, values) == trained(cell, run, repeat)[:2]
    assert captured


class Reads(torch.nn.Module):
    """A model that reads a value of its input on the host."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 1)

    def forward(self, images):
        return self.layer(images) * (1.0 if images.mean().item() > 0 else 2.0)


def test_a_model_that_cannot_be_recorded_is_trained_without(tiny, in_tmp, monkeypatch, caplog):
    monkeypatch.setattr(models, "build", lambda *_: Reads())
    cell, run = cell_and_run(tiny)
    expected = fit.fit(cell, run, "cpu", lambda *_: None)
    monkeypatch.setattr(fit, "recorder", lambda device: Tapes())
    with caplog.at_level("INFO", logger="dicebench"):
        found = fit.fit(cell, run, "cpu", lambda *_: None)
    assert "without recording its steps: aten::_local_scalar_dense" in caplog.text
    assert weights_hash(found.model) == weights_hash(expected.model)
    assert found.curve == expected.curve


def test_an_optimizer_that_cannot_be_recorded_makes_its_steps_eagerly(tiny, in_tmp):
    cell, run = cell_and_run(tiny, optimizer="SGD")
    tapes = Tapes()
    captured = trained(cell, run, tapes)[2]
    whole = Tapes()
    trained(*cell_and_run(tiny, optimizer="Adam"), whole)
    assert captured
    assert tapes.recorded[1] < whole.recorded[1]


@pytest.mark.parametrize("every", [1, STEPS])
def test_the_first_step_without_a_finite_loss_is_found_at_any_time(tiny, in_tmp, every):
    cell, run = cell_and_run(tiny, {"use": "tests.user_losses:TurnsNaN"})
    line, found = lane.Lane(cell, run, "cpu", Tapes()), []
    while line.step < STEPS:
        line.advance()
        if line.step % every == 0:
            found.append(line.read())
    line.close()
    assert next(step for step in found if step is not None) == 3
