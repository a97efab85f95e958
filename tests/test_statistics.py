"""Estimates, intervals and decisions, on values with a known truth."""

import numpy as np
import pytest

from analysis.scores import statistics


def test_the_estimate_is_the_weighted_sum_of_means():
    terms = [
        (1, {0: np.array([1.0, 3.0]), 1: np.array([2.0])}),
        (-0.5, {0: np.ones(3), 1: np.ones(2)}),
    ]
    result = statistics.estimate(terms)
    assert result.value == pytest.approx(2 - 0.5)
    assert result.n == 2
    assert result.low <= result.value <= result.high


def test_seeds_and_values_that_are_nan_are_ignored():
    terms = [(1, {0: np.array([1.0, np.nan]), 1: np.array([np.nan]), 2: np.array([3.0])})]
    assert statistics.estimate(terms).n == 2
    assert statistics.estimate(terms).value == 2
    assert statistics.estimate([(1, {})]) == statistics.MISSING
    assert statistics.estimate([]) == statistics.MISSING


@pytest.mark.parametrize("shared", [False, True])
def test_many_estimates_at_once_equal_each_by_itself(shared):
    """With NaN, a seed without values, one seed, no seed, no spread, other numbers of images."""
    rng = np.random.default_rng(0)

    def sample(seeds, images, gaps=0.0):
        values = rng.random((seeds, images))
        return dict(enumerate(np.where(rng.random(values.shape) < gaps, np.nan, values)))

    samples = [sample(4, 12, gaps) for gaps in (0, 0.2, 0.9)]
    samples += [sample(4, 12) | {2: np.full(12, np.nan)}, sample(1, 12), {}, sample(3, 5)]
    samples += [{0: np.ones(4), 1: np.ones(4)}, {3: np.ones(4), 1: rng.random(6)}]
    many = statistics.estimates(samples, shared=shared, draws=300)
    for sample, estimated in zip(samples, many, strict=True):
        single = statistics.estimate([(1, sample)], shared=shared, draws=300)
        for field in ("value", "low", "high", "n", "error"):
            expected = pytest.approx(getattr(single, field), abs=1e-12, nan_ok=True)
            assert getattr(estimated, field) == expected


@pytest.mark.parametrize(("seeds", "shared"), [(3, False), (4, True), (12, False)])
def test_the_interval_covers_the_truth_as_often_as_it_should(seeds, shared):
    """Also with few seeds, which a plain percentile interval does not."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        effect = rng.normal(0, 0.1, seeds)
        image = rng.normal(0, 0.3, 30)
        values = {
            s: effect[s] + (image if shared else rng.normal(0, 0.3, 30)) for s in range(seeds)
        }
        result = statistics.estimate([(1, values)], shared=shared, draws=400, seed=trial)
        hits += result.low <= 0 <= result.high
    assert 0.93 <= hits / 400 <= 1


def test_one_seed_gives_no_interval():
    result = statistics.estimate([(1, {0: np.array([0.1, 0.3])})])
    assert result.value == pytest.approx(0.2)
    assert np.isnan([result.low, result.high]).all()
    assert statistics.decide(result, 0.05, planned=1) == "undecided"


def test_p_and_interval_agree():
    rng = np.random.default_rng(1)
    result = statistics.estimate([(1, {s: rng.normal(0.2, 0.3, 20) for s in range(5)})])
    assert result.p(result.low) == pytest.approx(0.05)
    assert result.p(result.high) == pytest.approx(0.05)
    assert result.p(result.value) == pytest.approx(1)
    assert result.p(result.low - 0.1) < 0.05
    assert np.isnan(statistics.exact(0.3).p(0.1))


def test_holms_correction_by_hand():
    corrected = statistics.correct([0.01, np.nan, 0.04, 0.02])
    assert corrected[[0, 2, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert np.isnan(corrected[1])


def test_datasets_are_pooled_as_a_random_effect():
    def one(value, error=0.01):
        return statistics.interval(value, error, 4)

    alike = statistics.pool([one(0.2), one(0.2), one(0.2)])
    assert alike.value == pytest.approx(0.2)
    assert alike.n == 3
    apart = statistics.pool([one(0.0), one(0.2), one(0.4)])
    assert apart.value == pytest.approx(0.2)
    # Hartung and Knapp: t on 2 degrees, the datasets' own spread whatever their small errors.
    assert apart.high - apart.value == pytest.approx(4.303 * 0.2 / np.sqrt(3), rel=0.02)
    alone = statistics.pool([one(0.2), statistics.MISSING])
    assert np.isnan(alone.value)
    assert alone.n == 1


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.06, 0.2, "supported", "a difference that matters"),
        (-0.04, 0.04, "contradicted", "no difference that matters"),
        (-0.2, -0.06, "contradicted", "the reverse"),
        (-0.2, 0.04, "contradicted", "no such difference"),
        (0.0, 0.2, "undecided", "not known"),
    ],
)
def test_the_finding_of_a_verdict(low, high, verdict, words):
    result = statistics.Estimate((low + high) / 2, low, high, 3)
    assert statistics.finding(result, 0.05, verdict) == words


def test_a_claim_that_nothing_is_lost_finds_a_shortfall_or_none():
    result = statistics.Estimate(0.0, -0.01, 0.01, 3)
    assert statistics.finding(result, -0.02, "supported") == "no shortfall that matters"
    assert statistics.finding(result, 0.02, "contradicted") == "no difference that matters"
    short = statistics.Estimate(-0.2, -0.3, -0.1, 3)
    assert statistics.finding(short, -0.02, "contradicted") == "a shortfall that matters"


def test_seeds_widen_the_interval_where_they_differ():
    same = {s: np.zeros(50) for s in range(4)}
    apart = {s: np.full(50, s / 10) for s in range(4)}
    alike = statistics.estimate([(1, same)])
    assert (alike.value, alike.n) == (0, 4)
    assert np.isnan(
        [alike.low, alike.high, alike.p(0.05)]
    ).all()  # the spread of seeds is not known
    wide = statistics.estimate([(1, apart)])
    # Student's t of four values by hand: sd .1291, t .975 on 3 degrees 3.182.
    assert (wide.high - wide.low) / 2 == pytest.approx(3.182 * 0.1291 / 2, rel=0.05)


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0.06, 0.2, 3, "supported"),
        (0.05, 0.2, 3, "supported"),
        (-0.2, 0.04, 3, "contradicted"),
        (0.01, 0.04, 3, "contradicted"),
        (0.04, 0.2, 3, "undecided"),
        (0.06, 0.2, 2, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval(low, high, n, expected):
    result = statistics.Estimate((low + high) / 2, low, high, n)
    assert statistics.decide(result, 0.05, planned=3) == expected
    assert statistics.decide(statistics.MISSING, 0.05, planned=0) == "undecided"
