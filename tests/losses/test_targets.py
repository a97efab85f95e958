"""The meaning of a target: ignored indices, unsigned types, overlapping classes, axes."""

import numpy as np
import pytest
import torch

import losses
from losses import LOSSES, build
from tests.losses.conftest import (
    HARD_ONLY,
    VARIANTS,
    case,
    close,
    one_hot,
    value_and_gradient,
    with_ignore,
)


@pytest.mark.parametrize("ignored", [0, 1, 2])
@pytest.mark.parametrize("name", VARIANTS)
def test_an_ignored_class_means_the_same_in_indices_and_probabilities(name, ignored):
    loss = build(with_ignore(VARIANTS[name], ignored))
    logits, index = case((2, 3, 6, 7))
    expected = value_and_gradient(loss, logits, index)
    for dtype in (torch.float64, torch.float16, torch.bool):
        got = value_and_gradient(loss, logits, one_hot(index, 3, dtype))
        close(got[0], expected[0], 1e-12)
        close(got[1], expected[1], 1e-12)
    pixels = (index == ignored).unsqueeze(1).expand_as(logits)
    assert not expected[1][pixels].any()
    assert expected[1][~pixels].any()
    assert expected[0] != build(VARIANTS[name])(logits, index)
    if hasattr(loss, "maps"):
        close(loss.maps(index, 3), loss.maps(one_hot(index, 3)), 0)


@pytest.mark.parametrize("name", LOSSES)
def test_an_ignored_class_of_one_channel_means_the_same_in_both_shapes(name):
    logits, index = case((2, 1, 6, 7))
    for ignored in (0, 1):
        loss = build(with_ignore(name, ignored))
        close(loss(logits, index), loss(logits, index.double().unsqueeze(1)), 1e-12)


@pytest.mark.parametrize("ignored", [-100, -1, 256 + 1, 2**40])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.float16])
def test_an_index_that_a_type_cannot_hold_ignores_no_pixel(dtype, ignored):
    """-100 is torch's own, and would be 156 in uint8."""
    classes = 100 if dtype == torch.int8 else 200
    logits, index = case((1, classes, 16, 16))
    index[:, :8] = (-100 if dtype == torch.uint8 else ignored) % 256 % classes
    target = one_hot(index, classes, dtype) if dtype.is_floating_point else index.to(dtype)
    for name in ("cross_entropy", "dice", "weighted_cross_entropy"):
        value = build({"use": name, "ignore_index": ignored})(logits, target)
        close(value, build(name)(logits, index), 1e-12)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
@pytest.mark.parametrize("name", LOSSES)
def test_unsigned_integers_are_integers(name, dtype):
    for channels in (1, 3):
        logits, index = case((2, channels, 6, 7))
        for loss in (build(name), build(with_ignore(name, 1))):
            expected = value_and_gradient(loss, logits, index)
            for target in (index, one_hot(index, channels, torch.int64)):
                got = value_and_gradient(loss, logits, target.to(dtype))
                close(got[0], expected[0], 1e-12)
                close(got[1], expected[1], 1e-12)
    with pytest.raises(ValueError, match=r"in 0\.\.2, got 65535"):
        build(name)(logits, torch.full((2, 6, 7), 65535).to(dtype))


OVERLAP = torch.zeros(1, 3, 8, 8)
OVERLAP[:, 0], OVERLAP[:, 1, :4], OVERLAP[:, 2, :2] = 1, 1, 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8, torch.bool])
@pytest.mark.parametrize("name", LOSSES)
def test_overlapping_classes_are_refused_without_the_option(name, dtype):
    target = OVERLAP.to(dtype)
    for wrong in (target, target * 0):
        with pytest.raises(ValueError, match=r"sum to 1 over the 3 channels.*multilabel=True"):
            build(name)(60 * OVERLAP - 30, wrong)
    with losses.trusted():
        build(name)(60 * OVERLAP - 30, target)
    assert build("dice", multilabel=True)(60 * OVERLAP - 30, target) < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_images_without_a_channel_are_refused(name):
    mask = (torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    for target in (mask, mask.long(), mask.bool()):
        with pytest.raises(ValueError, match=r"loss\(logits.unsqueeze\(1\), target\)"):
            build(name)((2 * mask - 1) * 30, target)
        build(name)((2 * mask - 1).unsqueeze(1), target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [n for n in LOSSES if n not in HARD_ONLY])
def test_rounded_probabilities_sum_to_1(name, dtype):
    """Of images of one axis too: (N, C, L) is a legal shape."""
    for shape in ((2, 5, 6, 7), (2, 150, 200)):
        logits, _ = case(shape)
        target = case(shape, 1)[0].softmax(1)
        assert build(name)(logits, target.to(dtype)).isfinite()
        ignoring = build(with_ignore(name, 255))
        target[:, :, 0] = 255
        assert ignoring(logits, target.to(dtype)).isfinite()


@pytest.mark.parametrize("name", [*LOSSES, "sum", "multilabel"])
def test_other_things_than_tensors_are_refused_in_words(name):
    loss = build({"sum": {"dice": 1}}) if name == "sum" else build("dice", multilabel=True)
    loss = build(name) if name in LOSSES else loss
    logits, index = case((2, 3, 6, 7))
    for outputs in ([logits, logits], (logits, logits), {"out": logits, "aux": logits}):
        with pytest.raises(ValueError, match=r"logits must be one tensor.*for each output"):
            loss(outputs, index)
    with pytest.raises(ValueError, match="target must be a tensor, got ndarray"):
        loss(logits, np.zeros((2, 6, 7), int))
