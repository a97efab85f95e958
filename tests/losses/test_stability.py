"""Weights without a pixel, confident predictions, infinite logits, and ignored batches."""

import math

import pytest
import torch
from torch.nn import functional as F

from losses import LOSSES, _blocks, build
from tests.losses.conftest import VARIANTS, case, close, one_hot, value_and_gradient, with_ignore

SIDES = (6, 300)
"""Of images for the plain formula and for blocks."""
LIKELIHOODS = {
    name: {"use": name}
    for name in (
        *("cross_entropy", "weighted_cross_entropy", "focal", "generalized_cross_entropy", "topk"),
        *("dice_ce", "squared_dice_ce", "dice_focal", "dice_topk", "combo", "unified_focal"),
        *("ce_l1", "ce_kl"),
    )
} | {
    "label_smoothing, none": {"use": "label_smoothing", "smoothing": 0},
    "weighted, class weights": {"use": "weighted_cross_entropy", "class_weights": [1, 2, 3, 4]},
    "focal, alpha": {"use": "focal", "alpha": 0.25, "gamma": 0.5},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("weights", [[0, 1, 1], [0, 1, 5], [0, 1e-30, 1e30]])
def test_weighted_cross_entropy_without_a_weighted_pixel_is_0(weights, side, dtype):
    loss = build({"use": "weighted_cross_entropy", "class_weights": weights})
    logits = case((1, 3, side, side), dtype=dtype)[0]
    index = torch.zeros(1, side, side, dtype=torch.long)
    for target in (index, one_hot(index, 3, torch.float32)):
        value, gradient = value_and_gradient(loss, logits, target)
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", [*VARIANTS, "weighted"])
def test_everything_ignored_is_0(name, channels, side):
    if side > 100 and any(s in name for s in ("blob", "hausdorff", "a sum")):
        pytest.skip("slow, and computed alike for all sizes")
    weighted = {"use": "weighted_cross_entropy", "class_weights": [1, 2, 3, 4][: max(2, channels)]}
    loss = build(with_ignore(VARIANTS.get(name, weighted), 255))
    logits, index = case((1, channels, side, side), dtype=torch.float32)
    index[:] = 255
    for target in (index, index.unsqueeze(1).expand_as(logits)):
        value, gradient = value_and_gradient(loss, logits, target)
        assert value == 0
        assert not gradient.any()


def confident(channels, size, flipped, seed=0):
    """Logits of about `size` that are right but for a share of the pixels; a hard target."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, channels, 300, 300)
    index = torch.randint(max(2, channels), (1, 300, 300), generator=generator)
    target = one_hot(index, channels, torch.float32)
    logits = (2 * target - 1) * size * (0.5 + torch.rand(shape, generator=generator))
    wrong = torch.rand((1, 1, 300, 300), generator=generator) < flipped
    return torch.where(wrong, -logits, logits), index, target


def binary_reference(x, y):
    z = x.double() * (2 * y.double() - 1)
    return (z.neg().clamp_min(0) + z.abs().neg().exp().log1p()).mean()


def reference(x, y):
    """The cross-entropy of a hard target in float64, right to its last digits."""
    if x.shape[1] == 1:
        return binary_reference(x, y)
    x, true = x.double(), y.argmax(1, keepdim=True)
    far = x - x.gather(1, true)
    rest = far.scatter(1, true, -torch.inf)
    best = rest.amax(1, keepdim=True).clamp_min(0)
    total = (rest - best).exp().sum(1, keepdim=True)
    return torch.where(best > 0, best + ((-best).exp() + total).log(), total.log1p()).mean()


@pytest.mark.parametrize("flipped", [0, 0.001])
@pytest.mark.parametrize("size", [1, 3, 8, 12, 20, 30, 80])
@pytest.mark.parametrize("channels", [1, 4])
def test_confident_cross_entropy_in_blocks_keeps_its_digits(channels, size, flipped):
    logits, index, target = confident(channels, size, flipped)
    assert not _blocks.is_small(logits)
    expected = reference(logits, target).item()
    for spec, y in (
        ("cross_entropy", target),
        ({"use": "cross_entropy", "ignore_index": 255}, index),
        ({"use": "label_smoothing", "smoothing": 0}, target),
        ({"sum": {"cross_entropy": 1, "dice": 0}}, index),
    ):
        value = build(spec)(logits, y).item()
        assert value >= 0
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-36)


@pytest.mark.parametrize("size", [1, 8, 30])
@pytest.mark.parametrize("channels", [1, 4])
def test_label_smoothing_in_blocks_keeps_its_digits(channels, size):
    logits, index, target = confident(channels, size, 0.001)
    loss = build("label_smoothing")
    expected = loss(logits.double(), target.double()).item()
    assert loss(logits, index).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [8, 20])
def test_binary_likelihoods_in_blocks_keep_their_digits(size):
    logits, _, target = confident(1, size, 0)
    for name, scale in (("combo", 0.25), ("weighted_cross_entropy", 1)):
        spec = {"use": name} | ({"class_weights": [1, 1]} if scale == 1 else {"alpha": 1})
        value = build(spec)(logits, target).item()
        factor = 1 if scale == 1 else 0.5
        assert value == pytest.approx(factor * reference(logits, target).item(), rel=1e-6)


def test_a_nearly_perfect_binary_prediction_is_never_negative():
    loss = build("cross_entropy")
    for seed in range(20):
        logits, _, target = confident(1, 30, 0, seed)
        assert loss(logits, target) >= 0


def test_constant_predictions_in_blocks_keep_their_digits():
    """A sum in few parts rounds equal values always in the same direction."""
    for channels in (1, 4):
        logits = torch.linspace(-1.7, 1, channels).view(1, -1, 1, 1).repeat(1, 1, 512, 512)
        index = torch.zeros(1, 512, 512, dtype=torch.long)
        for name in ("cross_entropy", "dice", "dice_ce", "squared_dice"):
            value = build(name)(logits, one_hot(index, channels, torch.float32))
            expected = build(name)(logits.double(), index)
            assert value.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_soft_targets_in_blocks_are_the_plain_formula(name, channels, monkeypatch):
    if name == "lovasz":
        pytest.skip("hard targets only")
    logits = case((2, channels, 9, 10))[0]
    soft = case((2, channels, 9, 10), 1)[0]
    soft = soft.sigmoid() if channels == 1 else soft.softmax(1)
    # Within the tolerance the probabilities of a pixel need not sum to 1.
    soft = soft * 0.9995 if channels > 1 else soft
    expected = value_and_gradient(build(name), logits, soft)
    monkeypatch.setattr(_blocks, "BLOCK", 25)
    got = value_and_gradient(build(name), logits, soft)
    close(got[0], expected[0], 1e-12)
    if channels == 1:
        close(got[1], expected[1], 1e-12)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_class_shut_out_by_infinite_logits_costs_nothing(name, side, ignored):
    """As with a finite, very small logit there; class 0 too, which ignored pixels may stand for."""
    spec = LIKELIHOODS[name]
    for out in (0, 3):
        logits, index = case((2, 4, side, side))
        index = (torch.arange(side * side).view(side, side) % 3 + (out == 0)).repeat(2, 1, 1)
        if ignored:
            spec = spec | {"ignore_index": 255}
            index[:, 1] = 255
        loss = build(spec)
        infinite, small = logits.clone(), logits.clone()
        infinite[:, out], small[:, out] = -torch.inf, -1e4
        dense = one_hot(index, 4)
        if ignored:
            dense[:, :, 1] = 255
        for target in (index, dense):
            value, gradient = value_and_gradient(loss, infinite, target)
            expected = value_and_gradient(loss, small, target)
            close(value, expected[0], 1e-10)
            close(gradient, expected[1], 1e-10)
            assert not gradient[:, out].any()


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_fails_on_a_class_shut_out_by_infinite_logits(name):
    if name == "label_smoothing":
        pytest.skip("wants a probability above 0 of every class")
    logits, index = case((2, 4, 6, 6))
    index, logits[:, 3] = index % 3, -torch.inf
    value, gradient = value_and_gradient(build(name), logits, index)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("side", SIDES)
def test_infinite_logits_that_are_right_cost_nothing_with_one_channel(side):
    _, index = case((1, 1, side, side), dtype=torch.float32)
    target = index.float().unsqueeze(1)
    for name in (
        *("cross_entropy", "dice_ce", "focal", "topk", "weighted_cross_entropy", "ce_l1", "ce_kl"),
    ):
        value, gradient = value_and_gradient(build(name), (2 * target - 1) * torch.inf, target)
        assert value == 0
        assert gradient.isfinite().all()


def test_the_cross_entropy_of_an_infinite_logit_that_is_wrong_is_infinite():
    for side in SIDES:
        logits, index = case((1, 3, side, side))
        logits[:, 1, 0, 0], index[:, 0, 0] = -torch.inf, 1
        for target in (index, one_hot(index, 3)):
            assert build("cross_entropy")(logits, target) == math.inf
            assert math.isnan(build("cross_entropy")(logits * torch.nan, target))


@pytest.mark.parametrize("side", SIDES)
def test_infinite_logits_agree_with_torch(side):
    logits, index = case((2, 4, side, side))
    index, logits[:, 3] = index % 3, -torch.inf
    index[:, 0] = 255
    x = logits.clone().requires_grad_()
    expected = F.cross_entropy(x, index, ignore_index=255)
    expected.backward()
    got = value_and_gradient(build({"use": "cross_entropy", "ignore_index": 255}), logits, index)
    close(got[0], expected.detach(), 1e-10)
    close(got[1], x.grad, 1e-10)
