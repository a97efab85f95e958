"""Cross-entropy with a term on region size: definition, direction of its gradient, stability."""

import numpy as np
import pytest
import torch

from losses import build
from tests.losses.conftest import case, close, one_hot, value_and_gradient

NAMES = ("ce_l1", "ce_kl")
IGNORED = 255


def by_definition(name, size, logits, target, weight):
    """The loss in NumPy: arrays (N, C, L) of two classes or more, weights (N, L)."""
    prob = np.exp(logits - logits.max(1, keepdims=True))
    prob /= prob.sum(1, keepdims=True)
    weight = weight[:, None]
    distances = []
    for p, y, w in zip(prob, target, weight, strict=True):
        if not w.any():
            continue
        p, y = (np.average(v, axis=1, weights=w[0]) for v in (p, y))
        there = y > 0
        kl = (y[there] * np.log(y[there] / p[there])).sum()
        distances.append(np.abs(p - y).sum() if name == "ce_l1" else kl)
    cost = -(weight * target * np.log(prob)).sum() / weight.sum()
    return cost + size * np.mean(distances)


def targets(channels, soft):
    """Logits, and a target (N, C, *space) of which one image has a single class."""
    logits, index = case((4, channels, 5, 6))
    index[1] = 0
    target = one_hot(index, channels)
    if soft:
        other = case((4, channels, 5, 6), 1)[0]
        target = (target + (other.sigmoid() if channels == 1 else other.softmax(1))) / 2
    return logits, target


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_the_definition(name, channels, soft):
    """With weights, an ignored part of an image, and an image without a pixel that counts."""
    logits, target = targets(channels, soft)
    weight = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    ignored = torch.zeros(4, 5, 6, dtype=torch.bool)
    ignored[0, :2], ignored[2] = True, True
    counted = weight.masked_fill(ignored, 0)
    x, y = logits, target
    if channels == 1:
        x, y = torch.cat([torch.zeros_like(x), x], 1), torch.cat([1 - y, y], 1)
    expected = by_definition(
        name, 0.3, *(v.flatten(2).numpy() for v in (x, y)), counted.flatten(1).numpy()
    )
    loss = build({"use": name, "size": 0.3, "ignore_index": IGNORED})
    marked = target.masked_fill(ignored.unsqueeze(1), IGNORED)
    assert loss(logits, marked, weight=weight).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_first_and_second_derivatives_are_those_of_finite_differences(name, channels):
    logits, target = targets(channels, soft=True)
    loss = build({"use": name, "size": 3.0})
    logits.requires_grad_()
    torch.autograd.gradcheck(lambda x: loss(x, target), logits)
    torch.autograd.gradgradcheck(lambda x: loss(x, target), logits)


def slope_of_size(name, prob, target):
    """(Size term, its derivative in p) at the prediction p of all pixels."""
    p = torch.tensor(prob, dtype=torch.float64, requires_grad=True)
    logits = p.logit().expand_as(target)
    term = build(name)(logits, target) - build("cross_entropy")(logits, target)
    return term.item(), torch.autograd.grad(term, p)[0].item()


@pytest.mark.parametrize("name", NAMES)
def test_the_size_term_leads_a_uniform_prediction_to_the_true_proportion(name):
    target = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    target[..., 0, 0] = 1
    for prob in (1e-6, 0.001, 0.005):
        term, slope = slope_of_size(name, prob, target)
        assert term > 1e-4
        assert slope < -1e-1
    for prob in (0.02, 0.1, 0.5, 0.999):
        term, slope = slope_of_size(name, prob, target)
        assert term > 1e-4
        assert slope > 1e-1
    assert slope_of_size(name, 0.01, target)[0] == pytest.approx(0, abs=1e-12)


def test_at_weight_1_the_kl_term_doubles_the_pull_of_a_uniform_prediction():
    target = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    target[..., 0, :4] = 1
    for p in (0.001, 0.2, 0.9):
        logits = torch.full_like(target, p).logit()
        pulls = [
            value_and_gradient(build(name), logits, target)[1].sum()
            for name in ("cross_entropy", "ce_kl")
        ]
        close(pulls[1], 2 * pulls[0], 1e-12)
    # L1: 2 |mean p - mean y|, as steep as the cross-entropy of a rare class at p = 1/2.
    target[..., 0, 1:4] = 0
    assert slope_of_size("ce_l1", 0.5, target)[1] == pytest.approx(2)


@pytest.mark.parametrize("name", NAMES)
def test_the_right_sizes_in_the_wrong_places_cost_the_cross_entropy_alone(name):
    _, target = targets(3, soft=False)
    logits = 2 * target.roll(1, -1)
    shares = logits.softmax(1).mean((2, 3))
    right = torch.zeros_like(target) + shares[:, :, None, None]  # a target of these proportions
    close(build(name)(logits, right), build("cross_entropy")(logits, right), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_kl_term_of_a_vanished_class_keeps_its_value_and_gradient(channels, size, dtype):
    """Every pixel is surely background; mean p of the foreground is 0 in float32."""
    index = torch.zeros(1, 16, 16, dtype=torch.long)
    index[..., 0, :4] = 1
    logits = torch.zeros(1, channels, 16, 16, dtype=dtype)
    logits[:, channels // 3 :] = -size  # all channels but the background
    y = 4 / 256
    terms, slopes = [], []
    for name in ("ce_kl", "cross_entropy"):
        value, gradient = value_and_gradient(build(name), logits, index)
        terms.append(value.item())
        slopes.append(gradient[:, min(1, channels - 1)].double())
    expected = y * np.log(y) + (1 - y) * np.log(1 - y) + y * size
    assert terms[0] - terms[1] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    # d log(mean p) / dx is p's share of all pixels: 1 / 256 each, y of it.
    torch.testing.assert_close(
        slopes[0] - slopes[1], torch.full_like(slopes[0], -y / 256), rtol=2e-2, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_sure_predictions_right_or_wrong_are_finite(name, dtype):
    for channels in (1, 3):
        _, target = targets(channels, soft=False)
        for logits in (100 * (2 * target - 1), 100 * (1 - 2 * target)):
            value, gradient = value_and_gradient(build(name), logits.to(dtype), target)
            assert value.isfinite()
            assert gradient.isfinite().all()


def test_sure_background_dilutes_the_l1_term_and_adds_no_size():
    logits, target = case((2, 1, 4, 8))
    target = target.unsqueeze(1).double()

    def term(x, y):
        return build("ce_l1")(x, y) - build("cross_entropy")(x, y)

    expected = term(logits[..., :6], target[..., :6]) * 6 / 8
    logits[..., 6:], target[..., 6:] = -60.0, 0
    close(term(logits, target), expected, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_size_term_the_loss_is_cross_entropy(name):
    for channels in (1, 3):
        logits, target = targets(channels, soft=True)
        close(
            build({"use": name, "size": 0})(logits, target),
            build("cross_entropy")(logits, target),
            1e-12,
        )
    with pytest.raises(ValueError, match="size must be a number at least 0"):
        build({"use": name, "size": -1})
