"""Every registered loss on all types of logits and targets, and on extreme values."""

import pytest
import torch
from hypothesis import given

from losses._reading import probability
from tests.losses.conftest import (
    HARD_ONLY,
    SHAPES,
    case,
    close,
    one_hot,
    random_examples,
    seeds,
    shapes,
    value_and_gradient,
)


@random_examples
@given(shape=shapes, seed=seeds)
def test_hard_is_soft_with_one_hot_targets(named, shape, seed):
    _, loss = named
    logits, index = case(shape, seed)
    hard = value_and_gradient(loss, logits, index)
    for dtype in (torch.float64, torch.uint8, torch.bool):
        soft = value_and_gradient(loss, logits, one_hot(index, shape[1], dtype))
        close(hard[0], soft[0], 1e-12)
        close(hard[1], soft[1], 1e-12)


def test_soft_targets_are_accepted(named):
    name, loss = named
    for shape in SHAPES:
        logits, _ = case(shape)
        soft = probability(case(shape, 1)[0])
        if name in HARD_ONLY:
            with pytest.raises(ValueError, match="hard"):
                loss(logits, soft)
            continue
        value, gradient = value_and_gradient(loss, logits, soft)
        assert torch.isfinite(value)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_close_to_float32(named, dtype):
    """Plain half tensors: the loss of the rounded logits, gradients of their type."""
    _, loss = named
    for shape in SHAPES[:2]:
        logits, index = case(shape, dtype=torch.float32)
        logits = logits.to(dtype)
        value, gradient = value_and_gradient(loss, logits, index)
        expected, slope = value_and_gradient(loss, logits.float(), index)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        close(value, expected, 1e-6)
        torch.testing.assert_close(gradient.float(), slope, rtol=1e-2, atol=1e-6)


def test_autocast_changes_nothing(named):
    _, loss = named
    for shape in SHAPES[:2]:
        logits, index = case(shape, dtype=torch.float32)
        expected = value_and_gradient(loss, logits, index)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, gradient = value_and_gradient(loss, logits, index)
        assert value.dtype == torch.float32
        close(value, expected[0], 1e-6)
        close(gradient, expected[1], 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_extreme_logits_stay_finite(named, dtype):
    _, loss = named
    for shape in SHAPES[:2]:
        _, index = case(shape)
        right = (2.0 * one_hot(index, shape[1]) - 1) * 1e4
        mixed = right * torch.where(torch.arange(shape[-1]) % 2 == 0, 1.0, -1.0)
        for logits in (right, -right, mixed, torch.zeros(shape)):
            for target in (index, torch.zeros_like(index), torch.ones_like(index)):
                value, gradient = value_and_gradient(loss, logits.to(dtype), target)
                assert torch.isfinite(value)
                assert torch.isfinite(gradient).all()


def test_float32_is_close_to_float64(named):
    _, loss = named
    for shape in SHAPES:
        logits, index = case(shape, dtype=torch.float32)
        close(loss(logits, index).double(), loss(logits.double(), index), 2e-6)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_strides_do_not_matter(named, memory_format):
    _, loss = named
    logits, index = case((2, 3, 5, 6))
    expected = value_and_gradient(loss, logits, index)
    strided = value_and_gradient(loss, logits.to(memory_format=memory_format), index)
    close(strided[0], expected[0], 1e-12)
    close(strided[1], expected[1], 1e-12)


def test_the_bytes_are_the_same_each_time(named):
    _, loss = named
    logits, index = case((2, 1, 40, 40), dtype=torch.float32)
    first, second = (value_and_gradient(loss, logits, index) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
