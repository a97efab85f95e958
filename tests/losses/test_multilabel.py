"""Losses for classes that overlap: the mean of the binary loss of each channel."""

import copy
import pickle

import pytest
import torch

import losses
from losses import LOSSES, MultiLabelLoss, build
from losses.building import in_suite
from tests.losses.conftest import HARD_ONLY, VARIANTS, case, close, value_and_gradient, with_ignore
from tests.losses.test_devices import READ_VALUES, step

OVERLAPPING = {name: spec for name, spec in VARIANTS.items() if name not in HARD_ONLY}


def overlapping(shape=(2, 3, 7, 8), seed=0, soft=False):
    """Logits and a target whose classes overlap and leave pixels without a class."""
    logits, _ = case(shape, seed)
    share = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits, share if soft else (share > 0.5).double()


def per_channel(spec, logits, target):
    """The mean over the channels of the binary loss, by its definition."""
    x = logits.clone().requires_grad_()
    values = [build(spec)(x[:, c : c + 1], target[:, c : c + 1]) for c in range(x.shape[1])]
    value = sum(values) / len(values)
    value.backward()
    return value.detach(), x.grad


@pytest.mark.parametrize("name", VARIANTS)
def test_a_multilabel_loss_is_the_mean_of_the_binary_loss_of_each_channel(name):
    loss = build(VARIANTS[name], multilabel=True)
    for soft in (False, True) if name not in HARD_ONLY else (False,):
        logits, target = overlapping(soft=soft)
        expected = per_channel(VARIANTS[name], logits, target)
        got = value_and_gradient(loss, logits, target)
        close(got[0], expected[0], 1e-12)
        close(got[1], expected[1], 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_one_class_is_the_loss_itself(name):
    logits, index = case((2, 1, 7, 8), dtype=torch.float32)
    for target in (index, index.unsqueeze(1)):
        expected = value_and_gradient(build(name), logits, target)
        got = value_and_gradient(build(name, multilabel=True), logits, target)
        assert torch.equal(got[0], expected[0])
        assert torch.equal(got[1], expected[1])


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_multilabel_prediction_is_the_best(name):
    _, target = overlapping()
    loss = build(name, multilabel=True)
    perfect, wrong = loss(60 * target - 30, target), loss(30 - 60 * target, target)
    assert perfect < wrong
    if name in ("dice", "cross_entropy", "dice_ce", "focal", "lovasz", "jaccard"):
        assert perfect.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", VARIANTS)
def test_multilabel_maps_made_beforehand_give_the_same(name):
    loss = build(VARIANTS[name], multilabel=True)
    assert hasattr(loss, "maps") == hasattr(build(VARIANTS[name]), "maps")
    if not hasattr(loss, "maps"):
        return
    logits, target = overlapping()
    maps = loss.maps(target)
    assert maps.shape == (2, 3 * loss.map_sets, 7, 8)
    expected = value_and_gradient(loss, logits, target)
    got = value_and_gradient(loss, logits, target, maps=maps)
    close(got[0], expected[0], 1e-12)
    close(got[1], expected[1], 1e-12)
    with pytest.raises(ValueError, match="as many channels as the logits"):
        loss(logits, target, maps=maps[:, 1:])


def test_two_sets_of_multilabel_maps_reach_their_terms():
    loss = build({"sum": {"boundary": 1, "hausdorff": 1}}, multilabel=True)
    logits, target = overlapping()
    assert loss.map_sets == 2
    close(loss(logits, target, maps=loss.maps(target)), loss(logits, target), 1e-12)


def test_a_schedule_reaches_a_multilabel_loss():
    logits, target = overlapping()
    loss = build("ce_to_dice", multilabel=True)
    for t, name in ((0.0, "cross_entropy"), (1.0, "dice")):
        loss.set_progress(t)
        close(loss(logits, target), build(name, multilabel=True)(logits, target), 1e-12)


class Own(torch.nn.Module):
    """A custom loss of several channels that notes the shapes that it receives."""

    def forward(self, logits, target):
        self.shapes = logits.shape, target.shape
        return (logits.sigmoid() - target).square().mean()


OWN = {"use": f"{__name__}:Own"}


def test_a_custom_loss_receives_all_channels():
    logits, target = overlapping()
    own = build(OWN, multilabel=True)
    assert type(own).__name__ == "Own"
    own(logits, target)
    assert own.shapes == (logits.shape, target.shape)
    expected = own(logits, target) + 2 * build("dice", multilabel=True)(logits, target)
    terms = {"dice": 2, "own": OWN | {"weight": 1}}
    for spec in ({"sum": terms}, {"sum": {"inner": {"sum": terms}}}):
        close(build(spec, multilabel=True)(logits, target), expected, 1e-12)
    scheduled = build({"use": "ce_to_dice", "last": OWN}, multilabel=True)
    scheduled.set_progress(1.0)
    close(scheduled(logits, target), own(logits, target), 1e-12)


def test_a_function_receives_all_channels():
    spec = {"use": "torch.nn.functional:binary_cross_entropy_with_logits"}
    logits, target = overlapping()
    assert not in_suite(build(spec, multilabel=True))
    close(build(spec, multilabel=True)(logits, target), per_channel(spec, logits, target)[0], 1e-12)


def test_a_specification_may_say_multilabel():
    logits, target = overlapping()
    expected = build("dice", multilabel=True)(logits, target)
    for spec in (
        {"use": "dice", "multilabel": True},
        {"sum": {"dice": 1}, "multilabel": True},
        {"sum": {"dice": {"multilabel": True}}},
    ):
        close(build(spec)(logits, target), expected, 1e-12)
        close(build(spec, multilabel=True)(logits, target), expected, 1e-12)
    with pytest.raises(ValueError, match="multilabel must be True, False or a mapping"):
        build({"use": "dice", "multilabel": 3})


def test_classes_of_a_multilabel_loss_have_weights():
    logits, target = overlapping()
    each = torch.stack([build("dice")(logits[:, [c]], target[:, [c]]) for c in range(3)])
    expected = (each * torch.tensor([1, 2, 5])).sum() / 8
    spec = {"use": "dice", "multilabel": {"class_weights": [1, 2, 5]}}
    close(build(spec)(logits, target), expected, 1e-12)
    close(MultiLabelLoss(build("dice"), class_weights=[1, 2, 5])(logits, target), expected, 1e-12)
    with pytest.raises(ValueError, match="class_weights must be 3"):
        MultiLabelLoss(build("dice"), class_weights=[1, 2])(logits, target)
    with pytest.raises(ValueError, match="class_weights must not all be 0"):
        build({"use": "dice", "multilabel": {"class_weights": [0, 0]}})
    with pytest.raises(ValueError, match=r"multilabel.*unexpected keyword argument 'weights'"):
        build({"use": "dice", "multilabel": {"weights": [0, 0]}})


@pytest.mark.parametrize("name", OVERLAPPING)
def test_an_ignored_pixel_of_a_channel_has_no_gradient_there(name):
    loss = build(with_ignore(VARIANTS[name], 255), multilabel=True)
    logits, target = overlapping()
    target[:, 1, :, -2:] = 255
    value, gradient = value_and_gradient(loss, logits, target)
    assert value.isfinite()
    assert not gradient[:, 1, :, -2:].any()
    assert gradient[:, 0, :, -2:].any()


@pytest.mark.parametrize("target", [torch.zeros(2, 7, 8).long(), torch.zeros(2, 2, 7, 8)])
def test_a_multilabel_target_has_the_shape_of_the_logits(target):
    with pytest.raises(ValueError, match="does not fit multi-label logits"):
        build("dice", multilabel=True)(torch.zeros(2, 3, 7, 8), target)
    with pytest.raises(ValueError, match="class indices are no multi-label target"):
        build("boundary", multilabel=True).maps(torch.zeros(2, 7, 8).long(), 3)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in READ_VALUES])
def test_a_multilabel_loss_reads_no_value_of_another_device(name):
    step(build(VARIANTS[name], multilabel=True).to("meta"), (2, 3, 5, 6), "meta", dense=True)


def test_multilabel_values_are_checked_unless_trusted():
    logits, target = overlapping()
    with pytest.raises(ValueError, match=r"in 0\.\.1, got 0\.\.2"):
        build("dice", multilabel=True)(logits, 2 * target)
    with losses.trusted():
        build("dice", multilabel=True)(logits, 2 * target)


def test_a_multilabel_loss_can_be_copied():
    loss = build("dice_boundary", multilabel=True)
    logits, target = overlapping()
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(logits, target) == loss(logits, target)
