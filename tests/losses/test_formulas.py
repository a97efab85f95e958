"""Values computed by hand on 3x3 images, and the identities between the losses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import build
from tests.losses.conftest import case, one_hot, seeds

random_examples = settings(max_examples=20, deadline=None, derandomize=True)

# Two true pixels, predicted .5 and 1; a third pixel is wrongly predicted .25; the rest 0.
PROB = torch.tensor([[0.5, 1, 0.25], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
TRUE = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
# So I = 1.5, sum p = 1.75, sum y = 2, sum p^2 = 1.3125, FP = .25, FN = .5.
# The cross-entropies: -log .5 and -log .75, and 0 seven times.
CE = -math.log(0.5) - math.log(0.75)

BY_HAND = {
    "dice": 1 - 3 / 3.75,
    "squared_dice": 1 - 3 / 3.3125,
    "article_dice": 1 - 3 / (1.75**2 + 4),
    "jaccard": 1 - 1.5 / 2.25,
    "tversky": 1 - 1.5 / (1.5 + 0.125 + 0.25),
    "focal_tversky": (1 - 1.5 / (1.5 + 0.3 * 0.25 + 0.7 * 0.5)) ** 0.75,
    "generalized_dice": 1 - 3 / 3.75,
    "log_cosh_dice": math.log(math.cosh(0.2)),
    "noise_robust_dice": (0.5**1.5 + 0.25**1.5) / 3.3125,
    "dice_plus_plus": 1 - 3 / (3 + 0.25 + 0.0625),
    "jdt": 1 - 1.5 / 2.25,
    "cross_entropy": CE / 9,
    "weighted_cross_entropy": (-math.log(0.5) / 2 - math.log(0.75) / 7) / 2,
    "focal": (-(0.5**2) * math.log(0.5) - 0.25**2 * math.log(0.75)) / 9,
    "generalized_cross_entropy": ((1 - 0.5**0.7) + (1 - 0.75**0.7)) / 0.7 / 9,
    # A tenth of nine pixels is one: the worst.
    "topk": math.log(2),
    # Distances: 0 at both true pixels, 1 next to and sqrt 2 diagonal to them, and so on.
    "boundary": 0.25 * 1 / 9,
    # True pixels are 1 from the rest, the wrong one 1 from the true. p > 1/2 only at the second:
    # its unsigned distances are 1 at all three.
    "hausdorff": (0.25 * 2 + 0.0625 * 2) / 9,
    "blob": 0.2,
    "dice_ce": 0.2 + CE / 9,
    "squared_dice_ce": 1 - 3 / 3.3125 + CE / 9,
    "dice_focal": 0.2 + (-(0.5**2) * math.log(0.5) - 0.25**2 * math.log(0.75)) / 9,
    "dice_topk": 0.2 + math.log(2),
    "combo": 0.5 * 0.5 * CE / 9 + 0.5 * 0.2,
    "unified_focal": 0.5 * (-0.6 * 0.5**0.5 * math.log(0.5) - 0.4 * 0.25**0.5 * math.log(0.75)) / 9
    + 0.5 * (1 - 1.5 / (1.5 + 0.4 * 0.25 + 0.6 * 0.5)) ** 0.5,
    "ce_l1": CE / 9 + 2 * 0.25 / 9,
    "ce_kl": CE / 9 + (2 * math.log(2 / 1.75) + 7 * math.log(7 / 7.25)) / 9,
    "ce_to_dice": CE / 9,
    "dice_boundary": 0.99 * 0.2 + 0.01 * 0.25 / 9,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_values_by_hand(name):
    logits = PROB.clamp(1e-300, 1 - 1e-16).logit().view(1, 1, 3, 3)
    value = build(name)(logits, TRUE.view(1, 1, 3, 3)).item()
    assert value == pytest.approx(BY_HAND[name], abs=1e-12)


def test_inverse_size_dice_by_hand():
    # One true pixel, predicted .5; one of the other eight predicted .25, at an eighth the weight.
    prob = torch.tensor([[0.5, 0.25, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
    target = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 0]]).view(1, 1, 3, 3)
    value = build("inverse_size_dice")(prob.clamp_min(1e-300).logit().view(1, 1, 3, 3), target)
    assert value.item() == pytest.approx(1 - 1 / (0.5 + 0.25 / 8 + 1), abs=1e-12)


def test_label_smoothing_by_hand():
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 2)
    target = torch.tensor([[[1, 0]]])
    # p = 1/2 and 3/4; targets .9 and .1 of smoothing .2.
    expected = (math.log(2) - 0.1 * math.log(0.75) - 0.9 * math.log(0.25)) / 2
    assert build({"use": "label_smoothing", "smoothing": 0.2})(logits, target).item() == (
        pytest.approx(expected, abs=1e-12)
    )


def test_lovasz_by_hand():
    # Margins 1 - x (2y - 1): 2, 1.5, .5 for y = 1, 0, 1. Jaccard losses of 1, 2, 3 wrong pixels:
    # 1/2 (one of two true missed), 2/3 (and one invented), 1.
    logits = torch.tensor([-1, 0.5, 0.5], dtype=torch.float64).view(1, 1, 3)
    value = build("lovasz")(logits, torch.tensor([1, 0, 1]).view(1, 1, 3)).item()
    assert value == pytest.approx(2 / 2 + 1.5 / 6 + 0.5 / 3, abs=1e-12)


def test_lovasz_softmax_by_hand():
    # Errors of class 1: .75 (y = 1), .25 (y = 0); of class 0 the same with y swapped.
    logits = torch.tensor([[[0, 0], [-math.log(3), -math.log(3)]]], dtype=torch.float64)
    value = build("lovasz")(logits, torch.tensor([[1, 0]])).item()
    class_1 = 0.75 * 1 + 0.25 * 0
    class_0 = 0.75 * 0.5 + 0.25 * 0.5
    assert value == pytest.approx((class_1 + class_0) / 2, abs=1e-12)


@pytest.mark.parametrize("n", [1, 10, 100, 10_000])
def test_the_articles_formula_at_a_perfect_match_is_1_minus_1_over_n(n):
    target = torch.zeros(1, 1, 128, 128, dtype=torch.float64)
    target.view(-1)[:n] = 1
    value = build("article_dice")((2 * target - 1) * 60, target).item()
    assert value == pytest.approx(1 - 1 / n, abs=1e-12)


def equal(a, b, shape=(2, 1, 5, 6), seed=0, scale=lambda v: v):
    logits, index = case(shape, seed)
    torch.testing.assert_close(
        build(a)(logits, index), scale(build(b)(logits, index)), rtol=1e-12, atol=1e-12
    )


@random_examples
@given(seed=seeds, classes=st.sampled_from([1, 3]))
def test_identities(seed, classes):
    shape = (2, classes, 5, 6)
    equal_weights = [3.0] * max(2, classes)
    for a, b in [
        ({"use": "noise_robust_dice", "gamma": 1.0, "squared": False}, "dice"),
        ({"use": "noise_robust_dice", "gamma": 2.0}, "squared_dice"),
        ({"use": "dice_plus_plus", "gamma": 1.0}, "dice"),
        ({"use": "tversky", "alpha": 0.5, "beta": 0.5}, "dice"),
        ({"use": "tversky", "alpha": 1.0, "beta": 1.0}, "jaccard"),
        ("jdt", "jaccard"),
        ({"use": "jdt", "alpha": 0.5, "beta": 0.5}, "dice"),
        ({"use": "focal_tversky", "alpha": 0.5, "beta": 0.5, "gamma": 1.0}, "dice"),
        ({"use": "focal", "gamma": 0.0}, "cross_entropy"),
        ({"use": "label_smoothing", "smoothing": 0.0}, "cross_entropy"),
        ({"use": "topk", "fraction": 1.0}, "cross_entropy"),
        (
            {"use": "weighted_cross_entropy", "class_weights": equal_weights},
            "cross_entropy",
        ),
        ("dice_ce", {"sum": {"dice": 1, "cross_entropy": 1}}),
        ("dice_ce", {"sum": {"a": {"use": "dice", "weight": 1}, "cross_entropy": {}}}),
    ]:
        equal(a, b, shape, seed)


@random_examples
@given(seed=seeds)
def test_jaccard_of_one_image_is_2l_over_1_plus_l(seed):
    equal("jaccard", "dice", (1, 1, 5, 6), seed, scale=lambda v: 2 * v / (1 + v))


@random_examples
@given(seed=seeds)
def test_generalized_cross_entropy_ends_at_the_mean_absolute_error(seed):
    logits, index = case((2, 3, 5, 6), seed)
    true = logits.softmax(1).gather(1, index.unsqueeze(1))
    loss = build({"use": "generalized_cross_entropy", "q": 1.0})
    torch.testing.assert_close(loss(logits, index), 1 - true.mean())
    near = build({"use": "generalized_cross_entropy", "q": 1e-7})(logits, index)
    torch.testing.assert_close(near, build("cross_entropy")(logits, index), rtol=1e-5, atol=1e-5)


@random_examples
@given(seed=seeds)
def test_micro_softmax_dice_is_blind_to_imbalance(seed):
    """Summed over all classes, Dice is 1 - mean p_true; ours is the mean over classes."""
    logits, index = case((2, 3, 5, 6), seed)
    prob, target = logits.softmax(1), one_hot(index, 3)
    micro = 1 - 2 * (prob * target).sum() / (prob.sum() + target.sum())
    true = prob.gather(1, index.unsqueeze(1)).mean()
    torch.testing.assert_close(micro, 1 - true)
    assert not torch.isclose(micro, build({"use": "dice", "per": "batch"})(logits, index))


def test_per_batch_is_one_image_of_all_pixels():
    logits, index = case((3, 1, 4, 5))
    joined = logits.transpose(0, 1).reshape(1, 1, 12, 5), index.reshape(1, 12, 5)
    for name in ("dice", "squared_dice", "article_dice", "generalized_dice", "jdt"):
        loss = build({"use": name, "per": "batch"})
        torch.testing.assert_close(loss(logits, index), build(name)(*joined))
        assert not torch.isclose(loss(logits, index), build(name)(logits, index))


def test_per_image_is_the_mean_over_images():
    logits, index = case((3, 1, 4, 5))
    for name in ("dice", "boundary", "blob", "inverse_size_dice"):
        each = [build(name)(logits[n : n + 1], index[n : n + 1]) for n in range(3)]
        torch.testing.assert_close(build(name)(logits, index), torch.stack(each).mean())


def test_background_and_class_weights():
    logits, index = case((2, 3, 5, 6))
    one = [{"use": "dice", "class_weights": [float(c == k) for k in range(3)]} for c in range(3)]
    each = torch.stack([build(spec)(logits, index) for spec in one])
    torch.testing.assert_close(build("dice")(logits, index), each.mean())
    without = build({"use": "dice", "background": False})
    torch.testing.assert_close(without(logits, index), each[1:].mean())
    weighted = build({"use": "dice", "class_weights": [1, 2, 5]})
    torch.testing.assert_close(
        weighted(logits, index), (each * torch.tensor([1, 2, 5.0])).sum() / 8
    )


def test_generalized_dice_by_its_formula():
    logits, index = case((1, 3, 5, 6))
    p, y = logits.softmax(1).flatten(2)[0], one_hot(index, 3).flatten(2)[0]
    w = 1 / y.sum(-1) ** 2
    expected = 1 - 2 * (w * (p * y).sum(-1)).sum() / (w * (p.sum(-1) + y.sum(-1))).sum()
    torch.testing.assert_close(build("generalized_dice")(logits, index), expected)


def test_schedules():
    logits, index = case((2, 1, 5, 6))
    ce, dice = build("cross_entropy")(logits, index), build("dice")(logits, index)
    loss = build({"use": "ce_to_dice", "begin": 0.2, "end": 0.6})
    for t, s in ((0.0, 0.0), (0.2, 0.0), (0.3, 0.25), (0.6, 1.0), (1.0, 1.0)):
        loss.set_progress(t)
        torch.testing.assert_close(loss(logits, index), (1 - s) * ce + s * dice)
    region, boundary = build("generalized_dice")(logits, index), build("boundary")(logits, index)
    for rebalance in (True, False):
        loss = build({"use": "dice_boundary", "start": 0.1, "end": 0.5, "rebalance": rebalance})
        for t, a in ((0.0, 0.1), (0.5, 0.3), (1.0, 0.5)):
            loss.set_progress(t)
            expected = (1 - a if rebalance else 1) * region + a * boundary
            torch.testing.assert_close(loss(logits, index), expected)
    nested = build({"sum": {"ce_to_dice": 2}})
    nested.set_progress(1.0)
    torch.testing.assert_close(nested(logits, index), 2 * dice)


def test_blob_gives_each_object_its_own_score():
    """Three objects: the mean of three Dice losses, pixels of the others at probability 0."""
    target = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    target[..., 0, 0] = target[..., 2:4, 2:4] = target[..., 6, 4:8] = 1
    logits, _ = case((1, 1, 8, 8))
    prob, scores = logits.sigmoid(), []
    for box in (slice(0, 1), slice(2, 4), slice(6, 7)):
        mine = torch.zeros_like(target)
        mine[..., box, :] = target[..., box, :]
        p = prob * (1 - target + mine)
        scores.append(1 - 2 * (p * mine).sum() / (p.sum() + mine.sum()))
    torch.testing.assert_close(build("blob")(logits, target), torch.stack(scores).mean())


def test_inverse_size_weighs_each_object_the_same():
    """A missed pixel-sized object costs as much as a missed large one."""
    target = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    target[..., 0, 0] = target[..., 3:7, 3:7] = 1
    logits = (2 * target - 1) * 40
    small, large = logits.clone(), logits.clone()
    small[..., 0, 0] = large[..., 3:7, 3:7] = -40
    loss = build("inverse_size_dice")
    torch.testing.assert_close(loss(small, target), loss(large, target))
    assert build("dice")(small, target) < build("dice")(large, target) / 5


def test_hausdorff_grows_with_the_distance_of_the_error():
    target = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    target[..., 4:8, 4:8] = 1
    values = []
    for pixel in (8, 11, 15):
        logits = (2 * target - 1) * 40
        logits[..., pixel, pixel] = 40
        values.append(build("hausdorff")(logits, target).item())
    assert values == sorted(values)
    assert values[2] > 2 * values[0]
    assert build("hausdorff")((2 * target - 1) * 40, target).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("q", [0.3, 0.8])
def test_minimisers(q):
    """The probability of least expected loss, by grid search, compared with the stated one."""
    probs = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    logits = probs.logit().view(-1, 1, 1)

    def minimiser(spec):
        # One image for each of the two values of a pixel, weighted by q.
        one, none = torch.ones(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)
        loss = build(spec)
        expected = [q * loss(x[None], one) + (1 - q) * loss(x[None], none) for x in logits]
        return probs[torch.stack(expected).argmin()].item()

    power = [v ** (1 / 0.3) for v in (q, 1 - q)]
    stated = {
        "cross_entropy": q,
        "label_smoothing": 0.9 * q + 0.05,
        "generalized_cross_entropy": power[0] / sum(power),
        "ce_kl": q,
    }
    for name, p in stated.items():
        assert minimiser(name) == pytest.approx(p, abs=1.1e-3)
    assert min(q, 0.5) < minimiser("focal") < max(q, 0.5)
    median = round(q)  # of the size of an image of one pixel
    assert min(q, median) < minimiser("ce_l1") < max(q, median)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7])
def test_tversky_takes_the_pixels_above_its_threshold(alpha):
    """A soft target represents its expectation; all masks of the most likely pixels are tried."""
    q = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    loss = build({"use": "tversky", "alpha": alpha, "beta": 1 - alpha})
    values = [
        loss(torch.where(q > t - 0.01, 60.0, -60.0).view(1, 1, 49), q.view(1, 1, 49)).item()
        for t in q
    ]
    best = min(values)
    score = 1 - best
    threshold = alpha * score  # alpha T / (1 - (1 - alpha - beta) T), alpha + beta = 1
    cut = q[values.index(best)].item()
    assert cut == pytest.approx(threshold, abs=0.0201)


@random_examples
@given(seed=seeds)
def test_an_empty_mask_is_scored_by_its_background(seed):
    """With one channel: the loss of 1 - p, the logit -x, on a full mask."""
    logits, _ = case((2, 1, 5, 6), seed)
    empty, full = torch.zeros_like(logits), torch.ones_like(logits)
    for name in (
        *("dice", "squared_dice", "article_dice", "jaccard", "tversky", "focal_tversky"),
        *("generalized_dice", "log_cosh_dice", "noise_robust_dice", "dice_plus_plus", "jdt"),
        "inverse_size_dice",
    ):
        loss = build(name)
        torch.testing.assert_close(loss(logits, empty), loss(-logits, full), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        by_hand = 1 - 2 * (1 - logits.sigmoid()).sum((1, 2, 3)) / (
            60 - logits.sigmoid().sum((1, 2, 3))
        )
    torch.testing.assert_close(build("dice")(logits, empty), by_hand.mean())
