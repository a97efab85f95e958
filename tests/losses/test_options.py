"""Options of other types, callables as losses, custom losses in sums, and options of hybrids."""

import functools
import math

import numpy as np
import pytest
import torch

import losses
from losses import LOSSES, build
from losses.building import resolve
from tests.losses.conftest import case


@pytest.mark.parametrize(
    "numbers",
    [
        torch.tensor([1.0, 2.0, 5.0]),
        torch.tensor([1, 2, 5]),
        np.array([1, 2, 5]),
        np.array([1, 2, 5], dtype=np.float32),
        (1, 2, 5),
        [np.float32(1), torch.tensor(2.0), np.int64(5)],
    ],
)
def test_class_weights_may_be_tensors_arrays_and_tuples(numbers):
    logits, index = case((2, 3, 4, 4))
    for name in ("dice", "weighted_cross_entropy", "dice_ce"):
        loss = build({"use": name, "class_weights": numbers})
        expected = build({"use": name, "class_weights": [1, 2, 5]})
        torch.testing.assert_close(loss(logits, index), expected(logits, index))
    weights = {"multilabel": {"class_weights": numbers}}
    assert build({"use": "dice"} | weights).class_weights == [1, 2, 5]


@pytest.mark.parametrize(
    "wrong", [torch.ones(2, 3), "12", {0: 1, 1: 2}, [1, -1], [1, torch.nan], [0, 0], 3, [[1], [2]]]
)
def test_other_class_weights_are_refused(wrong):
    for name in ("dice", "weighted_cross_entropy"):
        with pytest.raises(ValueError, match="class_weights must"):
            build({"use": name, "class_weights": wrong})


def test_numbers_of_numpy_and_torch_are_options():
    for one in (np.float32(1), np.float64(1), np.int64(1), torch.tensor(1.0), np.array(1)):
        assert build({"use": "dice", "smooth": one}).smooth == 1
        assert build({"use": "focal", "gamma": one}).gamma == 1
        assert build({"sum": {"dice": one}}).weights == {"dice": 1}
    assert build({"use": "dice", "ignore_index": np.int64(255)}).ignore_index == 255
    assert build({"use": "dice_ce", "ignore_index": np.uint8(255)}).ignore_index == 255
    assert build({"use": "dice", "background": np.bool_(False)}).background is False
    assert build({"use": "dice", "per": np.str_("batch")}).per == "batch"
    for wrong in (np.nan, math.inf, np.array([1, 2]), True, np.bool_(True), "1", torch.ones(2)):
        with pytest.raises(ValueError, match="smooth must be a number at least 0"):
            build({"use": "dice", "smooth": wrong})
    with pytest.raises(ValueError, match="per must be one of 'image', 'batch'"):
        build({"use": "dice", "per": np.array(["batch"])})


def test_a_callable_is_a_loss_from_python():
    logits, index = case((2, 1, 4, 4))
    target = index.double().unsqueeze(1)

    def power(x, y, gamma=1.0, *, scale=1.0):
        return scale * ((x.sigmoid() - y).abs() ** gamma).mean()

    class Callable:
        def __call__(self, x, y):
            return power(x, y, 2)

    expected = power(logits, target, 2)
    for spec in (
        {"use": power, "gamma": 2},
        lambda x, y: power(x, y, 2),
        functools.partial(power, gamma=2),
        Callable(),
        {"sum": {"own": {"use": power, "gamma": 2, "weight": 1}}},
    ):
        assert torch.equal(build(spec)(logits, target), expected)
        repr(build(spec))
    module = torch.nn.BCEWithLogitsLoss()
    assert build(module) is module
    assert isinstance(build(torch.nn.BCEWithLogitsLoss), torch.nn.BCEWithLogitsLoss)
    assert build({"use": torch.nn.BCEWithLogitsLoss, "reduction": "sum"}).reduction == "sum"
    assert build(losses.DiceLoss).per == "image"
    with pytest.raises(ValueError, match=r"no option 'gama' \(did you mean 'gamma'"):
        build({"use": power, "gama": 2})
    with pytest.raises(ValueError, match="no option 'reduction'"):
        build({"use": module, "reduction": "sum"})
    with pytest.raises(ValueError, match="the class Callable is no loss"):
        build(Callable)
    with pytest.raises(ValueError, match="cannot be called with logits, target"):
        build(lambda x: x)


class Lookalike(torch.nn.Module):
    """A custom loss whose attributes have names that the suite uses."""

    def __init__(self, reduce=True, kernel=3):
        super().__init__()
        self.reduce, self.kernel, self.reduction, self.losses = reduce, kernel, "none", [1]
        self.whole_batch = "no"

    def forward(self, logits, target):
        return (logits.sigmoid() - target).square().mean()


class DoubledDice(losses.DiceLoss):
    """A subclass of a user with another value."""

    def value(self, logits, target):
        return 2 * super().value(logits, target)


class ForwardDice(losses.DiceLoss):
    """A subclass of a user with another call."""

    def forward(self, logits, target):
        return 3 * super().forward(logits, target)


def test_a_custom_loss_is_not_mistaken_for_one_of_the_suite():
    logits, index = case((2, 1, 4, 4))
    target = index.double().unsqueeze(1)
    dice = build("dice")(logits, target)
    for own, expected in (
        (Lookalike, (logits.sigmoid() - target).square().mean()),
        (DoubledDice, 2 * dice),
        (ForwardDice, 3 * dice),
    ):
        spec = {"sum": {"dice": 1, "own": {"use": f"{__name__}:{own.__name__}", "weight": 2}}}
        torch.testing.assert_close(build(spec)(logits, target), dice + 2 * expected)
    build(spec | {"multilabel": True})


def test_a_sum_has_two_terms_of_a_kind():
    logits, index = case((2, 3, 4, 4))
    terms = {
        "a": {"use": "dice", "weight": 1},
        "b": {"use": "dice", "smooth": 1},
        "a.b": {"use": "dice", "smooth": 2},
        "a_b": {"use": "dice", "smooth": 3},
    }
    expected = sum(build({"use": "dice", "smooth": s})(logits, index) for s in range(4))
    loss = build({"sum": terms})
    torch.testing.assert_close(loss(logits, index), expected)
    assert len(list(loss.children())) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"smooth": 1.0},
        {"per": "batch"},
        {"background": False},
        {"class_weights": [1, 2, 5]},
        {"empty": "skip", "smooth_in": "denominator", "smooth": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [n for n in LOSSES if hasattr(resolve(LOSSES[n].path), "passed")])
def test_hybrids_pass_options_to_their_overlap_part(name, options):
    logits, index = case((2, 3, 4, 4))
    index[:] = index.clamp_max(1)
    loss, plain = build({"use": name, **options}), build(name)
    part = plain.passed[next(iter(options))]
    expected = dict(plain.terms)
    expected[part] = expected[part] | options
    torch.testing.assert_close(loss(logits, index), build({"sum": expected})(logits, index))
    assert loss(logits, index) != plain(logits, index)
    with pytest.raises(ValueError, match="smooth must be a number"):
        build({"use": name, "smooth": -1})
