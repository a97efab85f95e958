"""Classes that overlap: batches and training by a sigmoid for each."""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.scores import metrics
from experiments.runs import augment, evaluate, lane, overlap
from experiments.runs.batches import Cell, batches, set_aside, to_target
from experiments.runs.fit import fit, predict, weights_hash
from experiments.runs.truth import truths
from losses import LOSSES, build
from tests.overlapping import config_of, write_cells
from tests.runs.conftest import prepared_study
from tests.runs.tape import Tapes, repeat
from tests.runs.test_lane import trained


@pytest.fixture
def cells(in_tmp):
    """The dataset, in an empty folder."""
    write_cells()


@pytest.fixture
def one(tiny, cells):
    """A cell and its run."""

    def make(loss=None, **training):
        config = config_of(tiny)
        config["losses"] = {"loss": loss or {"use": "dice_ce"}}
        config["reference"] = "loss"
        config["training"] |= training
        study = prepared_study(config)
        (run,) = study.runs
        return Cell(study.data_folder(*run.cell)), run

    return make


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_of_the_suite_makes_a_step(one, name):
    cell, run = one({"use": name})
    line = lane.Lane(cell, run, "cpu")
    before = line.model.state_dict()["segmentation_head.0.weight"].clone()
    line.advance()
    assert line.read() is None
    assert line.logits.shape == line.target.shape == (2, 3, 32, 32)
    moved = (line.model.state_dict()["segmentation_head.0.weight"] != before).flatten(1).any(1)
    assert moved.all()  # every channel learns
    line.close()


class Full(torch.nn.Module):
    """A custom loss that needs every channel at once."""

    def forward(self, logits, target):
        assert logits.shape == target.shape == (2, 3, *logits.shape[2:])
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, target)


def test_a_custom_loss_gets_all_channels(one):
    cell, run = one({"use": f"{__name__}:Full"})
    line = lane.Lane(cell, run, "cpu")
    line.advance()
    assert line.read() is None
    line.close()


@pytest.mark.parametrize("transforms", [True, [{"Affine": {"rotate": 40, "p": 1}}, {"D4": {}}]])
def test_augmentation_turns_all_classes_with_the_image(one, transforms):
    cell, run = one(augment=transforms, steps=12)
    grey = 40 + 60 * cell.masks[..., 0] + 90 * cell.masks[..., 1] + 50 * cell.masks[..., 2]
    cell.images = grey[..., None].astype(np.uint8)
    seen = set()
    for picked, images, masks, *_ in batches(cell, run):
        assert masks.shape == (2, 32, 32, 3)
        assert set(np.unique(masks)) == {0, 1}
        if transforms is True:  # else the image is interpolated
            assert (40 + masks.astype(int) @ [60, 90, 50] == images[..., 0]).all()
        assert (masks[..., 0] >= masks[..., 1]).all()
        seen |= {(i, mask.tobytes()) for i, mask in zip(picked, masks, strict=True)}
    assert len(seen) > len(cell.images)


def test_a_list_of_transforms_takes_any_number_of_classes():
    rng = np.random.default_rng(0)
    images = rng.integers(255, size=(4, 16, 16, 1), dtype=np.uint8)
    masks = rng.integers(2, size=(4, 16, 16, 7), dtype=np.uint8)
    compose = augment.build([{"Affine": {"rotate": 40, "p": 1}}, {"ElasticTransform": {"p": 1}}])
    _, moved, _ = augment.apply(compose, range(4), images, masks)
    for k in range(7):
        alone = augment.apply(compose, range(4), images, masks[..., k])[1]
        assert (moved[..., k] == alone).all()


@pytest.mark.parametrize("name", ["dice", "cross_entropy", "hausdorff"])
def test_pixels_set_aside_have_no_effect_and_no_gradient(name):
    generator = torch.Generator().manual_seed(0)
    ignored = torch.zeros(2, 8, 8, dtype=torch.bool)
    ignored[:, 2:5] = True
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    masks = torch.randint(2, (2, 8, 8, 3), generator=generator)
    values = []
    for more in (0, 1):
        moved = (logits + more * ignored[:, None]).requires_grad_()
        target = to_target(torch.where(ignored[..., None], more, masks), 3)
        aside, target = set_aside(ignored, moved, target)
        assert (aside.masked_select(ignored[:, None]) < -10).all()  # certain background
        value = build(name, multilabel=True)(aside, target)
        value.backward()
        assert (moved.grad.masked_select(ignored[:, None]) == 0).all()
        assert (moved.grad.abs().sum((0, 2, 3)) > 0).all()
        values.append(value.item())
    assert values[0] == values[1]


@pytest.mark.parametrize("loss", ["dice", "cross_entropy"])
def test_overlapping_classes_are_learnt(one, loss):
    cell, run = one({"use": loss}, steps=150, learning_rate=1e-2, batch_size=4)
    fitted = fit(cell, run, "cpu", lambda *_: None)
    assert fitted.curve[-1]["val_dice"] > 0.9
    prob = predict(fitted.model, cell.test_images, "cpu", multilabel=True)
    rows = pd.DataFrame(evaluate.count(prob, truths(cell.data), multilabel=True))
    scores = metrics.dice(rows.groupby("class")[["tp", "fp", "fn"]].sum())
    assert (scores > 0.8).all()
    assert scores["core"] > 0.9  # all of it is cell too


def test_disjoint_classes_have_equal_truths_but_another_model_and_rule(tiny, cells):
    disjoint = {"core": [2], "beside": [3]}
    found = {}
    for multilabel in (True, False):
        study = prepared_study(config_of(tiny, classes=disjoint, multilabel=multilabel))
        (run,) = study.runs
        cell = Cell(study.data_folder(*run.cell))
        line = lane.Lane(cell, run, "cpu")
        line.advance()
        shapes = line.logits.shape[1], tuple(line.target.shape)
        found[multilabel] = shapes, overlap.regions(cell.masks, 2), truths(cell.data)
        line.close()
    assert found[True][0] == (2, (2, 2, 32, 32))
    assert found[False][0] == (3, (2, 32, 32))
    assert (found[True][1] == found[False][1]).all()
    for name in disjoint:
        pairs = zip(found[True][2][name], found[False][2][name], strict=True)
        assert all((a.mask == b.mask).all() for a, b in pairs)
    prob = np.array([0.6, 0.3, 0.55, 0.4]).reshape(1, 2, 1, 2)
    assert overlap.at_half(prob, True)[0, :, 0].tolist() == [[True, False], [True, False]]
    assert overlap.at_half(prob, False)[0, :, 0].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("loss", ["dice_ce", "boundary"])
def test_a_recording_gives_the_bytes_of_its_calls(one, loss):
    cell, run = one({"use": loss}, steps=7)
    found = [trained(cell, run, record) for record in (Tapes(), repeat)]
    assert found[0] == found[1]


@pytest.mark.parametrize("loss", ["dice_ce", "boundary", "ce_to_dice"])
def test_a_run_continues_with_the_same_bytes(one, loss):
    cell, run = one({"use": loss}, steps=6)
    whole, first, second = (lane.Lane(cell, run, "cpu") for _ in range(3))
    for _ in range(3):
        first.advance()
    first.read()
    second.restore(first.state())
    for line in (whole, second):
        while line.step < line.steps:
            line.advance()
        line.read()
    assert weights_hash(whole.model) == weights_hash(second.model)
    assert whole.recent == second.recent
    for line in (whole, first, second):
        line.close()
