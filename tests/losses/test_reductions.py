"""Values of each image or pixel, and weights of pixels."""

import pytest
import torch
from torch.nn import functional as F

from losses import LOSSES, _blocks, build
from losses.likelihood import _PixelLoss
from tests.losses.conftest import (
    VARIANTS,
    case,
    close,
    one_hot,
    value_and_gradient,
    with_ignore,
)

PIXEL = [n for n in LOSSES if isinstance(build(n), _PixelLoss)]
WHOLE_BATCH = ("topk", "lovasz", "dice_topk")
PER_IMAGE = [n for n in LOSSES if n not in WHOLE_BATCH and n not in PIXEL]
UNWEIGHTED = {n for n in VARIANTS if "topk" in n or "lovasz" in n or n == "a sum"}


def none_of(name, **options):
    return build({"use": name, "reduction": "none", **options})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PIXEL)
def test_a_mean_over_pixels_has_a_value_for_each_pixel(name, channels):
    logits, index = case((2, channels, 6, 7))
    index[0, 1] = 255
    options = {"ignore_index": 255}
    if name == "weighted_cross_entropy":
        options["class_weights"] = [1, 2, 5][: max(2, channels)]
    values = none_of(name, **options)(logits, index)
    assert values.shape == index.shape
    assert not values[index == 255].any()
    scalar = build({"use": name, **options})(logits, index)
    counted = index != 255
    total = counted.sum()
    if name == "weighted_cross_entropy":
        total = torch.tensor(options["class_weights"])[index[counted]].sum()
    close(values.sum() / total, scalar, 1e-12)


def test_values_of_pixels_are_those_of_torch():
    logits, index = case((2, 3, 6, 7))
    index[0, 1] = 255
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    options = {"ignore_index": 255, "reduction": "none"}
    close(
        none_of("cross_entropy", ignore_index=255)(logits, index),
        F.cross_entropy(logits, index, **options),
        1e-12,
    )
    own = none_of("weighted_cross_entropy", ignore_index=255, class_weights=weights)
    close(own(logits, index), F.cross_entropy(logits, index, weights, **options), 1e-12)
    own = none_of("label_smoothing", ignore_index=255)
    close(own(logits, index), F.cross_entropy(logits, index, label_smoothing=0.1, **options), 1e-12)
    one = logits[:, :1]
    y = (index % 2).double()
    expected = F.binary_cross_entropy_with_logits(one, y.unsqueeze(1), reduction="none")
    close(none_of("cross_entropy")(one, y.long()), expected.squeeze(1), 1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PER_IMAGE)
def test_other_losses_have_the_loss_of_each_image_alone(name, channels):
    logits, index = case((3, channels, 6, 7))
    index[2] = 0  # an image without a foreground
    loss = none_of(name)
    maps = {}
    if hasattr(loss, "maps"):
        maps = {"maps": loss.maps(one_hot(index, channels))}
    values = loss(logits, index, **maps)
    each = [build(name)(logits[n : n + 1], index[n : n + 1]) for n in range(3)]
    close(values, torch.stack(each), 1e-12)
    if name in ("dice", "jaccard", "boundary", "blob", "dice_ce", "inverse_size_dice"):
        close(values.mean(), build(name)(logits, index), 1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        *WHOLE_BATCH,
        {"use": "dice", "per": "batch"},
        {"use": "dice_ce", "per": "batch"},
        {"sum": {"dice": 1, "topk": 1}},
        {"sum": {"inner": {"sum": {"lovasz": 1}}}},
    ],
    ids=str,
)
def test_a_loss_of_the_whole_batch_has_no_values(spec):
    spec = {"use": spec} if isinstance(spec, str) else spec
    logits, index = case((2, 3, 6, 7))
    with pytest.raises(ValueError, match=r"reduction: 'none' is not allowed: .* all images"):
        build(spec | {"reduction": "none"})(logits, index)


def test_sums_have_the_value_of_each_image():
    logits, index = case((2, 3, 6, 7))
    terms = {"dice": 1, "cross_entropy": 2}
    values = build({"sum": terms, "reduction": "none"})(logits, index)
    each = [build({"sum": terms})(logits[[n]], index[[n]]) for n in range(2)]
    close(values, torch.stack(each), 1e-12)
    with pytest.raises(ValueError, match="an option of the sum, not of its term 'dice'"):
        build({"sum": {"dice": {"reduction": "none"}}})
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'none', got 'sum'"):
        build({"use": "dice", "reduction": "sum"})


def test_multilabel_values_are_the_mean_over_the_classes():
    logits, index = case((2, 3, 6, 7))
    target = one_hot(index, 3)
    for name in ("dice", "cross_entropy"):
        spec = {"use": name, "reduction": "none"}
        each = [build(spec)(logits[:, [c]], target[:, [c]]) for c in range(3)]
        close(build(spec, multilabel=True)(logits, target), torch.stack(each).mean(0), 1e-12)


@pytest.fixture(params=["small", "blocks"])
def blocks(request, monkeypatch):
    """The plain formula, and blocks of a few pixels."""
    if request.param == "blocks":
        monkeypatch.setattr(_blocks, "BLOCK", 25)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in UNWEIGHTED])
def test_a_weight_counts_a_pixel_so_often(name, channels):
    """A pixel of weight 2 is two pixels, one of weight 0 is none: by hand, along one axis."""
    logits, index = case((2, channels, 8))
    index[:, :4] = index[:, 4:]
    times = torch.tensor([1, 2, 0, 3, 1, 1, 2, 1])
    loss = build(VARIANTS[name])
    maps = {}
    if hasattr(loss, "maps"):
        maps = {"maps": loss.maps(one_hot(index, channels))}
        if "blob" in name or "inverse" in name or "hausdorff" in name:
            maps = None
    if maps is None:
        pytest.skip("reads the neighbourhood of a pixel")
    repeated = {k: v.repeat_interleave(times, -1) for k, v in maps.items()}
    expected = loss(
        logits.repeat_interleave(times, -1), index.repeat_interleave(times, -1), **repeated
    )
    for weight in (times.double(), times.float()):
        value, gradient = value_and_gradient(
            loss, logits, index, weight=weight.repeat(2, 1), **maps
        )
        close(value, expected, 1e-12)
        assert not gradient[..., 2].any()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", VARIANTS)
def test_a_mask_of_pixels_is_an_ignored_index(name):
    logits, index = case((2, 3, 6, 7))
    counts = torch.ones(2, 6, 7, dtype=torch.bool)
    counts[:, 2:4, 1:5] = False
    loss = build(VARIANTS[name])
    maps = {"maps": loss.maps(index, 3)} if hasattr(loss, "maps") else {}
    if "blob" in name:
        pytest.skip("an ignored pixel has probability 0 for the criterion, a masked one none")
    ignoring = build(with_ignore(VARIANTS[name], 255))
    expected = value_and_gradient(ignoring, logits, index.masked_fill(~counts, 255), **maps)
    weights = [counts, counts.unsqueeze(1)] + [counts.float()] * (name not in UNWEIGHTED)
    for weight in weights:
        got = value_and_gradient(loss, logits, index, weight=weight, **maps)
        close(got[0], expected[0], 1e-12)
        close(got[1], expected[1], 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_invalid_weights_are_named(name):
    logits, index = case((2, 3, 6, 7))
    for weight, words in (
        (torch.ones(2, 6), r"weight must have shape \(N, \*space\), \(2, 6, 7\), got \(2, 6\)"),
        (torch.full((2, 6, 7), -1.0), "weight must be finite and at least 0, got -1..-1"),
        (torch.full((2, 6, 7), torch.inf), "weight must be finite"),
    ):
        if name in {"topk", "dice_topk", "lovasz"}:
            words += "|have no weights"
        with pytest.raises(ValueError, match=words):
            build(name)(logits, index, weight=weight)


@pytest.mark.parametrize("name", [n for n in LOSSES if n not in UNWEIGHTED])
def test_weights_of_0_cost_nothing(name):
    for channels in (1, 3):
        logits, index = case((2, channels, 6, 7))
        value, gradient = value_and_gradient(build(name), logits, index, weight=0.0 * index)
        assert value == 0
        assert not gradient.any()


def test_multilabel_losses_and_sums_take_weights():
    logits, index = case((2, 3, 6, 7))
    weight = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(0))
    target = one_hot(index, 3)
    each = [build("dice_ce")(logits[:, [c]], target[:, [c]], weight=weight) for c in range(3)]
    close(
        build("dice_ce", multilabel=True)(logits, target, weight=weight),
        torch.stack(each).mean(),
        1e-12,
    )
