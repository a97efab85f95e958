"""Closed forms against direct minimisation, and against the losses' own code."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from analysis import theory
from losses import build

RATES = (0.05, 0.1, 0.2, 0.3, 0.4)


def score(loss, p, pixels):
    """The score that a loss maximises, from its formula."""
    q, w, g = pixels.q, pixels.w, pixels.g
    if loss == "cross_entropy":
        return w @ (q * np.log(p.clip(1e-12)) + (1 - q) * np.log((1 - p).clip(1e-12)))
    size = {"dice": w @ p, "squared_dice": w @ p**2, "article_dice": (w @ p) ** 2 + g**2 - g}
    return 2 * w @ (p * q) / (size[loss] + g)


def best(loss, pixels):
    """The greatest score over predictions, from several starts."""
    starts = np.random.default_rng(0).uniform(0.05, 0.95, (12, len(pixels.q)))
    corners = np.tril(np.ones((len(pixels.q), len(pixels.q)))).clip(0.02, 0.98)
    results = [
        minimize(lambda p: -score(loss, p, pixels), s, bounds=[(0, 1)] * len(s), method="L-BFGS-B")
        for s in (*starts, *corners)
    ]
    return min(results, key=lambda r: r.fun)


@pytest.mark.parametrize("loss", theory.MINIMISERS)
@pytest.mark.parametrize("e", RATES)
@pytest.mark.parametrize("f", [0.003, 0.06, 0.3])
def test_minimisers_under_flips_agree_with_direct_minimisation(loss, f, e):
    pixels = theory.flipped(f, e)
    direct = best(loss, pixels)
    p = theory.MINIMISERS[loss](pixels)
    assert score(loss, p, pixels) >= -direct.fun - 1e-7
    assert p == pytest.approx(direct.x, abs=0.01)


@pytest.mark.parametrize("loss", theory.MINIMISERS)
@pytest.mark.parametrize("seed", range(5))
def test_minimisers_of_many_groups_agree_with_direct_minimisation(loss, seed):
    rng = np.random.default_rng(seed)
    pixels = theory.grouped(rng.uniform(0.01, 0.99, 6), rng.uniform(0.1, 1, 6))
    assert score(loss, theory.MINIMISERS[loss](pixels), pixels) >= -best(loss, pixels).fun - 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_dice_puts_its_threshold_at_half_the_score_it_reaches(seed):
    rng = np.random.default_rng(seed)
    pixels = theory.grouped(rng.uniform(0, 1, 200), np.ones(200))
    p = theory.dice(pixels)
    d = score("dice", p, pixels)
    assert np.array_equal(p > 0, pixels.q > d / 2)


@pytest.mark.parametrize("loss", theory.MINIMISERS)
@pytest.mark.parametrize("e", [0.1, 0.3])
def test_the_losses_code_is_least_at_the_minimiser(loss, e):
    """On a large image with drawn labels no other prediction on a grid is lower."""
    side, f = 512, 0.06
    rng = np.random.default_rng(0)
    truth = np.arange(side**2) < f * side**2
    labels = torch.from_numpy(truth ^ (rng.random(side**2) < e)).double().view(1, 1, side, side)
    truth = torch.from_numpy(truth).view(1, 1, side, side)
    function = build(loss)

    def value(p):
        prob = torch.where(truth, p[0], p[1]).double().clamp(1e-7, 1 - 1e-7)
        return function(prob.logit(), labels).item()

    least = value(theory.MINIMISERS[loss](theory.flipped(f, e)))
    for a in np.linspace(0, 1, 6):
        for b in np.linspace(0, 1, 11):
            # Sums of drawn labels scatter by 1 / sqrt(pixels) = 2e-3; the article's are over N.
            assert least <= value((a, b)) + (1e-7 if loss == "article_dice" else 2e-3)


def test_dice_breaks_down_where_the_two_candidates_are_equal():
    for f in (0.01, 0.063, 0.3):
        e = theory.breakdown("dice", f)
        g = f * (1 - e) + (1 - f) * e
        assert 2 * f * (1 - e) / (f + g) == pytest.approx(2 * g / (1 + g), abs=1e-5)
        for shift, share in ((-1e-3, f), (1e-3, 1)):
            assert theory.predicted_share("dice", f, e + shift) == pytest.approx(share)


def test_squared_dice_breaks_down_where_its_background_passes_one_half():
    e = theory.breakdown("squared_dice", 0.06)
    assert theory.squared_dice(theory.flipped(0.06, e))[1] == pytest.approx(0.5, abs=1e-4)
    assert theory.breakdown("cross_entropy", 0.06) == 0.5


def test_known_minimisers():
    """Worked out by direct minimisation elsewhere: f = .06, flips .1, .2, .3."""
    for e, dice, squared, article in (
        (0.1, 0, 0.168, 0),
        (0.2, 1, 0.361, 0.06),
        (0.3, 1, 0.508, 0.21),
    ):
        pixels = theory.flipped(0.06, e)
        assert theory.dice(pixels)[1] == dice
        assert theory.squared_dice(pixels) == pytest.approx([1, squared], abs=2e-3)
        assert theory.article(pixels) == pytest.approx([1, article], abs=6e-3)
