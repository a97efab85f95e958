"""Training: the loss is the only difference, ignored pixels have no effect, divergence shows."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from experiments.data import controlled
from experiments.runs import fit, lane, models, provenance, records, table
from experiments.runs.batches import Cell, set_aside, to_target
from experiments.runs.run import train, weights_hash
from experiments.runs.validity import State
from tests.conftest import write_halves
from tests.runs.conftest import prepared_study, state, train_here


def test_a_run_whose_last_step_has_no_finite_gradient_has_diverged(short, in_tmp, monkeypatch):
    short["training"]["steps"] = 1
    study = prepared_study(short)

    def loss(logits, target):
        return (logits - logits.detach()).abs().sqrt().sum()  # 0, and no slope there

    loss.to = lambda device: loss
    monkeypatch.setattr(lane.losses, "build", lambda spec, multilabel: loss)
    monkeypatch.setattr(provenance, "code", lambda spec: {"train": "none", "evaluate": "none"})
    record = train(study.workspace, study.runs[0])
    assert (record["status"], record["step"]) == ("diverged", 1)
    assert state(study, study.runs[0]) is State.VALID


@pytest.mark.parametrize("loss", ["dice", "cross_entropy", "boundary_loss", "elsewhere"])
@pytest.mark.parametrize("augment", [True, [{"HorizontalFlip": {}}]])
def test_ignored_pixels_have_no_effect(tiny, in_tmp, loss, augment):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):  # two folders that differ only at pixels of class 7
        for i in range(12):
            image, mask = controlled.scene(np.random.default_rng(i), 32, 0.2, "large")
            labels = mask.copy()
            labels[:, :8] = 7
            mask[:, :8] = rng.integers(2) if name == "one" else 1
            for part, array in (("images", image), ("masks", mask * 255), ("labels", labels)):
                (in_tmp / name / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(in_tmp / name / part / f"{i}.png")
    uses = {
        "boundary_loss": {"use": "boundary"},
        "elsewhere": {"use": "segmentation_models_pytorch.losses:DiceLoss", "mode": "binary"},
    }
    results = {}
    for name in ("one", "two"):
        for ignore in (None, 7):
            study = prepared_study(
                tiny
                | {
                    "study": f"{name}-{ignore}",
                    "datasets": {
                        "d": {"folder": name, "ignore": ignore, "train": 7, "val": 2, "test": 3}
                    },
                    "losses": {loss: uses.get(loss, {})},
                    "experiments": {"e": {"levels": {"as it is": {}}}},
                    "image_size": 32,
                    "seeds": [0],
                    "training": tiny["training"] | {"augment": augment},
                }
            )
            (run,) = study.runs
            record = train(study.workspace, run)
            assert record["status"] == "ok", record.get("reason")
            counts = Path(study.run_folder(run), "counts.csv").read_text()
            results[name, ignore] = record["weights"], record["val_dice"], counts
    assert results["one", 7] == results["two", 7]
    assert results["one", None] != results["two", None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["dice", "cross_entropy", "lovasz", "hausdorff"])
def test_pixels_set_aside_have_no_effect_and_no_gradient(channels, name):
    generator = torch.Generator().manual_seed(0)
    ignored = np.zeros((2, 8, 8), np.uint8)
    ignored[:, 2:5] = 1
    where = torch.from_numpy(ignored)[:, None] > 0
    logits = torch.randn(2, channels, 8, 8, generator=generator)
    masks = np.random.default_rng(0).integers(max(2, channels), size=ignored.shape)
    values = []
    for more in (0.0, 3.0):
        moved = (logits + more * where).requires_grad_()
        labels = torch.from_numpy(np.where(ignored, more > 0, masks))
        target = to_target(labels, max(1, channels - 1))
        value = lane.losses.build(name)(*set_aside(torch.from_numpy(ignored).bool(), moved, target))
        value.backward()
        assert (moved.grad.masked_select(where) == 0).all()
        assert moved.grad.abs().sum() > 0
        values.append(value.item())
    assert values[0] == values[1]


def test_several_classes_are_trained_by_one_model(tiny, in_tmp):
    write_halves(in_tmp / "halves")
    own = {"folder": "halves", "train": 7, "val": 2, "test": 3, "classes": {"left": 4, "right": 9}}
    study = prepared_study(
        tiny
        | {
            "datasets": {"halves": own},
            "losses": {
                "dice": {},
                "boundary": {},  # with maps
                "smp": {"use": "segmentation_models_pytorch.losses:DiceLoss", "mode": "multiclass"},
            },
            "experiments": {"e": {"levels": {"as it is": {}}}},
            "seeds": [0],
            "keep": ["predictions"],
        }
    )
    train_here(study, *study.runs)
    rows, every = table.collect(study)
    assert [record["status"] for record in every] == ["ok"] * 3
    assert rows.groupby("loss").size().tolist() == [3 * 2 * 2] * 3
    for record in every:
        assert set(record["threshold"]) == set(record["val_dice"]) == {"left", "right"}
    tuned = rows["threshold"] == "tuned"
    assert rows.loc[tuned, "threshold_value"].between(0, 1).all()
    assert rows.loc[~tuned, "threshold_value"].isna().all()
    picture = Image.open(Path(study.run_folder(study.runs[0]), "probabilities.png"))
    assert picture.size == (3 * 32, 2 * 32)
    assert (rows[["tp", "fp", "fn", "tn"]].sum(axis=1) == 32**2).all()


@pytest.mark.parametrize("augment", [True, [{"Affine": {"rotate": 30, "p": 1}}]])
def test_losses_with_maps_and_schedules_are_trained_like_the_others(short, in_tmp, augment):
    names = ["boundary", "hausdorff", "blob", "ce_to_dice", "dice_boundary"]
    short["losses"] = {key: {} for key in names} | {
        "mix": {"sum": {"dice": {"weight": 0.5, "smooth": 1}, "boundary": 0.1}},
        "monai": {"use": "monai.losses:DiceCELoss", "sigmoid": True},
    }
    short["training"]["augment"] = augment
    study = prepared_study(short, ["none"])
    runs = [run for run in study.runs if not run.stress]
    train_here(study, *runs)
    for run in runs:
        record = records.read_record(study.run_folder(run))
        assert record["status"] == "ok", record


class Drawing(nn.Module):
    """A loss that draws random numbers of every global generator, and a constant of the same."""

    def __init__(self, draws=False):
        super().__init__()
        self.draws = draws
        self._draw()

    def _draw(self):
        if self.draws:
            torch.rand(3), np.random.rand(), random.random()

    def set_progress(self, t):
        self._draw()

    def forward(self, logits, target):
        self._draw()
        return nn.functional.binary_cross_entropy_with_logits(logits, target)


class Forgetful(nn.Module):
    """A dropout of one's own, by numpy and Python."""

    def forward(self, x):
        return x * (np.random.rand() + random.random()) if self.training else x


def test_a_loss_that_draws_random_numbers_changes_no_dropout_mask(short, in_tmp, monkeypatch):
    use = "tests.runs.test_fit:Drawing"
    short["losses"] = {"quiet": {"use": use}, "drawing": {"use": use, "draws": True}}
    options = {"encoder_depth": 3, "upsampling": 1, "decoder_dropout": 0.5}
    short["training"] |= {"architecture": "FPN", "model_options": options}
    build = models.build
    monkeypatch.setattr(models, "build", lambda *a: nn.Sequential(build(*a), Forgetful()))
    study = prepared_study(short, ["none"])
    runs = [run for run in study.runs if not run.stress]
    cell = Cell(study.data_folder(*runs[0].cell))
    quiet, drawing = (fit.fit(cell, run, "cpu", lambda *_: None) for run in runs)
    assert runs[0].loss != runs[1].loss
    assert quiet.curve == drawing.curve
    assert weights_hash(quiet.model) == weights_hash(drawing.model)


def test_every_step_has_its_own_dropout_mask(short, in_tmp, monkeypatch):
    class Seen(nn.Module):
        def forward(self, x):
            masks.add(nn.functional.dropout(torch.ones(99)).numpy().tobytes())
            return x

    masks, build = set(), models.build
    monkeypatch.setattr(models, "build", lambda *a: nn.Sequential(build(*a), Seen()))
    study = prepared_study(short)
    run = study.runs[0]
    seen = []
    fit.fit(Cell(study.data_folder(*run.cell)), run, "cpu", lambda step, loss: seen.append(step))
    assert seen == list(range(6))
    assert len(masks) >= 6
