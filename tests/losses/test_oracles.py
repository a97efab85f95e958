"""Agreement with MONAI, segmentation_models_pytorch, torch and kornia, to 1e-10 in float64 for
values and gradients if the definition is the same; otherwise the difference is tested."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.agreement import CASES, FLOAT32, difference, kornia, monai, smp
from losses import build
from tests.losses.conftest import case, one_hot


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "channels"),
    CASES,
    ids=[f"{c[0]}, C = {c[3]}" for c in CASES],
)
def test_agreement(name, ours, theirs, channels):
    single = name in FLOAT32
    for seed in range(3):
        worst = difference(ours, theirs, channels, seed, torch.float32 if single else torch.float64)
        assert worst < (2e-6 if single else 1e-10)


def test_ignored_labels_agree_with_torch_and_kornia():
    logits, index = case((2, 3, 6, 7))
    index[:, 2:4] = 255
    own = build({"use": "cross_entropy", "ignore_index": 255})(logits, index)
    torch.testing.assert_close(own, F.cross_entropy(logits, index, ignore_index=255))
    own = build({"use": "dice", "ignore_index": 255})(logits, index)
    theirs = kornia.dice_loss(logits, index, average="macro", eps=0.0, ignore_index=255)
    torch.testing.assert_close(own, theirs)


def test_generalized_dice_agrees_with_monai_where_all_classes_are_present():
    # MONAI's weights are float32: sizes that are powers of two make them exact.
    index = torch.tensor([0] * 32 + [1] * 16 + [2] * 16).view(1, 8, 8).repeat(2, 1, 1)
    logits, _ = case((2, 3, 8, 8))
    for per, batch in (("image", False), ("batch", True)):
        theirs = monai.GeneralizedDiceLoss(softmax=True, batch=batch, smooth_nr=0, smooth_dr=0)
        own = build({"use": "generalized_dice", "per": per})(logits, index)
        assert (own - theirs(logits, one_hot(index, 3))).abs() < 1e-10


# Differences of other libraries.


def test_monai_gives_an_absent_class_the_greatest_weight():
    logits, index = case((1, 3, 6, 7))
    index[index == 2] = 0
    theirs = monai.GeneralizedDiceLoss(softmax=True)(logits, one_hot(index, 3))
    own = build("generalized_dice")(logits, index)
    assert theirs > own + 0.01


def test_monai_dice_of_an_empty_mask_is_1_without_a_gradient():
    logits, target = torch.full((1, 1, 16, 16), -5.0), torch.zeros(1, 1, 16, 16)
    values, slopes = [], []
    for loss in (monai.DiceLoss(sigmoid=True), build("dice")):
        x = logits.clone().requires_grad_()
        value = loss(x, target)
        value.backward()
        values.append(value.item())
        slopes.append(x.grad.sum().item())
    assert values[0] > 0.999
    assert values[1] < 0.01
    assert slopes[1] > 100 * slopes[0]


def test_smp_dice_of_an_empty_mask_is_0_whatever_is_predicted():
    logits, target = torch.full((1, 1, 16, 16), 5.0), torch.zeros(1, 1, 16, 16)
    assert smp.DiceLoss("binary")(logits, target) == 0
    assert build({"use": "dice", "per": "batch", "empty": "skip"})(logits, target) == 0
    assert build({"use": "dice", "per": "batch"})(logits, target) > 0.9


def test_smp_counts_an_absent_class_as_0_in_the_mean():
    logits, index = case((2, 3, 6, 7))
    index[index == 2] = 0
    theirs = smp.DiceLoss("multiclass")(logits, index)
    own = build({"use": "dice", "per": "batch", "empty": "skip"})(logits, index)
    torch.testing.assert_close(theirs, own * 2 / 3)


def test_monai_focal_of_classes_is_a_sigmoid_by_default():
    logits, index = case((2, 3, 6, 7))
    hot = one_hot(index, 3)
    theirs = monai.FocalLoss()
    assert not torch.isclose(theirs(logits, hot), theirs(logits + 5, hot))
    torch.testing.assert_close(build("focal")(logits, hot), build("focal")(logits + 5, hot))


def test_smp_focal_of_classes_is_the_mean_of_a_sigmoid_per_class():
    logits, index = case((2, 3, 6, 7))
    per_class = [
        build("focal")(logits[:, c : c + 1], (index == c).double().unsqueeze(1)) for c in range(3)
    ]
    torch.testing.assert_close(smp.FocalLoss("multiclass")(logits, index), sum(per_class) / 3)


def test_kornia_dice_is_micro_by_default():
    logits, index = case((2, 3, 6, 7))
    true = logits.softmax(1).gather(1, index.unsqueeze(1)).mean()
    torch.testing.assert_close(kornia.dice_loss(logits, index, eps=0.0), 1 - true)


def test_smp_soft_bce_divides_by_ignored_pixels_too():
    logits, index = case((2, 1, 6, 8))
    index[..., 4:] = 255
    target = index.double().unsqueeze(1)
    theirs = smp.SoftBCEWithLogitsLoss(ignore_index=255)(logits, target)
    own = build({"use": "cross_entropy", "ignore_index": 255})(logits, target)
    torch.testing.assert_close(theirs, own / 2)


def test_half_tensors_break_others():
    logits = torch.full((1, 1, 512, 512), 4.0).half()
    target = torch.ones(1, 1, 512, 512).half()
    theirs = monai.DiceLoss(sigmoid=True)(logits, target)
    assert not torch.isfinite(theirs)
    assert build("dice")(logits, target) < 0.02


def test_losses_from_elsewhere_by_import_path():
    logits, index = case((2, 1, 6, 7), dtype=torch.float32)
    target = one_hot(index, 1, torch.float32)
    for spec, expected in [
        ({"use": "monai.losses:DiceCELoss", "sigmoid": True}, monai.DiceCELoss(sigmoid=True)),
        (
            {"use": "segmentation_models_pytorch.losses:LovaszLoss", "mode": "binary"},
            smp.LovaszLoss("binary"),
        ),
    ]:
        torch.testing.assert_close(build(spec)(logits, target), expected(logits, target))
    both = {"sum": {"monai.losses:DiceLoss": {"weight": 2, "sigmoid": True}, "focal": 1}}
    expected = 2 * monai.DiceLoss(sigmoid=True)(logits, target) + build("focal")(logits, target)
    torch.testing.assert_close(build(both)(logits, target), expected)
    with pytest.raises(ValueError, match="no option 'smoth'"):
        build({"use": "segmentation_models_pytorch.losses:DiceLoss", "smoth": 1})
