"""Losses on other devices than the CPU, without one.

Tensors of the meta device and fake CUDA tensors have no values: an operation that reads a value
raises an error. Only meta tensors have a backward pass without a driver; only fake CUDA tensors
show copies from the host.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import losses
from losses import LOSSES, _blocks, _reading, _regions, boundary, build, likelihood, overlap
from tests.losses.conftest import (
    HARD_ONLY,
    VARIANTS,
    case,
    close,
    one_hot,
    value_and_gradient,
    with_ignore,
)

WEIGHTED = {
    "dice, class weights": {"use": "dice", "class_weights": [1, 2, 5]},
    "weighted_cross_entropy, class weights": {
        "use": "weighted_cross_entropy",
        "class_weights": [1, 2, 5],
    },
}
"""For three channels."""

READ_VALUES = {
    "hausdorff": "computes distances to the predicted boundary, which needs SciPy",
    "blob": "calls its criterion once per object, so it needs the number of objects",
    "blob, dice_ce": "as blob",
}
"""Losses that read values on the host at every step, and the reason."""

CASES = [
    pytest.param(name, spec, channels, ignored, id=f"{name}-{channels}{'-ignored' * ignored}")
    for name, spec in (VARIANTS | WEIGHTED).items()
    for channels in (1, 3)
    for ignored in (False, True)
    if channels == 3 or name not in WEIGHTED
]
every_case = pytest.mark.parametrize(("name", "spec", "channels", "ignored"), CASES)


class OnlyOn(TorchDispatchMode):
    """Refuses operations on tensors of another device, copies from it included."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, out)):
            if isinstance(value, torch.Tensor) and value.device.type != self.device:
                raise AssertionError(f"{func} on a tensor of {value.device}")
        return out


def loss_for(spec, ignored):
    return build(with_ignore(spec, 255) if ignored else spec)


def inputs(loss, shape, device, dense=False):
    """Logits, target and keywords (maps) of a shape, without values."""
    logits = torch.empty(shape, device=device)
    target = torch.empty(shape, device=device)
    if not dense:
        target = torch.empty(shape[0], *shape[2:], device=device, dtype=torch.int64)
    if not hasattr(loss, "maps"):
        return logits, target, {}
    sets = getattr(loss, "map_sets", 1)
    return (
        logits,
        target,
        {"maps": torch.empty(shape[0], sets * shape[1], *shape[2:], device=device)},
    )


def step(loss, shape, device, dense=False):
    """Forward and backward on the meta device, forward alone on fake CUDA tensors."""
    logits, target, maps = inputs(loss, shape, device, dense)
    logits.requires_grad_(device == "meta")
    with OnlyOn(device), losses.trusted():
        value = loss(logits, target, **maps)
        if device == "meta":
            value.backward()
            assert logits.grad.shape == logits.shape
    assert value.shape == ()
    assert value.dtype == torch.float32


@every_case
def test_no_value_is_read_forward_and_backward(name, spec, channels, ignored):
    loss = loss_for(spec, ignored).to("meta")
    for dense in (False, True):
        if name not in READ_VALUES:
            step(loss, (2, channels, 5, 6), "meta", dense)
            continue
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            step(loss, (2, channels, 5, 6), "meta", dense)


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch is built without CUDA")
@every_case
def test_nothing_is_copied_to_cuda_forward(name, spec, channels, ignored):
    with FakeTensorMode():
        loss = loss_for(spec, ignored).to("cuda")
        for dense in (False, True):
            if name not in READ_VALUES:
                step(loss, (2, channels, 5, 6), "cuda", dense)
                continue
            with pytest.raises((RuntimeError, AssertionError)):
                step(loss, (2, channels, 5, 6), "cuda", dense)


class Forgetful(torch.nn.Module):
    """Has a constant that stays on the CPU, or makes it again at every call."""

    def __init__(self, again):
        super().__init__()
        self.constant, self.again = torch.tensor([2.0]), again

    def forward(self, logits, target):
        constant = logits.new_tensor([2.0]) if self.again else self.constant
        return (constant * logits).mean()


class Reading(torch.nn.Module):
    """Reads a value at every call."""

    def forward(self, logits, target):
        return logits.mean() * logits.detach().abs().max().item()


def test_the_tests_above_find_constants_on_the_cpu_and_host_reads():
    with pytest.raises(RuntimeError, match="meta"):
        step(Reading(), (2, 1, 5, 6), "meta")
    with pytest.raises((RuntimeError, AssertionError), match="cpu"):
        step(Forgetful(again=False).to("meta"), (2, 1, 5, 6), "meta")
    if not torch.backends.cuda.is_built():
        return
    for again in (False, True):
        with FakeTensorMode(), pytest.raises((RuntimeError, AssertionError), match="cpu"):
            step(Forgetful(again).to("cuda"), (2, 1, 5, 6), "cuda")


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in READ_VALUES])
def test_blocks_limit_the_memory_of_very_large_inputs_only(name, monkeypatch):
    calls = []
    apply = _blocks.BlockSums.apply
    monkeypatch.setattr(_blocks.BlockSums, "apply", lambda *a: (calls.append(1), apply(*a))[1])
    plain = {"topk", "lovasz", "lovasz, per image"}
    for channels in (1, 4):
        side = (2**13, 2**13 // channels)
        step(build(VARIANTS[name]), (1, channels, *side), "meta", dense=True)
        assert not calls
        step(build(VARIANTS[name]), (3, channels, *side), "meta", dense=True)
        assert bool(calls) == (name not in plain)
        calls.clear()


@pytest.fixture
def not_cpu(monkeypatch):
    """Take the formulas of other devices on the CPU."""
    for module in (_blocks, _reading, _regions, boundary, likelihood, overlap):
        monkeypatch.setattr(module, "is_readable", lambda x: False)


@every_case
def test_formulas_of_other_devices_give_the_same(name, spec, channels, ignored, request):
    loss = loss_for(spec, ignored)
    targets = []
    for fill in (None, 0, 1):
        logits, index = case((3, channels, 5, 6))
        if fill is not None:
            index[0] = fill
        if ignored:
            index[1, 2:], index[2] = 255, 255
        dense = one_hot(index, channels)
        dense[:, 0].masked_fill_(index == 255, 255)
        soft = torch.where(dense == 255, dense, dense.clamp(0.1, 0.8))
        targets += [index, dense] if name in HARD_ONLY else [index, dense, soft]
    expected = [value_and_gradient(loss, logits, target) for target in targets]
    request.getfixturevalue("not_cpu")
    for target, (value, gradient) in zip(targets, expected, strict=True):
        other = value_and_gradient(loss, logits, target)
        close(other[0], value, 1e-12)
        close(other[1], gradient, 1e-12)


def test_everything_ignored_costs_nothing_on_other_devices(named, not_cpu):
    logits, index = case((2, 3, 5, 6))
    loss = build(with_ignore(VARIANTS[named[0]], 9))
    value, gradient = value_and_gradient(loss, logits, torch.full_like(index, 9))
    assert torch.isfinite(value)
    assert not gradient.any()


def test_dice_needs_few_operations_on_other_devices():
    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += not func.is_view
            return func(*args, **(kwargs or {}))

    logits = torch.empty(4, 1, 8, 8, device="meta", requires_grad=True)
    target = torch.empty(4, 1, 8, 8, device="meta")
    with Counter() as counter, losses.trusted():
        build("dice")(logits, target).backward()
    assert counter.count <= 45


@pytest.mark.parametrize("name", LOSSES)
def test_trusted_skips_the_checks_of_values(name):
    loss, logits = build(name), torch.randn(2, 1, 6, 6)
    invalid = torch.full((2, 1, 6, 6), 1.5)
    with losses.trusted():
        assert loss(logits, invalid).shape == ()
        with losses.trusted():
            pass
        assert loss(logits, invalid).shape == ()
        with pytest.raises(ValueError, match="does not fit"):
            loss(logits, invalid[..., :5])
    with pytest.raises(ValueError, match=r"must be in 0\.\.1, got 1\.5"):
        loss(logits, invalid)


def test_trusted_skips_the_check_of_hard_targets():
    loss, logits, soft = build("lovasz"), torch.randn(2, 1, 6, 6), torch.full((2, 1, 6, 6), 0.5)
    with losses.trusted():
        loss(logits, soft)
    with pytest.raises(ValueError, match="hard"):
        loss(logits, soft)


def test_trusted_ends_with_an_error():
    with pytest.raises(KeyError), losses.trusted():
        raise KeyError
    with pytest.raises(ValueError, match=r"got 1\.5"):
        build("dice")(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 1.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_trusted_changes_no_byte_on_a_cpu(named, dtype):
    name, loss = named
    for shape in ((2, 1, 5, 6), (2, 3, 5, 6), (2, 3, 160, 160)):
        if "blob" not in name or shape[-1] < 100:  # a large image has thousands of objects
            same_bytes(loss, shape, dtype)


def same_bytes(loss, shape, dtype):
    logits, index = case(shape, dtype=dtype)
    for target in (index, one_hot(index, shape[1]), one_hot(index, shape[1], torch.float32)):
        outside = value_and_gradient(loss, logits, target)
        with losses.trusted():
            inside = value_and_gradient(loss, logits, target)
        assert torch.equal(outside[0], inside[0])
        assert torch.equal(outside[1], inside[1])


def test_autocast_that_does_not_know_the_device_is_no_error():
    x = torch.empty(1, device="meta")
    with _reading.no_autocast(x):
        assert (x + 1).device.type == "meta"
