"""The registry: its rows, the modules of a specification, and one-way imports."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import losses
from losses import LOSSES, build
from losses._interface import SegmentationLoss
from losses._options import options
from losses.building import modules
from losses.hybrid import DiceFocalLoss, NamedSum
from losses.overlap import OverlapLoss


def test_every_loss_has_its_own_label():
    assert len({entry.label for entry in LOSSES.values()}) == len(LOSSES)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("dice", "losses.overlap"),
        ({"use": "dice", "per": "batch"}, "losses.overlap"),
        ("dice_ce", "losses.hybrid losses.likelihood losses.overlap"),
        ("combo", "losses.hybrid losses.likelihood losses.overlap"),
        ("blob", "losses.objects losses.overlap"),
        ({"use": "blob", "criterion": "focal"}, "losses.objects losses.likelihood"),
        ("ce_to_dice", "losses.hybrid losses.likelihood losses.overlap"),
        ({"use": "ce_to_dice", "last": "a.b:C"}, "losses.hybrid losses.likelihood a.b"),
        ("dice_boundary", "losses.hybrid losses.overlap losses.boundary"),
        ({"use": "dice_boundary", "region": "x:Y"}, "losses.hybrid losses.boundary x"),
        ({"sum": {"dice": 1, "lovasz": 0.5}}, "losses.hybrid losses.overlap losses.boundary"),
        ({"sum": {"key": {"weight": 1, "use": "topk"}}}, "losses.hybrid losses.likelihood"),
        ({"sum": {"a.b:C": 2, "in": {"sum": {"d:E": 1}}}}, "losses.hybrid a.b d"),
        (
            {"use": "blob", "criterion": {"use": "blob", "criterion": {"sum": {"my.own:L": 1}}}},
            "losses.objects losses.hybrid my.own",
        ),
        ({"use": "mine:Wrapper", "inner": "dice", "outer": ["a:B"]}, "mine losses.overlap a"),
    ],
)
def test_modules_of_a_specification(spec, expected):
    assert modules(spec) == set(expected.split())


@pytest.mark.parametrize("name", LOSSES)
def test_modules_of_a_loss_are_those_of_its_parts(name):
    built = {type(m).__module__ for m in build(name).modules()}
    assert modules(name) == built


def test_custom_losses_are_not_imported():
    code = "import sys; from losses.building import modules; modules('torch.nn:L1Loss'); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)


def test_the_modules_of_the_package_import_one_way():
    graph = {}
    for file in Path(losses.__file__).parent.glob("*.py"):
        graph[file.stem] = {
            node.module
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and node.level
        }
    TopologicalSorter(graph).prepare()  # no cycle
    assert graph["_interface"] == {"_optional", "_options", "_reading"}
    assert graph["_reading"] == {"_optional", "_trust"}
    assert not graph["_trust"] | graph["_options"] | graph["_optional"]


def test_options_of_a_hybrid_derive_from_its_parts():
    expected = {"dice": 1.0, "focal": 1.0, "gamma": 2.0}
    assert options(DiceFocalLoss) == expected | options(OverlapLoss)
    loss = DiceFocalLoss(focal=0.5, gamma=1.5)
    assert loss.weights == {"dice": 1.0, "focal": 0.5}
    assert loss.losses["focal"].gamma == 1.5
    with pytest.raises(TypeError, match="DiceFocalLoss has no option 'alpha'"):
        DiceFocalLoss(alpha=0.5)


def test_a_hybrid_is_a_row_of_parts():
    class Mine(NamedSum):
        parts = {"jaccard": 2.0, "topk": {"weight": 1.0, "fraction": 0.5}}  # noqa: RUF012

    own = {"jaccard": 2.0, "topk": 1.0, "fraction": 0.5}
    assert options(Mine) == own | options(OverlapLoss)
    loss = Mine(ignore_index=255)
    assert loss.extra_repr().startswith("jaccard=2.0, topk=1.0, fraction=0.5, per='image'")
    assert "ignore_index=255" in loss.extra_repr()
    assert all(part.ignore_index == 255 for part in loss.losses.values())
    assert not isinstance(loss, SegmentationLoss)
