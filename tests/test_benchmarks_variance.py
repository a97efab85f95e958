"""The ratio of variances of the claims' contrasts."""

import numpy as np
import pytest

from benchmarks.variance import mean_ratio


def test_the_mean_of_the_claims_is_geometric():
    base = np.random.default_rng(0).normal(size=(2, 8))
    pairs = np.stack([base * [[2], [0.25]], base], axis=1)  # variances 4 and 1/16 times
    ratio, low, high = mean_ratio(pairs)
    assert ratio == pytest.approx(0.5)
    assert low == pytest.approx(0.5)  # each seed has the same ratio
    assert high == pytest.approx(0.5)


@pytest.mark.parametrize("true", [1.0, 0.25])
def test_the_interval_holds_the_true_ratio_in_about_95_of_100_studies(true):
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        base = rng.normal(size=(5, 8))
        other = np.sqrt(true) * (0.8 * base + 0.6 * rng.normal(size=(5, 8)))
        _, low, high = mean_ratio(np.stack([other, base], axis=1))
        inside += low <= true <= high
    assert 0.9 <= inside / 400 <= 0.99
