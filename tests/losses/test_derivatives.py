"""Second derivatives, transforms of torch.func, and torch.compile, at every size."""

import pytest
import torch
from torch.autograd import forward_ad

from losses import LOSSES, _blocks, build
from tests.losses.conftest import VARIANTS, case, close, one_hot, value_and_gradient, with_ignore
from tests.losses.test_devices import READ_VALUES

ON_VALUES = {"hausdorff", "blob", "hausdorff, one-sided"} | READ_VALUES.keys()
"""Compute with SciPy or count objects on the host."""
CANNOT = "torch.func and torch.compile cannot transform a loss that computes with SciPy"
MAPPED = [n for n in VARIANTS if hasattr(build(VARIANTS[n]), "maps")]


@pytest.fixture(params=["small", "blocks"])
def blocks(request, monkeypatch):
    """The plain formula, and blocks of a few pixels."""
    if request.param == "blocks":
        monkeypatch.setattr(_blocks, "BLOCK", 160)


def penalized(loss, logits, target, strength):
    """The gradient of the loss and a penalty on its gradient."""
    x = logits.clone().requires_grad_()
    value = loss(x, target)
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    return torch.autograd.grad(value + strength * slope.square().sum(), x)[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_gradient_penalty_counts_at_every_size(name, channels, monkeypatch):
    logits, index = case((2, channels, 7, 6))
    loss = build(VARIANTS[name])
    small = [penalized(loss, logits, index, k) for k in (0, 1e3)]
    monkeypatch.setattr(_blocks, "BLOCK", 25)
    large = [penalized(loss, logits, index, k) for k in (0, 1e3)]
    close(large[0], small[0], 1e-10)
    close(large[1], small[1], 1e-10)
    if not name.startswith(("lovasz", "blob")) or channels == 3:
        assert (large[1] - large[0]).abs().max() > 1e-9


def test_a_hessian_in_blocks_is_that_of_the_plain_formula(monkeypatch):
    logits, index = case((1, 1, 3, 4))
    for name in ("dice_ce", "focal", "weighted_cross_entropy"):
        loss = build(name)
        plain = torch.autograd.functional.hessian(lambda x, f=loss: f(x, index), logits)
        with monkeypatch.context() as patch:
            patch.setattr(_blocks, "BLOCK", 3)
            blocked = torch.autograd.functional.hessian(lambda x, f=loss: f(x, index), logits)
        close(blocked, plain, 1e-10)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_func_grad_is_the_gradient_or_a_clear_error(name, dense):
    for channels in (1, 3):
        logits, index = case((2, channels, 7, 6))
        index[1, 0] = 255
        loss = build(with_ignore(VARIANTS[name], 255))
        target = index
        if dense:
            target = one_hot(index, channels).masked_fill(index.unsqueeze(1) == 255, 255)
        expected = value_and_gradient(loss, logits, target)[1]
        if name in MAPPED:
            with pytest.raises(RuntimeError, match=CANNOT):
                torch.func.grad(loss)(logits, target)
            continue
        close(torch.func.grad(loss)(logits, target), expected, 1e-10)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", VARIANTS)
def test_vmap_is_a_loop_or_a_clear_error(name):
    for channels in (1, 3):
        pairs = [case((2, channels, 5, 6), seed) for seed in range(3)]
        logits, index = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        index[:, 1] = 1  # an empty class
        loss = build(VARIANTS[name])
        for target in (index, torch.stack([one_hot(i, channels) for i in index])):
            if name in MAPPED:
                with pytest.raises(RuntimeError, match=CANNOT):
                    torch.func.vmap(loss)(logits, target)
                continue
            expected = torch.stack([loss(*pair) for pair in zip(logits, target, strict=True)])
            close(torch.func.vmap(loss)(logits, target), expected, 1e-10)
            slopes = torch.func.vmap(torch.func.grad(loss))(logits, target)
            each = [value_and_gradient(loss, *p)[1] for p in zip(logits, target, strict=True)]
            close(slopes, torch.stack(each), 1e-10)


@pytest.mark.parametrize("name", [n for n in MAPPED if n not in ON_VALUES])
def test_transforms_take_maps(name):
    pairs = [case((2, 3, 5, 6), seed) for seed in range(3)]
    logits, index = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    loss = build(VARIANTS[name])
    target = torch.stack([one_hot(i, 3) for i in index])
    maps = torch.stack([loss.maps(t) for t in target])
    expected = torch.stack([loss(*pair) for pair in zip(logits, target, strict=True)])

    def call(x, y, m):
        return loss(x, y, maps=m)

    close(torch.func.vmap(call)(logits, target, maps), expected, 1e-10)
    slope = torch.func.grad(call)(logits[0], target[0], maps[0])
    close(slope, value_and_gradient(loss, logits[0], target[0])[1], 1e-10)


def test_forward_mode_is_right_or_refused():
    logits, index = case((2, 1, 7, 6))
    tangent = torch.randn_like(logits)
    for name in ("dice_ce", "focal"):
        loss = build(name)
        expected = (value_and_gradient(loss, logits, index)[1] * tangent).sum()
        _, slope = torch.func.jvp(lambda x, f=loss: f(x, index), (logits,), (tangent,))
        close(slope, expected, 1e-10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_blocks, "BLOCK", 25)
            with forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp"):
                loss(forward_ad.make_dual(logits, tangent), index)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", [n for n in LOSSES if n not in MAPPED])
def test_every_loss_without_maps_compiles_to_one_graph(name, ignored):
    """The graph alone is tested, with the backend "eager": compiling C++ takes minutes."""
    loss = build(with_ignore(name, 255) if ignored else name)
    torch._dynamo.reset()  # its limit of compilations of one function is shared by all losses
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for channels in (1, 3):
        logits, index = case((2, channels, 7, 6))
        if ignored:
            index[0, 1] = 255
        expected = value_and_gradient(loss, logits, index)
        got = value_and_gradient(compiled, logits, index)
        close(got[0], expected[0], 1e-12)
        close(got[1], expected[1], 1e-12)
