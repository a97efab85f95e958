"""The known pitfalls of segmentation losses, a test for each.

Numbers 12, 13 and 14 of the list (a missed mask dropped from HD95, a false positive on an empty
image at no cost, and 1 for an empty mask with any prediction) are pitfalls of metrics and are
tested with the metrics.
"""

import pytest
import torch

from losses import LOSSES, _blocks, build
from tests.losses.conftest import HARD_ONLY, case, one_hot

OVERLAP = [
    *("dice", "squared_dice", "jaccard", "tversky", "focal_tversky", "generalized_dice"),
    *("log_cosh_dice", "noise_robust_dice", "dice_plus_plus", "jdt", "inverse_size_dice"),
]


def gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    loss(logits, target).backward()
    return logits.grad


def grid_minimum(loss, target):
    """Return the probability of all pixels with the least loss."""
    probs = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    values = [loss(p.logit().expand_as(target).contiguous(), target).item() for p in probs]
    return probs[values.index(min(values))].item()


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "article_dice"])
def test_01_an_empty_mask_has_a_gradient(name):
    """Everything predicted on an empty mask: the gradient is at least 1/100 of BCE's."""
    empty = torch.zeros(1, 1, 32, 32)
    own = gradient(build(name), torch.full_like(empty, 1.0), empty).sum()
    bce = gradient(build("cross_entropy"), torch.full_like(empty, 1.0), empty).sum()
    assert own > bce / 100
    # Smoothed as in other libraries, the formula has almost no gradient there.
    if name == "dice":
        smoothed = build({"use": "dice", "smooth": 1e-5, "empty": "smooth"})
        assert gradient(smoothed, torch.full_like(empty, 1.0), empty).sum() < bce / 1e6


def test_01_an_empty_image_in_a_batch_has_a_gradient_of_its_own():
    logits, index = case((2, 1, 8, 8))
    index[0] = 0
    for name in OVERLAP:
        assert gradient(build(name), logits, index)[0].sum() > 1e-4


def test_02_smoothing_neither_makes_the_loss_jump_nor_hides_a_miss():
    empty = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    probs = torch.tensor([1e-9, 1e-8, 1e-7, 1e-6, 1e-5], dtype=torch.float64)
    default = build("dice")
    smoothed = build({"use": "dice", "smooth": 1e-5, "empty": "smooth"})
    own = [default(p.logit().expand_as(empty).contiguous(), empty).item() for p in probs]
    other = [smoothed(p.logit().expand_as(empty).contiguous(), empty).item() for p in probs]
    assert max(own) < 1e-4
    assert other[0] < 0.1
    assert other[-1] > 0.99
    # A missed single pixel costs 1, not the 1/2 of a numerator that smooth = 1 has lifted.
    target = empty.clone()
    target[..., 3, 3] = 1
    nothing = torch.full_like(target, -40.0)
    assert default(nothing, target).item() == pytest.approx(1)
    assert build({"use": "dice", "smooth": 1.0})(nothing, target).item() == pytest.approx(0.5)
    below = build({"use": "dice", "smooth": 1.0, "smooth_in": "denominator"})
    assert below(nothing, target).item() == pytest.approx(1)


@pytest.mark.parametrize("name", LOSSES)
def test_03_sums_of_half_tensors_do_not_overflow(name):
    side = 512 if name not in {"blob", "hausdorff"} else 300
    logits = torch.full((1, 1, side, side), 4.0)
    logits[..., : side // 2] = -4.0
    target = torch.zeros(1, 1, side, side)
    target[..., side // 3 :] = 1
    expected = build(name)(logits, target)
    value = build(name)(logits.half(), target.half())
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(gradient(build(name), logits.half(), target)).all()


def test_04_dice_ce_with_one_channel_has_its_cross_entropy():
    logits, index = case((2, 1, 5, 6))
    difference = build("dice_ce")(logits, index) - build("dice")(logits, index)
    torch.testing.assert_close(difference, build("cross_entropy")(logits, index))
    assert difference > 0.1


def test_05_generalized_dice_weights_hold_and_an_absent_class_has_none():
    logits, index = case((2, 3, 6, 6))
    index[:] = torch.where(torch.arange(6) < 5, 0, 1)
    for per in ("image", "batch"):
        loss = build({"use": "generalized_dice", "per": per})
        p, y = logits.softmax(1).flatten(2), one_hot(index, 3).flatten(2)
        if per == "batch":
            p, y = (v.transpose(0, 1).flatten(1)[None] for v in (p, y))
        w = torch.tensor([1 / y[0, 0].sum() ** 2, 1 / y[0, 1].sum() ** 2, 0])
        ratio = (w * (p * y).sum(-1)).sum(1) / (w * (p.sum(-1) + y.sum(-1))).sum(1)
        torch.testing.assert_close(loss(logits, index), (1 - 2 * ratio).mean())
        assert not torch.isclose(
            loss(logits, index), build({"use": "dice", "per": per})(logits, index)
        )


def test_06_minimisers_of_a_soft_target():
    """A target of 1/2: least Dice loss at 1, squared and semimetric forms at 1/2."""
    half = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    assert grid_minimum(build("dice"), half) > 0.99
    for name in ("squared_dice", "jdt", "cross_entropy"):
        assert grid_minimum(build(name), half) == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("classes", [1, 3])
def test_07_the_mean_is_over_the_pixels_that_are_not_ignored(classes):
    """Half the pixels ignored: the same mean, not half of it."""
    logits, index = case((2, classes, 4, 6))
    logits[..., 3:], index[..., 3:] = logits[..., :3], 255
    for name in (
        "cross_entropy",
        "weighted_cross_entropy",
        "label_smoothing",
        "focal",
        "topk",
        "generalized_cross_entropy",
    ):
        ignoring = build({"use": name, "ignore_index": 255})
        torch.testing.assert_close(
            ignoring(logits, index), build(name)(logits[..., :3], index[..., :3])
        )


def test_08_dice_focal_reads_one_kind_of_probability():
    """With several classes both parts use the softmax: a shift of all logits has no effect."""
    logits, index = case((2, 3, 5, 6))
    for name in LOSSES:
        torch.testing.assert_close(
            build(name)(logits, index), build(name)(logits + 5.0, index), rtol=1e-9, atol=1e-9
        )


def test_09_tversky_depends_on_alpha_and_beta_separately():
    logits, index = case((2, 1, 5, 6))
    a, b = ({"use": "tversky", "alpha": v, "beta": 1 - v} for v in (0.2, 0.8))
    assert not torch.isclose(build(a)(logits, index), build(b)(logits, index))
    # A missing prediction costs more with more weight on misses.
    assert build(a)(logits - 2, index) > build(b)(logits - 2, index)


def test_10_masked_pixels_have_probability_0_not_a_half():
    """Two objects, both predicted perfectly: the score of each is perfect."""
    target = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    target[..., 2:5, 2:5] = target[..., 9:14, 9:14] = 1
    assert build("blob")((2 * target - 1) * 9, target) < 1e-2


def test_11_a_perfect_prediction_of_nine_classes_is_perfect():
    index = torch.arange(81).view(1, 9, 9) % 9
    logits = (2 * one_hot(index, 9) - 1) * 60
    for name in OVERLAP:
        assert build(name)(logits, index).item() == pytest.approx(0, abs=1e-9)


def test_15_weights_and_background_cannot_disagree():
    with pytest.raises(ValueError, match="both weigh class 0"):
        build({"use": "dice", "background": False, "class_weights": [1, 1]})
    logits, index = case((2, 3, 5, 6))
    without = build({"use": "dice", "background": False})(logits, index)
    weighed = build({"use": "dice", "class_weights": [0, 1, 1]})(logits, index)
    torch.testing.assert_close(without, weighed)


@pytest.mark.parametrize(
    "spec",
    [
        {"use": "focal", "gamma": 0.5},
        {"use": "focal_tversky", "gamma": 4.0},
        {"use": "generalized_cross_entropy", "q": 0.1},
        {"use": "noise_robust_dice", "gamma": 1.0},
        {"use": "unified_focal", "gamma": 0.9},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_16_a_root_has_a_gradient_at_a_perfect_prediction(spec, dtype):
    for shape in ((1, 1, 4, 4), (1, 3, 4, 4)):
        _, index = case(shape)
        for scale in (20.0, 90.0, 1e4):
            logits = (2 * one_hot(index, shape[1], dtype) - 1) * scale
            assert torch.isfinite(gradient(build(spec), logits, index)).all()


def test_17_class_indices_are_never_one_hot_as_a_whole(monkeypatch):
    sizes = []
    dense = _blocks.dense_target
    monkeypatch.setattr(_blocks, "BLOCK", 2**14)
    monkeypatch.setattr(
        _blocks, "dense_target", lambda *a: (sizes.append((d := dense(*a)).numel()), d)[1]
    )
    logits, index = case((1, 95, 64, 64), dtype=torch.float32)
    for name in ("dice", "cross_entropy", "dice_ce", "focal", "jdt", "generalized_dice"):
        gradient(build(name), logits, index)
    assert max(sizes) <= 2**14


def test_18_only_deterministic_operations_are_called(monkeypatch):
    """With torch's switch that refuses others, and without a running sum of floats."""
    cumsum = torch.Tensor.cumsum

    def integers_only(x, *args, **options):
        assert not x.is_floating_point()
        return cumsum(x, *args, **options)

    monkeypatch.setattr(torch.Tensor, "cumsum", integers_only)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.use_deterministic_algorithms(True)
    try:
        for name in LOSSES:
            for shape in ((2, 1, 8, 8), (2, 3, 8, 8)):
                logits, index = (v.to(device) for v in case(shape, dtype=torch.float32))
                first = gradient(build(name), logits, index)
                assert torch.equal(first, gradient(build(name), logits, index))
    finally:
        torch.use_deterministic_algorithms(False)


def test_19_the_boundary_loss_of_full_and_empty_masks():
    """Negative inside an object; without a boundary every distance is one pixel."""
    logits, index = case((1, 1, 9, 9))
    disk = ((torch.arange(9) - 4) ** 2).add((torch.arange(9)[:, None] - 4) ** 2) < 10
    loss = build("boundary")
    assert loss((2.0 * disk - 1)[None, None] * 40, disk.long()[None]) < -0.1
    for fill, sign in ((0, 1), (1, -1)):
        mask = torch.full_like(index, fill)
        value = loss(logits, mask)
        torch.testing.assert_close(value, sign * logits.sigmoid().mean())
        assert (sign * gradient(loss, logits, mask) > 0).all()


def test_lovasz_alone_requires_hard_targets():
    assert {n for n in LOSSES if n in HARD_ONLY} == {"lovasz"}
