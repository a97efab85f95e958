"""Losses by configuration: the loss that is built, and the errors."""

import subprocess
import sys

import pytest
import torch
from conftest import case

import losses
from losses import LOSSES, _blocks, build
from losses._interface import options


def test_importing_losses_does_not_import_torch():
    code = "import losses, sys; assert 'torch' not in sys.modules; losses.nearest('a', 'b')"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", LOSSES)
def test_names_and_classes(name):
    loss = build(name)
    cls = LOSSES[name].path.partition(":")[2]
    assert type(loss) is getattr(losses, cls)
    assert cls.endswith("Loss")
    assert repr(loss).startswith(cls + "(")
    for option, default in options(type(loss)).items():
        assert f"{option}={default!r}" in repr(loss)
    assert build({"use": name, **options(type(loss))}).extra_repr() == loss.extra_repr()
    assert type(loss).minimiser


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dicee", r"unknown loss 'dicee' \(did you mean 'dice'\?\)"),
        ({"use": "dice", "smoth": 1}, r"loss 'dice' has no option 'smoth' \(did you mean 'smooth'"),
        ({"use": "jaccard", "alpha": 1}, "loss 'jaccard' has no option 'alpha'"),
        ({"use": "dice", "smooth": -1}, "loss 'dice'.*smooth must be a number at least 0.*-1"),
        ({"use": "dice", "smooth": "a"}, "loss 'dice'.*smooth must be a number.*'a'"),
        ({"use": "dice", "per": "pixel"}, "loss 'dice'.*per must be one of 'image', 'batch'"),
        ({"use": "dice", "empty": "zero"}, "empty must be one of 'background', 'smooth', 'skip'"),
        ({"use": "dice", "empty": "smooth"}, "empty='smooth' needs smooth above 0"),
        ({"use": "dice", "background": False, "class_weights": [1, 2]}, "both weigh class 0"),
        ({"use": "dice", "class_weights": [0, 0]}, "class_weights must not all be 0"),
        ({"use": "dice", "ignore_index": 0.5}, "ignore_index must be an integer or None, got 0.5"),
        ({"use": "focal", "gamma": -1}, "loss 'focal'.*gamma"),
        ({"use": "focal_tversky", "gamma": 0}, "gamma must be a number above 0"),
        ({"use": "tversky", "alpha": 0, "beta": 0}, "alpha and beta must not both be 0"),
        ({"use": "ce_to_dice", "begin": 0.5, "end": 0.5}, "end must be a number above 0.5"),
        ({"use": "topk", "fraction": 0}, "fraction must be a number above 0 and at most 1"),
        ({"use": "weighted_cross_entropy", "class_weights": "median"}, "'balanced'"),
        ({"use": "blob", "criterion": "dise"}, "loss 'blob'.*unknown loss 'dise'"),
        ({"sum": {}}, "at least one term"),
        ({"sum": {"dice": "one"}}, "the weight of 'dice' must be a number"),
        ({"sum": {"dice": 1}, "smooth": 1}, "a sum takes no further options"),
        ({"sum": {"dice": {"weight": 1, "smoth": 1}}}, "did you mean 'smooth'"),
        ({"use": "nowhere.at_all:Loss"}, "cannot import 'nowhere.at_all'"),
        ({"use": "torch.nn:NoSuchLoss"}, "module 'torch.nn' has no 'NoSuchLoss'"),
        ({"use": "torch.nn:BCEWithLogitsLoss", "pos_wait": 1}, "did you mean 'pos_weight'"),
        (3, "a loss is a name or a mapping"),
    ],
)
def test_refusals(spec, message):
    with pytest.raises(ValueError, match=message):
        build(spec)


ONES = torch.ones(2, 4, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 3, 4, 4).long(), ONES, "logits must be floating point, got torch.int64"),
        (torch.zeros(2, 4), ONES, r"logits must be \(N, C, \*space\).*\(2, 4\)"),
        (torch.zeros(0, 1, 4, 4), ONES[:0], "not empty"),
        (torch.zeros(2, 3, 4, 4), ONES[:, :3], r"target of shape \(2, 3, 4\) does not fit"),
        (
            torch.zeros(2, 3, 4, 4),
            ONES.float(),
            "indices must be integers, got torch.float32",
        ),
        (torch.zeros(2, 3, 4, 4), 3 * ONES, r"target labels must be in 0\.\.2, got 3\.\.3"),
        (torch.zeros(2, 3, 4, 4), -ONES, r"target labels must be in 0\.\.2, got -1\.\.-1"),
        (torch.zeros(2, 1, 4, 4), 255 * ONES, r"target labels must be in 0\.\.1, got 255"),
        (
            torch.zeros(2, 1, 4, 4),
            1.5 * ONES[:, None],
            r"must be in 0\.\.1, got 1\.5",
        ),
        (
            torch.zeros(2, 1, 4, 4),
            torch.full((2, 1, 4, 4), torch.nan),
            r"must be in 0\.\.1, got nan",
        ),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_invalid_inputs_are_named(name, logits, target, message):
    with pytest.raises(ValueError, match=message):
        build(name)(logits, target)


def test_class_weights_must_fit_the_logits():
    logits, index = case((2, 3, 4, 4))
    for name in ("dice", "generalized_dice", "weighted_cross_entropy"):
        with pytest.raises(ValueError, match=r"class_weights must be 3.*got 2"):
            build({"use": name, "class_weights": [1, 2]})(logits, index)


def test_one_channel_has_no_background():
    logits, index = case((2, 1, 4, 4))
    for name in ("dice", "boundary", "hausdorff"):
        with pytest.raises(ValueError, match="background=False needs logits of more than one"):
            build({"use": name, "background": False})(logits, index)


def test_maps_must_fit():
    logits, index = case((2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"maps must have the shape of the logits, \(2, 1, 4, 4\)"):
        build("boundary")(logits, index, maps=torch.zeros(2, 1, 4, 5))


def test_a_loss_from_elsewhere_is_built_and_summed():
    logits, index = case((2, 1, 4, 4))
    target = index.double().unsqueeze(1)
    foreign = build({"use": "torch.nn:BCEWithLogitsLoss", "reduction": "mean"})
    own = build("cross_entropy")
    torch.testing.assert_close(foreign(logits, target), own(logits, target))
    both = build({"sum": {"torch.nn:BCEWithLogitsLoss": 2, "cross_entropy": 1}})
    torch.testing.assert_close(both(logits, target), 3 * own(logits, target))


def test_sums_of_sums_with_maps():
    """Maps of a sum's terms are concatenated, and reach each term at any depth."""
    logits, index = case((2, 1, 6, 6))
    target = index.double().unsqueeze(1)
    spec = {
        "sum": {
            "dice": 1,
            "hausdorff": 0.5,
            "inner": {"weight": 2, "sum": {"boundary": 1, "inverse_size_dice": 1}},
        }
    }
    loss = build(spec)
    terms = {"dice": 1, "hausdorff": 0.5, "boundary": 2, "inverse_size_dice": 2}
    expected = sum(w * build(name)(logits, target) for name, w in terms.items())
    torch.testing.assert_close(loss(logits, target), expected)
    maps = loss.maps(target)
    assert maps.shape == (2, 3, 6, 6)
    torch.testing.assert_close(loss(logits, target, maps=maps), expected)
    assert not hasattr(build("dice_ce"), "maps")


def test_terms_of_a_sum_share_one_pass(monkeypatch):
    calls = []
    apply = _blocks.BlockSums.apply
    monkeypatch.setattr(_blocks.BlockSums, "apply", lambda *a: (calls.append(1), apply(*a))[1])
    logits, index = case((2, 1, 16, 16))
    monkeypatch.setattr(_blocks, "BLOCK", 2**12)
    build({"sum": {"dice": 1, "squared_dice": 1, "cross_entropy": 1, "jaccard": 1}})(logits, index)
    assert len(calls) == 1
