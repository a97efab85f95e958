"""Losses by configuration: the loss that is built, and the errors."""

import subprocess
import sys

import pytest
import torch

import losses
from losses import LOSSES, _blocks, build
from losses._interface import FunctionLoss
from losses._options import options
from losses.building import IMPORT_PATH, SUM, declared, modules, resolve, term
from losses.hybrid import PASSED
from tests.losses.conftest import case


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
        ({"use": ["dice"]}, r"unknown loss \['dice'\]"),
        ({"sum": {"dice": {"use": ["dice"]}}}, r"unknown loss \['dice'\]"),
        ({"sum": {1: 2}}, "unknown loss 1"),
        ("dice:", "unknown loss 'dice:'"),
        ("a b:c", "unknown loss 'a b:c'"),
    ],
)
def test_refusals(spec, message):
    with pytest.raises(ValueError, match=message):
        build(spec)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Modules of a user: one with losses and other things, one that must not be imported."""
    (tmp_path / "own_things.py").write_text(
        """
import functools
from os import system
from subprocess import Popen, run

from torch import nn


def loss(logits, target, gamma=1.0, *, scale=1.0):
    return scale * ((logits.sigmoid() - target).abs() ** gamma).mean()


def of_logits_alone(logits):
    return logits.mean()


class NoModule:
    def __call__(self, logits, target):
        return logits.mean()


partial = functools.partial(loss, gamma=2)
made = nn.L1Loss()
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "subprocess:Popen",
        "os:system",
        "os.path:join",
        "builtins:eval",
        "posix:system",
        "this:d",
        "torch.hub:load",
        "torch:load",
        "torch.utils.cpp_extension:load",
        "torch.nn_other:load",
        "__main__:main",
        "no_such_package.losses:Loss",
    ],
)
def test_a_module_without_losses_is_not_even_imported(path, monkeypatch):
    def refuse(name):
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr("losses.building.importlib.import_module", refuse)
    with pytest.raises(ValueError, match=rf"use: '{path}'.*allowed: "):
        resolve(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoModule", "the class NoModule is no loss; allowed: a class of torch.nn.Module or a fun"),
        ("Popen", "the class Popen is no loss"),
        ("run", "the module 'subprocess' of the standard library"),
        ("system", "the builtin_function_or_method system is no loss"),
        ("nn", "the module nn is no loss"),
        ("partial", "the partial partial is no loss"),
        ("made", "the L1Loss made is no loss"),
        ("of_logits_alone", "of_logits_alone cannot be called with logits, target"),
        ("losss", "has no 'losss'"),
    ],
)
def test_only_a_class_of_module_or_a_function_is_a_loss(own, name, words):
    with pytest.raises(ValueError, match=words):
        build(f"own_things:{name}")


def test_a_function_is_a_loss_with_its_options(own):
    logits, index = case((2, 1, 4, 4))
    target = index.double().unsqueeze(1)
    loss = build({"use": "own_things:loss", "gamma": 2, "scale": 3})
    assert isinstance(loss, FunctionLoss)
    expected = 3 * (logits.sigmoid() - target).square().mean()
    torch.testing.assert_close(loss(logits, target), expected)
    assert repr(loss) == "FunctionLoss(own_things:loss, gamma=2, scale=3)"
    with pytest.raises(
        ValueError, match=r"no option 'gama' \(did you mean 'gamma'\?\).*: gamma, s"
    ):
        build({"use": "own_things:loss", "gama": 2})
    with pytest.raises(ValueError, match="no option 'logits'"):
        build({"use": "own_things:loss", "logits": 2})
    both = build({"sum": {"own": {"weight": 2, "use": "own_things:loss"}, "dice": 1}})
    alone = build("own_things:loss")(logits, target), build("dice")(logits, target)
    torch.testing.assert_close(both(logits, target), 2 * alone[0] + alone[1])


@pytest.mark.parametrize(
    "spec",
    [
        {"use": "monai.losses:DiceLoss", "sigmoid": True},
        {"use": "segmentation_models_pytorch.losses:DiceLoss", "mode": "binary"},
        {"use": "kornia.losses:BinaryFocalLossWithLogits", "alpha": 0.25, "reduction": "mean"},
        {"use": "torchvision.ops:sigmoid_focal_loss", "reduction": "mean"},
        {"use": "torch.nn.functional:binary_cross_entropy_with_logits"},
        {"use": "torch.nn:BCEWithLogitsLoss"},
    ],
    ids=lambda spec: spec["use"],
)
def test_losses_of_libraries_work(spec):
    pytest.importorskip(spec["use"].partition(":")[0])
    logits, index = case((2, 1, 8, 8), dtype=torch.float32)
    logits.requires_grad_()
    build(spec)(logits, index.float().unsqueeze(1)).backward()
    assert logits.grad.isfinite().all()


def imported_modules(spec):
    """`losses.building.modules` by importing the suite's classes, for comparison."""
    if isinstance(spec, list | tuple):
        return set().union(*map(imported_modules, spec))
    if isinstance(spec, str):
        spec = {"use": spec}
    if not isinstance(spec, dict):
        return set()
    values, terms, names = dict(spec), {}, set()
    use = values.pop("use", None)
    path = SUM if "sum" in spec else LOSSES[use].path if use in LOSSES else str(use)
    if IMPORT_PATH.fullmatch(path):
        names.add(path.partition(":")[0])
    if use in LOSSES:
        loss_class = resolve(path)
        values = options(loss_class) | values
        terms |= getattr(loss_class, "parts", {})
    terms |= values.pop("sum", {})
    for name, value in terms.items():
        names |= imported_modules(term(name, value)[1])
    return names.union(*map(imported_modules, values.values()))


@pytest.mark.parametrize(
    "spec",
    [
        *LOSSES,
        {"use": "blob", "criterion": {"sum": {"focal": 1, "my.code:Loss": 2}}},
        {"use": "blob", "criterion": "lovasz", "ignore_index": 3},
        {"use": "ce_to_dice", "last": "boundary"},
        {"use": "ce_to_dice", "first": {"use": "mine:Loss"}, "last": {"use": "blob"}},
        {"use": "dice_boundary", "region": "topk"},
        {"use": "dice_focal", "gamma": 1},
        {"sum": {"tversky": {"weight": 0.5, "alpha": 0.3}, "inner": {"sum": {"boundary": 1}}}},
        {"sum": {"wide": {"weight": 1, "use": "combo"}}},
        {"use": "other:Wrapper", "inner": ["dice_ce", {"use": "blob"}]},
    ],
    ids=str,
)
def test_modules_are_read_from_the_source_as_an_import_gives_them(spec):
    assert modules(spec) == imported_modules(spec)


@pytest.mark.parametrize("name", LOSSES)
def test_options_are_read_from_the_source_as_an_import_gives_them(name):
    loss_class = resolve(LOSSES[name].path)
    values, parts = declared(LOSSES[name].path)
    assert parts == getattr(loss_class, "parts", {})
    expected = options(loss_class)
    assert values.items() <= expected.items()
    # A number that is computed names no loss; neither do options that derive from the parts.
    named = {k for k, v in expected.items() if isinstance(v, str | dict | list)}
    assert named - {*PASSED} <= values.keys()


def test_reading_the_modules_of_all_losses_imports_no_torch():
    code = (
        "import sys; from losses.building import modules, LOSSES; list(map(modules, LOSSES)); "
        "assert 'torch' not in sys.modules; assert 'losses.hybrid' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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


def test_terms_of_a_sum_without_background_take_images_without_a_class():
    logits, index = case((2, 3, 4, 4))
    index[:] = 0
    terms = {"dice": {"background": False}, "cross_entropy": {}}
    expected = sum(
        build({"use": name, **options})(logits, index) for name, options in terms.items()
    )
    torch.testing.assert_close(build({"sum": terms})(logits, index), expected)


def test_terms_of_a_sum_share_one_pass(monkeypatch):
    calls = []
    apply = _blocks.BlockSums.apply
    monkeypatch.setattr(_blocks.BlockSums, "apply", lambda *a: (calls.append(1), apply(*a))[1])
    logits, index = case((2, 1, 16, 16))
    monkeypatch.setattr(_blocks, "BLOCK", 2**12)
    build({"sum": {"dice": 1, "squared_dice": 1, "cross_entropy": 1, "jaccard": 1}})(logits, index)
    assert len(calls) == 1
