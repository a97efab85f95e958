"""Predictions of least expected loss, found numerically, against the closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis import theory
from experiments.runs import minimiser
from losses import build

CLOSE = {"cross_entropy": 0.01, "dice": 1e-4, "squared_dice": 0.01, "article_dice": 0.05}
"""Greatest error of p. The article's formula is 1 - 2 / N at least: float32 has 4 digits of it."""


def of_groups(loss, groups, sure):
    """The closed form's predictions for groups, with the sure object and the background."""
    rest = ~sure & ~np.logical_or.reduce([group.pixels for group in groups])
    q = [1.0, *(group.q for group in groups), 0.0]
    masks = [sure, *(group.pixels for group in groups), rest]
    by_q = dict(sorted(zip(q, (mask.sum() for mask in masks), strict=True), reverse=True))
    p = theory.MINIMISERS[loss](theory.grouped(list(by_q), list(by_q.values())))
    found = dict(zip(by_q, p, strict=True))
    return [found[group.q] for group in groups]


@pytest.mark.parametrize("loss", theory.MINIMISERS)
def test_the_prediction_on_a_doubtful_rim_is_that_of_the_closed_form(loss):
    for q, p in minimiser.in_rim(build(loss)):
        groups, sure = minimiser.rim(q)
        assert p == pytest.approx(of_groups(loss, groups, sure)[0], abs=CLOSE[loss]), q


@pytest.mark.parametrize("loss", theory.MINIMISERS)
def test_the_predictions_under_flips_are_those_of_the_closed_form(loss):
    measured = zip(
        minimiser.flipped_object(build(loss)),
        minimiser.flipped_background(build(loss)),
        strict=True,
    )
    for (e, inside), (_, outside) in measured:
        share = minimiser.square(16).mean()
        expected = theory.MINIMISERS[loss](theory.flipped(share, e))
        assert [inside, outside] == pytest.approx(expected, abs=max(0.02, CLOSE[loss])), e


def test_dice_predicts_the_rim_from_half_the_score_that_it_reaches():
    """With the rim d = 2 (s + r q) / (2 s + r (1 + q)), without it 2 s / (2 s + r q)."""
    ((_, threshold),) = minimiser.rim_threshold(build("dice"))
    groups, sure = minimiser.rim(threshold)
    s, r = sure.sum(), groups[0].pixels.sum()
    d = 2 * s / (2 * s + r * threshold)
    assert threshold == pytest.approx(d / 2, abs=0.01)
    ((_, half),) = minimiser.rim_threshold(build("cross_entropy"))
    assert half == pytest.approx(0.5, abs=0.01)


def test_dice_predicts_an_object_alone_at_any_share_of_its_labels():
    assert [p for _, p in minimiser.alone(build("dice"))] == pytest.approx(9 * [1], abs=1e-4)
    by_hand = dict(minimiser.alone(build("cross_entropy")))
    assert [*by_hand.values()] == pytest.approx([*by_hand], abs=0.01)


class Pulls(nn.Module):
    """Least at p = 1 (or 0) everywhere, whatever the labels; counts its calls in the value."""

    def __init__(self, sign):
        super().__init__()
        self.sign, self.calls = sign, 0

    def forward(self, logits, target):
        self.calls += 1
        return self.calls - self.sign * logits.sigmoid().mean()


@pytest.mark.parametrize(("sign", "threshold", "p"), [(1, 0.0, 1), (-1, 1.0, 0)])
def test_a_loss_that_ignores_the_labels_has_a_threshold_at_an_end(sign, threshold, p):
    assert list(minimiser.rim_threshold(Pulls(sign))) == [(0.5, threshold)]
    assert [value for _, value in minimiser.in_rim(Pulls(sign))] == pytest.approx(9 * [p], abs=1e-4)


def test_labels_have_the_share_of_foreground_that_they_are_asked_for():
    groups, sure = minimiser.rim(0.25)
    drawn = minimiser.labels(groups, sure)
    assert drawn.shape == (minimiser.DRAWS, 1, minimiser.SIDE, minimiser.SIDE)
    inside = drawn[:, 0, torch.from_numpy(groups[0].pixels)]
    assert inside.mean(1).tolist() == pytest.approx([0.25] * minimiser.DRAWS, abs=1e-3)
    assert not torch.equal(inside[0], inside[1])
    assert drawn.sum((1, 2, 3)).tolist() == [sure.sum() + 96] * minimiser.DRAWS
    assert drawn[:, 0, torch.from_numpy(sure)].all()
