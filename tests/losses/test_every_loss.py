"""Properties of every registered loss, for each value of its options, on random inputs."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from losses import LOSSES, _blocks, build
from tests.losses.conftest import (
    SHAPES,
    THRESHOLDED,
    UNBOUNDED_BELOW,
    VARIANTS,
    case,
    close,
    one_hot,
    random_examples,
    seeds,
    shapes,
    value_and_gradient,
    with_ignore,
)


@random_examples
@given(shape=shapes, seed=seeds)
def test_the_gradient_is_that_of_finite_differences(named, shape, seed):
    name, loss = named
    logits, index = case(shape, seed)
    if "hausdorff" in name:
        # Its distance to the predicted boundary jumps where p passes 1/2.
        logits += 0.05 * logits.sign()
    if "lovasz" in name or "a sum" in name or "topk" in name:
        # Piecewise: a step that reorders two pixels is no derivative.
        logits = torch.linspace(-3, 3.1, logits.numel(), dtype=torch.float64)[
            torch.randperm(logits.numel(), generator=torch.Generator().manual_seed(seed))
        ].view(shape)
    _, gradient = value_and_gradient(loss, logits, index)
    step = 1e-6
    for i in torch.randperm(logits.numel(), generator=torch.Generator().manual_seed(seed))[:6]:
        move = torch.zeros_like(logits)
        move.view(-1)[i] = step
        slope = (loss(logits + move, index) - loss(logits - move, index)) / (2 * step)
        assert gradient.view(-1)[i].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-8)


@random_examples
@given(shape=shapes, seed=seeds, ignored=st.booleans(), fill=st.sampled_from([None, 0, 1]))
def test_the_fast_path_is_the_plain_formula(named, shape, seed, ignored, fill):
    """In blocks of a few pixels, with a closed-form gradient, compared with autograd on all."""
    name, loss = named
    logits, index = case(shape, seed)
    if fill is not None:
        index[0] = fill
    if ignored:
        loss = build(with_ignore(VARIANTS[name], 255))
        index[..., 0] = 255
    plain = value_and_gradient(loss, logits, index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "BLOCK", 15)
        fast = value_and_gradient(loss, logits, index)
        single = value_and_gradient(loss, logits.float(), index)
        half = value_and_gradient(loss, logits.half(), index)
    close(fast[0], plain[0], 1e-12)
    close(fast[1], plain[1], 1e-12)
    assert (single[0] - plain[0]).abs() < 2e-6 * max(1, plain[0].abs())
    rounded = value_and_gradient(loss, logits.half().float(), index)
    assert half[1].dtype == torch.float16
    close(half[0], rounded[0], 2e-6)
    torch.testing.assert_close(half[1].float(), rounded[1], rtol=1e-2, atol=1e-6)


@random_examples
@given(shape=shapes, seed=seeds)
def test_bounds_and_type(named, shape, seed):
    name, loss = named
    logits, index = case(shape, seed, dtype=torch.float32)
    value = loss(logits, index)
    assert value.shape == ()
    assert value.dtype == torch.float32
    if name not in UNBOUNDED_BELOW:
        assert value >= -1e-6
    bounded = name.partition(",")[0] in {
        *("dice", "squared_dice", "article_dice", "jaccard", "tversky", "focal_tversky"),
        *("generalized_dice", "log_cosh_dice", "noise_robust_dice", "dice_plus_plus", "jdt"),
        *("inverse_size_dice",),
    }
    if bounded and name != "noise_robust_dice":
        assert value <= 1 + 1e-6


@random_examples
@given(shape=shapes, seed=seeds)
def test_the_order_of_images_does_not_matter(named, shape, seed):
    _, loss = named
    logits, index = case(shape, seed)
    close(loss(logits, index), loss(logits.flip(0), index.flip(0)), 1e-12)


@random_examples
@given(shape=shapes, seed=seeds)
def test_flips_and_pixel_orders_do_not_matter(named, shape, seed):
    name, loss = named
    logits, index = case(shape, seed)
    close(loss(logits, index), loss(logits.flip(-1), index.flip(-1)), 1e-12)
    if name not in THRESHOLDED:
        order = torch.randperm(index[0].numel(), generator=torch.Generator().manual_seed(seed))
        mixed = logits.flatten(2)[..., order].view(shape)
        close(loss(logits, index), loss(mixed, index.flatten(1)[:, order].view(index.shape)), 1e-12)


@random_examples
@given(shape=shapes, seed=seeds, dense=st.booleans())
def test_an_ignored_pixel_has_no_effect(named, shape, seed, dense):
    """The last columns, ignored, compared with images without them."""
    name, _ = named
    loss = build(with_ignore(VARIANTS[name], 255))
    logits, index = case(shape, seed)
    last = shape[-1] - 1
    index[..., -1] = 0
    expected = value_and_gradient(loss, logits[..., :last], index[..., :last])
    target = one_hot(index, shape[1]) if dense else index
    target[..., -1] = 255
    if name in THRESHOLDED and "blob" not in name:
        # Distances and objects extend over ignored pixels: only the logits there have no effect.
        expected = loss(logits, target)
        logits[..., -1] = 7.0
        if "hausdorff" not in name:
            close(expected, loss(logits, target), 1e-12)
        return
    value, gradient = value_and_gradient(loss, logits, target)
    assert not gradient[..., -1].any()
    if "blob, dice_ce" in name:
        return  # Its cross-entropy counts the pixels of other objects, at no cost.
    close(value, expected[0], 1e-12)
    close(gradient[..., :last], expected[1], 1e-12)


def test_everything_ignored_costs_nothing(named):
    name, _ = named
    loss = build(with_ignore(VARIANTS[name], 9))
    for shape in SHAPES[:2]:
        logits, index = case(shape)
        value, gradient = value_and_gradient(loss, logits, torch.full_like(index, 9))
        assert torch.isfinite(value)
        assert not gradient.any()


@pytest.mark.parametrize("name", LOSSES)
def test_value_at_a_perfect_prediction(name):
    """0, except the article's 1 - 1/n, smoothed labels, and (negative) distances."""
    loss = build(name)
    for shape in SHAPES:
        _, index = case(shape)
        target = one_hot(index, shape[1])
        logits = (2 * target - 1) * 60.0
        value = loss(logits, index).item()
        if name == "article_dice":
            sizes = target.flatten(2).sum(-1)
            assert value == pytest.approx((1 - 1 / sizes).mean().item(), abs=1e-10)
        elif name == "label_smoothing":
            classes = max(2, shape[1])
            gap = 60.0 if shape[1] == 1 else 120.0
            assert value == pytest.approx(0.1 * (classes - 1) / classes * gap, rel=1e-10)
        elif name in UNBOUNDED_BELOW:
            assert value <= 1e-10
            assert value <= loss(-logits, index).item()
        else:
            assert value == pytest.approx(0, abs=1e-7)


def test_an_empty_mask_and_a_full_prediction(named):
    """A false positive on an empty image costs more than none, and has a gradient."""
    name, loss = named
    target = torch.zeros(2, 1, 16, 16)
    nothing, everything = torch.full((2, 1, 16, 16), -8.0), torch.full((2, 1, 16, 16), 5.0)
    wrong, gradient = value_and_gradient(loss, everything, target)
    if name in {"dice, empty skipped", "boundary, skip"}:
        assert wrong == 0
        assert not gradient.any()
        return
    assert wrong > loss(nothing, target)
    if name != "dice, smooth where empty":
        assert gradient.sum() > 1e-5
        assert (gradient >= 0).all()


def test_label_symmetry_with_two_classes():
    """Swapping foreground and background, in logits and target, if the formula is symmetric."""
    logits, index = case((2, 1, 5, 6))
    target = index.double().unsqueeze(1)
    for name in (
        "cross_entropy",
        "weighted_cross_entropy",
        "label_smoothing",
        "focal",
        "topk",
        "generalized_cross_entropy",
    ):
        loss = build(name)
        close(loss(logits, target), loss(-logits, 1 - target), 1e-12)
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    for name in LOSSES.keys() - {"blob", "combo", "unified_focal"}:
        loss = build(name)
        close(loss(two, index), loss(two.flip(1), 1 - index), 1e-12)


def test_one_channel_is_two_classes(named):
    """Likelihoods of the sigmoid equal those of the softmax over (0, x)."""
    name, loss = named
    logits, index = case((2, 1, 5, 6))
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    likelihood = {
        "cross_entropy",
        "weighted_cross_entropy",
        "label_smoothing",
        "focal",
        "topk",
        "generalized_cross_entropy",
        "focal, alpha",
        "ce_l1",
        "ce_kl",
        "blob",
        "blob, dice_ce",
    }
    if name in likelihood:
        close(loss(logits, index), loss(two, index), 1e-12)


def test_maps_made_beforehand_give_the_same(named):
    _, loss = named
    if not hasattr(loss, "maps"):
        return
    for shape in SHAPES:
        logits, index = case(shape)
        target = one_hot(index, shape[1])
        maps = loss.maps(target)
        assert maps.dtype == torch.float32
        assert maps.shape[0] == shape[0]
        assert maps.shape[2:] == logits.shape[2:]
        expected = value_and_gradient(loss, logits, target)
        mapped = value_and_gradient(loss, logits, target, maps=maps)
        close(mapped[0], expected[0], 1e-12)
        close(mapped[1], expected[1], 1e-12)
        flipped = loss(logits.flip(-1), target.flip(-1), maps=maps.flip(-1))
        close(flipped, expected[0], 1e-12)


def test_a_loss_is_a_module_that_can_be_copied(named):
    _, loss = named
    logits, index = case(SHAPES[0])
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(logits, index) == loss(logits, index)
    assert type(loss).__name__ in repr(loss)


def test_two_backward_passes_give_the_same(named):
    _, loss = named
    logits, index = case(SHAPES[1])
    logits.requires_grad_()
    value = loss(logits, index)
    first = torch.autograd.grad(value, logits, retain_graph=True)[0].clone()
    second = torch.autograd.grad(value, logits)[0]
    close(first, second, 1e-14)


def test_the_training_loop_of_the_article_runs():
    from losses import DiceLoss

    loss_fn = DiceLoss()
    outputs = torch.randn(2, 1, 8, 8, requires_grad=True)
    labels = torch.randint(2, (2, 1, 8, 8)).float()
    loss = loss_fn(outputs, labels)
    loss.backward()
    assert math.isfinite(loss.item())
    assert outputs.grad.abs().sum() > 0
