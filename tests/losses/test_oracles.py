"""Agreement with MONAI, segmentation_models_pytorch, torch and kornia, to 1e-10 in float64 for
values and gradients where the definition is the same; where it is not, how they differ."""

import warnings

import pytest
import torch
from conftest import case, one_hot
from torch.nn import functional as F

from losses import build

warnings.filterwarnings("ignore")
monai = pytest.importorskip("monai.losses")
smp = pytest.importorskip("segmentation_models_pytorch.losses")
kornia = pytest.importorskip("kornia.losses")

S = 1e-5
"""MONAI's smoothing of numerator and denominator."""


def monai_dice(**options):
    return lambda x, y, hot: monai.DiceLoss(**_activation(x), **options)(x, hot)


def _activation(x):
    return {"sigmoid": True} if x.shape[1] == 1 else {"softmax": True}


def with_activation(make, **options):
    return lambda x, y, hot: make(**_activation(x), **options)(x, hot)


def by_index(loss):
    """A loss of an index target, or of (N, 1, *space) with one channel."""
    return lambda x, y, hot: loss(x, hot if x.shape[1] == 1 else y)


def smp_loss(make, **options):
    def call(x, y, hot):
        mode = "binary" if x.shape[1] == 1 else "multiclass"
        return make(mode, **options)(x, hot if mode == "binary" else y)

    return call


# (name of the agreement, our configuration, theirs, channels)
BOTH, ONE, MORE = (1, 3), (1,), (3,)
AGREEMENTS = [
    ("monai Dice", {"use": "dice", "smooth": S}, monai_dice(), BOTH),
    (
        "monai Dice batch",
        {"use": "dice", "smooth": S, "per": "batch"},
        monai_dice(batch=True),
        BOTH,
    ),
    (
        "monai Dice without background",
        {"use": "dice", "smooth": S, "background": False},
        monai_dice(include_background=False),
        MORE,
    ),
    (
        "monai squared Dice",
        {"use": "squared_dice", "smooth": S},
        monai_dice(squared_pred=True),
        BOTH,
    ),
    ("monai Jaccard", {"use": "jaccard", "smooth": S / 2}, monai_dice(jaccard=True), BOTH),
    (
        "monai Dice smoothed below",
        {"use": "dice", "smooth": S, "smooth_in": "denominator"},
        monai_dice(smooth_nr=0),
        BOTH,
    ),
    (
        "monai Tversky",
        {"use": "tversky", "alpha": 0.3, "beta": 0.7, "smooth": S},
        with_activation(monai.TverskyLoss, alpha=0.3, beta=0.7),
        BOTH,
    ),
    ("monai focal", "focal", lambda x, y, hot: monai.FocalLoss()(x, hot), ONE),
    (
        "monai focal softmax, of all elements",
        "focal",
        lambda x, y, hot: x.shape[1] * monai.FocalLoss(use_softmax=True)(x, hot),
        MORE,
    ),
    (
        "monai Dice + CE",
        {"sum": {"dice": {"weight": 1, "smooth": S}, "cross_entropy": 1}},
        with_activation(monai.DiceCELoss),
        BOTH,
    ),
    (
        "monai squared Dice + CE",
        {"sum": {"squared_dice": {"weight": 1, "smooth": S}, "cross_entropy": 0.5}},
        with_activation(monai.DiceCELoss, squared_pred=True, lambda_ce=0.5),
        BOTH,
    ),
    (
        "monai Dice + focal",
        {"sum": {"dice": {"weight": 1, "smooth": S}, "focal": 1}},
        with_activation(monai.DiceFocalLoss),
        ONE,
    ),
    ("monai boundary", "boundary", with_activation(monai.BoundaryLoss), BOTH),
    ("monai Hausdorff", "hausdorff", with_activation(monai.HausdorffDTLoss), ONE),
    (
        "monai Hausdorff, which leaves the background out",
        {"use": "hausdorff", "background": False},
        with_activation(monai.HausdorffDTLoss),
        MORE,
    ),
    ("smp Dice", {"use": "dice", "per": "batch"}, smp_loss(smp.DiceLoss, smooth=0.0), BOTH),
    (
        "smp Dice smooth s is 2 s here",
        {"use": "dice", "per": "batch", "smooth": 2.0},
        smp_loss(smp.DiceLoss, smooth=1.0),
        BOTH,
    ),
    ("smp Jaccard", {"use": "jaccard", "per": "batch"}, smp_loss(smp.JaccardLoss), BOTH),
    (
        "smp Tversky",
        {"use": "tversky", "per": "batch", "alpha": 0.3, "beta": 0.7},
        smp_loss(smp.TverskyLoss, alpha=0.3, beta=0.7),
        BOTH,
    ),
    ("smp focal", "focal", smp_loss(smp.FocalLoss), ONE),
    (
        "smp focal alpha",
        {"use": "focal", "alpha": 0.25, "gamma": 3.0},
        smp_loss(smp.FocalLoss, alpha=0.25, gamma=3.0),
        ONE,
    ),
    ("smp Lovasz", "lovasz", smp_loss(smp.LovaszLoss), BOTH),
    (
        "smp Lovasz per image",
        {"use": "lovasz", "per": "image"},
        smp_loss(smp.LovaszLoss, per_image=True),
        BOTH,
    ),
    ("smp BCE", "cross_entropy", lambda x, y, hot: smp.SoftBCEWithLogitsLoss()(x, hot), ONE),
    ("torch CE", "cross_entropy", by_index(F.cross_entropy), MORE),
    ("torch BCE", "cross_entropy", by_index(F.binary_cross_entropy_with_logits), ONE),
    (
        "torch CE weights",
        {"use": "weighted_cross_entropy", "class_weights": [1, 2, 5]},
        by_index(torch.nn.CrossEntropyLoss(torch.tensor([1, 2, 5.0], dtype=torch.float64))),
        MORE,
    ),
    (
        "torch CE label smoothing",
        {"use": "label_smoothing", "smoothing": 0.2},
        by_index(torch.nn.CrossEntropyLoss(label_smoothing=0.2)),
        MORE,
    ),
    (
        "torch CE of probabilities",
        "cross_entropy",
        lambda x, y, hot: F.cross_entropy(x, hot),
        MORE,
    ),
    (
        "kornia Dice macro",
        "dice",
        lambda x, y, hot: kornia.dice_loss(x, y, average="macro", eps=0.0),
        MORE,
    ),
    (
        "kornia focal, of all elements",
        {"use": "focal", "alpha": 0.25},
        lambda x, y, hot: 3 * kornia.focal_loss(x, y, 0.25, 2.0, "mean"),
        MORE,
    ),
    (
        "kornia binary focal",
        {"use": "focal", "alpha": 0.25},
        lambda x, y, hot: kornia.binary_focal_loss_with_logits(x, hot, 0.25, 2.0, "mean"),
        ONE,
    ),
    (
        "kornia Lovasz hinge",
        {"use": "lovasz", "per": "image"},
        lambda x, y, hot: kornia.lovasz_hinge_loss(x, y),
        ONE,
    ),
    (
        "kornia Lovasz softmax",
        {"use": "lovasz", "per": "image"},
        lambda x, y, hot: kornia.lovasz_softmax_loss(x, y),
        MORE,
    ),
]
FLOAT32 = {
    *("monai focal", "monai focal softmax, of all elements", "monai Dice + focal"),
    *("monai boundary", "smp Lovasz", "smp Lovasz per image"),
}
"""Theirs is, or holds something, float32 whatever the logits: there the bound is 2e-6."""

CASES = [(n, ours, theirs, c) for n, ours, theirs, channels in AGREEMENTS for c in channels]


def difference(ours, theirs, channels, seed=0, dtype=torch.float64):
    """The greatest difference of values and of gradients."""
    logits, index = case((2, channels, 6, 7), seed, dtype=dtype)
    hot = one_hot(index, channels, dtype)
    results = []
    for call in (lambda x: build(ours)(x, index), lambda x: theirs(x, index, hot)):
        x = logits.clone().requires_grad_()
        value = call(x)
        value.backward()
        results.append((value.detach(), x.grad))
    (a, da), (b, db) = results
    return max((a - b).abs().item(), (da - db).abs().max().item())


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "channels"),
    CASES,
    ids=[f"{c[0]}, C = {c[3]}" for c in CASES],
)
def test_agreement(name, ours, theirs, channels):
    single = name in FLOAT32
    for seed in range(3):
        found = difference(ours, theirs, channels, seed, torch.float32 if single else torch.float64)
        assert found < (2e-6 if single else 1e-10)


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


# How others differ.


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
