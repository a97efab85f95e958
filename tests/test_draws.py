"""Draws of the losses' mean scores: their distribution, and how often the advice is right."""

import numpy as np
import pytest
from scipy import stats

from analysis.scores import draws
from analysis.scores.draws import Scores


def level(seed_scores, sources=None, images=1):
    """A level on which every image has the seed's score."""
    return Scores(np.repeat(np.asarray(seed_scores, float)[:, None], images, 1), sources)


def drawn(*levels, size=draws.DRAWS):
    return draws.of_dataset(levels, np.random.default_rng(0), size)


def advice_of(values):
    return draws.summary(values.mean(0), values)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_difference_of_two_losses_has_students_t_distribution(n):
    scores = np.random.default_rng(n).normal(0, 0.1, (n, 3))
    difference = np.subtract(*drawn(level(scores), size=40_000).T[:2])
    paired = scores[:, 0] - scores[:, 1]
    t = (difference - paired.mean()) / (paired.std(ddof=1) / np.sqrt(n))
    for share in (0.025, 0.25, 0.5, 0.9):
        assert (t < stats.t.ppf(share, n - 1)).mean() == pytest.approx(share, abs=0.01)


def test_levels_of_a_seed_stay_together():
    """Scores of a seed that cancel between two levels leave no spread."""
    scores = np.array([[0.1, 0.5], [0.3, 0.6], [0.2, 0.1]])
    both = drawn(level(scores), level(1 - scores))
    assert both == pytest.approx(np.full(both.shape, 0.5))
    assert drawn(level(scores)).std() > 0.05


def test_losses_use_all_their_seeds_and_common_seeds_stay_paired():
    rng = np.random.default_rng(0)
    first = rng.normal(0.5, 0.1, 12)
    scores = np.stack([first, first + 0.1, np.where(np.arange(12) < 3, first, np.nan)], 1)
    values = drawn(level(scores))
    assert np.ptp(values[:, 1] - values[:, 0]) < 1e-9
    for k, own in ((0, first), (2, first[:3])):
        n = len(own)
        high = own.mean() + stats.t.ppf(0.95, n - 1) * own.std(ddof=1) / np.sqrt(n)
        assert (values[:, k] < high).mean() == pytest.approx(0.95, abs=0.02)


def test_a_loss_with_one_seed_has_no_draws_and_leaves_the_others_alone():
    scores = np.array([[0.5, 0.2], [0.6, np.nan], [0.7, np.nan]])
    result = draws.summary(draws.mean_scores([level(scores)]), drawn(level(scores)))
    assert result.score.tolist() == [pytest.approx(0.6), 0.2]
    assert np.isnan([result.regret[1], result.low[1], result.best[1]]).all()
    assert result.advised.tolist() == [True, False]
    assert not result.may_be_as_good[1]
    alone = draws.summary(np.array([0.2, 0.3]), np.full((10, 2), np.nan))
    assert alone.rank.tolist() == [2, 1]
    assert not alone.advised.any()


def test_windows_of_one_source_are_no_independent_images():
    rng = np.random.default_rng(0)
    windows = np.repeat(rng.normal(0.5, 0.1, (8, 2)), 8, 0)  # 8 sources of 8 windows
    scores = np.repeat(windows[None], 3, 0)
    sources = [f"image {i // 8}" for i in range(64)]
    values = drawn(Scores(scores, sources), size=40_000)
    difference = windows[::8, 0] - windows[::8, 1]
    expected = difference.std(ddof=1) / np.sqrt(8)
    t = (np.subtract(*values.T) - difference.mean()) / expected
    assert (t < stats.t.ppf(0.975, 7)).mean() == pytest.approx(0.975, abs=0.01)
    own = drawn(Scores(scores, [str(i) for i in range(64)]))
    assert np.std(np.subtract(*own.T)) < 0.5 * expected
    assert drawn(Scores(scores, ["volume"] * 64)).std(0) == pytest.approx(0, abs=1e-9)


def test_the_noise_of_seed_and_image_together_counts_once():
    """Images that differ by nothing else than it add no more than chance."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(50):
        scores = rng.normal(0.5, 0.2, (4, 32, 2))
        part = draws.images_part([Scores(scores, [str(i) for i in range(32)])], rng, 500)
        parts.append(np.subtract(*part.T).var())
    seeds = 2 * 0.2**2 / (4 * 32)  # variance of the difference of two means
    assert np.mean(parts) < 0.5 * seeds


def test_images_of_each_seed_have_no_part_of_their_own():
    scores = np.random.default_rng(0).normal(0.5, 0.2, (3, 16, 2))
    means = scores.mean(1)
    assert drawn(Scores(scores)) == pytest.approx(drawn(level(means)))


def test_ties_share_a_rank_and_all_are_near_the_best():
    values = np.tile([0.5, 0.7, 0.7, 0.695], (20, 1))
    result = advice_of(values)
    assert result.rank.tolist() == result.low.tolist() == result.high.tolist() == [4, 1, 1, 3]
    assert result.best.tolist() == [0, 1, 1, 0]
    assert result.may_be_as_good.tolist() == [False, True, True, True]
    assert result.poor.tolist() == [True, False, False, False]
    assert result.regret.tolist() == pytest.approx([0.2, 0, 0, 0.005])
    assert result.advised.sum() == 1


def test_the_bound_is_above_95_percent_of_the_regrets():
    values = np.stack([np.zeros(1000), np.linspace(-0.9, 0.1, 1000)], 1)
    result = advice_of(values)
    assert result.bound == pytest.approx([0.05, 0.85], abs=0.001)
    assert result.advised.tolist() == [True, False]
    huge = advice_of(np.array([[0.0, 5.0], [0.0, 5.0]]))
    assert huge.regret.tolist() == [1, 0]  # of a Dice score


def cell(rng):
    """Means and covariance of five losses, one of which varies three times as much."""
    sd = rng.choice([0.01, 0.03, 0.1], 5)
    correlation = 0.5 + 0.5 * np.eye(5)
    return 0.6 + rng.choice([0.0, 0.03, 0.15], 5) * rng.random(5), np.outer(sd, sd) * correlation


@pytest.mark.parametrize("n", [3, 4, 6])
def test_the_bound_holds_and_the_best_loss_is_among_those_that_may_be(n):
    rng, right = np.random.default_rng(n), []
    for _ in range(300):
        mean, covariance = cell(rng)
        scores = rng.multivariate_normal(mean, covariance, n)
        result = draws.summary(scores.mean(0), draws.of_dataset([level(scores)], rng, 500))
        lost = mean.max() - mean[result.advised][0]
        held = lost <= result.bound[result.advised][0]
        right.append((held, result.may_be_as_good[mean.argmax()], result.may_be_as_good.sum()))
    held, found, size = np.mean(right, 0)
    assert held >= 0.93
    assert found >= 0.95
    assert size < 4.5  # of five


def test_one_more_dataset_is_within_the_bound():
    """The bound of the mean over all such datasets is too small for one of them."""
    rng, right = np.random.default_rng(0), []
    for _ in range(300):
        datasets = rng.normal([0.7, 0.68, 0.65], [0.03, 0.1, 0.1], (8, 3))
        scores = datasets + rng.normal(0, 0.02, (8, 3))
        values = draws.new_dataset(scores[:7], rng, 500)
        result = draws.summary(scores[:7].mean(0), values)
        lost = datasets[7].max() - datasets[7][result.advised][0]
        mean = advice_of(draws.of_dataset([level(scores[:7])], rng, 500))
        right.append([lost <= each.bound[result.advised][0] for each in (result, mean)])
    of_new, of_mean = np.mean(right, 0)
    assert of_new >= 0.92
    assert of_mean < 0.85
