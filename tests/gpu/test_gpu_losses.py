"""Losses on a GPU: values and gradients of the CPU, and no host that waits for the GPU."""

import pytest
import torch

import losses
from losses import build
from tests.gpu.conftest import no_wait
from tests.losses.conftest import VARIANTS, case, value_and_gradient

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SHAPES = [(2, 1, 5, 6), (3, 1, 12, 10), (2, 3, 5, 6), (3, 3, 12, 10)]
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Of the value, relative; of the gradient, relative to its largest element."""
READ_VALUES = ("hausdorff", "blob")
"""Losses that read values at each step; test_devices has the reasons."""


def close(found, expected, tolerance):
    for part, reference in zip(found, expected, strict=True):
        assert part.device.type == DEVICE
        bound = tolerance * max(1e-3, reference.abs().max().item())
        torch.testing.assert_close(part.cpu().double(), reference, rtol=0, atol=bound)


def keywords(loss, index, channels, on_device):
    """Maps of the loss as a run makes them, on the CPU; without them the loss makes its own."""
    if not hasattr(loss, "maps"):
        return [{}]
    target = index.unsqueeze(1).float() if channels == 1 else index
    maps = loss.maps(target, *([channels] if channels > 1 else []))
    return [{}, {"maps": maps.to(on_device)}]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_value_and_gradient_are_those_of_the_cpu_in_float64(name, shape):
    loss, on_device = build(VARIANTS[name]), build(VARIANTS[name]).to(DEVICE)
    logits, index = case(shape, dtype=torch.float32)
    target = index.unsqueeze(1).float() if shape[1] == 1 else index
    expected = value_and_gradient(loss, logits.double(), target)
    for dtype, tolerance in TOLERANCES.items():
        for extra in keywords(loss, index, shape[1], DEVICE):
            moved = logits.to(DEVICE, dtype), target.to(DEVICE)
            close(value_and_gradient(on_device, *moved, **extra), expected, tolerance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [n for n in VARIANTS if not n.startswith(READ_VALUES)])
def test_the_host_waits_for_no_loss_of_trusted_targets(name, channels):
    loss = build(VARIANTS[name]).to(DEVICE)
    logits, index = case((2, channels, 12, 10), dtype=torch.float32)
    target = (index.unsqueeze(1).float() if channels == 1 else index).to(DEVICE)
    extra = keywords(loss, index, channels, DEVICE)[-1]
    logits = logits.to(DEVICE).requires_grad_()
    with losses.trusted(), no_wait():
        loss(logits, target, **extra).backward()
    assert logits.grad.isfinite().all()


def test_a_host_that_waits_is_found():
    x = torch.ones(3, device=DEVICE)
    for wait in (lambda: x.sum().item(), lambda: x.cpu(), lambda: torch.ones(3).to(DEVICE)):
        with no_wait(), pytest.raises(RuntimeError, match="synchroniz"):
            wait()
