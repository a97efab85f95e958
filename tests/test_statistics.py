"""Estimates, intervals and decisions, on values with a known truth."""

from math import inf, isnan, nan

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.scores import forecast, statistics
from analysis.scores.statistics import Estimate, Part, exact

TRIALS = 2000


def of(value, error, df=3, n=4):
    return Estimate(value, error, df, n, (Part(error**2, df, n),))


def by_seed(table):
    return dict(enumerate(table))


def of_seeds(rng, n, *, seed, image=0.3, images=30, trials=TRIALS):
    """Tables (trials, seeds, images) whose seeds have images of their own; the truth is 0."""
    return rng.normal(0, seed, (trials, n, 1)) + rng.normal(0, image, (trials, n, images))


def of_sources(rng, shape, seed, images=(0.15, 0.1), rest=0.1, trials=TRIALS):
    """Tables (trials, seeds, windows of k sources) with the same images, and the sources.

    shape: (seeds, sources, windows of each). images: the spread of sources, and of their windows.
    The truth is 0.
    """
    n, k, windows = shape
    sizes = [(trials, n, 1, 1), (trials, 1, k, 1), (trials, 1, k, windows), (trials, n, k, 1)]
    spreads = (seed, *images, 0.05 * (rest > 0.05))
    total = sum(rng.normal(0, s, size) for s, size in zip(spreads, sizes, strict=True))
    total = total + rng.normal(0, rest, (trials, n, k, windows))
    return total.reshape(trials, n, k * windows), np.repeat(np.arange(k), windows)


def coverage(results):
    """The shares of the 95% and of the 90% intervals that contain 0."""
    wide = np.mean([e.low <= 0 <= e.high for e in results])
    return wide, np.mean([e.low90 <= 0 <= e.high90 for e in results])


def test_the_estimate_is_the_weighted_sum_of_means():
    terms = [
        (1, {0: np.array([1.0, 3.0]), 1: np.array([2.0])}),
        (-0.5, {0: np.ones(3), 1: np.full(2, 3.0)}),
    ]
    result = statistics.estimate(terms)
    contrasts = [2 - 0.5, 2 - 1.5]
    assert (result.value, result.n, result.df) == (pytest.approx(1), 2, 1)
    assert result.error == pytest.approx(np.std(contrasts, ddof=1) / 2**0.5)
    expected = stats.t.interval(0.95, 1, 1, result.error)
    assert (result.low, result.high) == pytest.approx(expected)
    assert (result.low90, result.high90) == pytest.approx(stats.t.interval(0.9, 1, 1, result.error))


def test_seeds_and_values_that_are_nan_are_ignored():
    terms = [(1, {0: np.array([1.0, np.nan]), 1: np.array([np.nan]), 2: np.array([3.0])})]
    assert statistics.estimate(terms).n == 2
    assert statistics.estimate(terms).value == 2
    assert statistics.estimate([(1, {})]) == statistics.MISSING
    assert statistics.estimate([]) == statistics.MISSING


def test_a_seed_counts_if_every_term_has_a_value():
    first = {0: np.array([1.0]), 1: np.array([2.0]), 2: np.array([4.0])}
    second = {1: np.array([1.0]), 2: np.array([1.0]), 3: np.array([9.0])}
    result = statistics.estimate([(1, first), (-1, second)])
    assert (result.n, result.value) == (2, 2)


def test_images_of_each_seed_add_nothing_to_the_spread_of_the_seeds():
    """The seeds' means hold the noise of their own images: it is not counted twice."""
    values = np.array([[0.1, 0.5], [0.2, 0.8], [0.0, 0.2]])
    result = statistics.estimate([(1, by_seed(values))])
    assert result.error == pytest.approx(stats.sem(values.mean(1)))
    assert (result.df, result.sources) == (2, None)
    assert result.parts == (Part(pytest.approx(result.error**2), 2, 3),)


def test_shared_images_add_their_part_by_source():
    """The formula by hand: image less both, and Satterthwaite's degrees of freedom."""
    rng = np.random.default_rng(0)
    n, names = 4, np.array(["a", "a", "b", "c", "c", "c"])
    table = rng.normal(0, 0.02, (n, 1)) + rng.normal(0, 0.2, 6) + rng.normal(0, 0.02, (n, 6))
    result = statistics.estimate([(1, by_seed(table))], [names])
    column = table.mean(0) - table.mean()
    rest = table - table.mean(1, keepdims=True) - column
    k = 3
    image = sum((column[names == g].sum() / 6) ** 2 for g in "abc") * k / (k - 1)
    both = sum((rest[s, names == g].sum() / 6) ** 2 for s in range(n) for g in "abc")
    both *= n / (n - 1) * k / (k - 1) / n**2
    seeds = table.mean(1).var(ddof=1) / n
    assert image > both
    assert result.parts == (
        Part(pytest.approx(seeds), n - 1, n),
        Part(pytest.approx(image - both), k - 1),
    )
    total = seeds + image - both
    assert result.error == pytest.approx(total**0.5)
    df = total**2 / (seeds**2 / (n - 1) + (image - both) ** 2 / (k - 1))
    assert (result.df, result.sources) == (pytest.approx(df), k)


def test_the_images_part_is_the_clustered_error_of_statsmodels():
    """Without an interaction of seed and image `both` is 0: a variance by cluster is left."""
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 7, 40)
    table = rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.2, 40) + rng.normal(0, 0.3, 7)[groups]
    result = statistics.estimate([(1, by_seed(table))], [groups])
    model = sm.OLS(table.mean(0), np.ones(40))
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert result.parts[1].variance == pytest.approx(fitted.bse[0] ** 2)
    # With interactions, both ways at once: seeds + images - both, as statsmodels has it, is near.
    table = table + rng.normal(0, 0.05, table.shape)
    long = {"s": np.repeat(np.arange(3), 40), "g": np.tile(groups, 3)}
    fitted = sm.OLS(table.ravel(), np.ones(120)).fit(
        cov_type="cluster", cov_kwds={"groups": np.column_stack([long["s"], long["g"]])}
    )
    result = statistics.estimate([(1, by_seed(table))], [groups])
    assert result.error == pytest.approx(fitted.bse[0], rel=0.25)


def test_windows_of_one_source_are_not_independent():
    """The same windows, as their own sources and as windows of four: the error is that of four."""
    rng = np.random.default_rng(2)
    tables, four = of_sources(rng, (3, 4, 16), 0, (0.15, 0), rest=0.01, trials=1)
    clustered = statistics.estimate([(1, by_seed(tables[0]))], [four])
    alone = statistics.estimate([(1, by_seed(tables[0]))], [np.arange(64)])
    assert clustered.error > 3 * alone.error
    assert (clustered.sources, alone.sources) == (4, 64)


def test_levels_with_the_same_images_add_per_image():
    """A difference of two levels of the same images: the images' own effect cancels."""
    rng = np.random.default_rng(3)
    image = rng.normal(0, 0.3, 20)
    first, second = (by_seed(image + rng.normal(0, 0.01, (3, 20))) for _ in range(2))
    names = np.arange(20)
    same = statistics.estimate([(1, first), (-1, second)], [names, names])
    joined = {s: first[s] - second[s] for s in first}
    direct = statistics.estimate([(1, joined)], [names])
    assert same.error == pytest.approx(direct.error)
    assert same.df == pytest.approx(direct.df)


def test_levels_with_other_images_add_as_independent():
    rng = np.random.default_rng(4)
    tables = [rng.normal(0, 0.3, 20) + rng.normal(0, 0.001, (3, 20)) for _ in range(2)]
    terms = [(0.5, by_seed(table)) for table in tables]
    apart = statistics.estimate(terms, [np.arange(20), np.arange(20, 40)])
    alone = [statistics.estimate([(0.5, by_seed(t))], [np.arange(20)]) for t in tables]
    # 40 sources in place of 20 twice: the corrections for their number are 40 / 39 and 20 / 19.
    images = sum(e.parts[1].variance for e in alone) * (40 / 39) / (20 / 19)
    assert apart.parts[1] == Part(pytest.approx(images), 39)


def test_one_source_has_no_images_part():
    table = np.random.default_rng(5).random((3, 6))
    result = statistics.estimate([(1, by_seed(table))], [["volume"] * 6])
    assert result.sources == 1
    assert result.parts == (Part(pytest.approx(table.mean(1).var(ddof=1) / 3), 2, 3),)


@pytest.mark.parametrize("shared", [False, True])
def test_many_estimates_at_once_equal_each_by_itself(shared):
    """With NaN, a seed without values, one seed, no seed, no spread, other numbers of images."""
    rng = np.random.default_rng(0)

    def sample(seeds, images, gaps=0.0):
        values = rng.random((seeds, images))
        return dict(enumerate(np.where(rng.random(values.shape) < gaps, np.nan, values)))

    samples = [sample(4, 12, gaps) for gaps in (0, 0.2, 0.9)]
    samples += [sample(4, 12) | {2: np.full(12, np.nan)}, sample(1, 12), {}, sample(3, 5)]
    samples += [{0: np.ones(4), 1: np.ones(4)}, {0: np.zeros(6), 1: np.zeros(6)}]
    sources = [
        [f"{i // 3}" for i in range(len(next(iter(sample.values()), ())))] for sample in samples
    ]
    many = statistics.estimates(samples, sources if shared else None)
    for i, sample in enumerate(samples):
        single = statistics.estimate([(1, sample)], [sources[i]] if shared else None)
        for field in ("value", "low", "high", "n", "error", "df", "sources"):
            expected = getattr(single, field)
            expected = pytest.approx(expected, abs=1e-12, nan_ok=True) if expected else expected
            assert getattr(many[i], field) == expected, field


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("seed", [0.0, 0.1])
def test_the_interval_of_generated_images_covers_the_truth(n, seed):
    """Two standard errors of 2000 trials: .01 and .013."""
    tables = of_seeds(np.random.default_rng(n), n, seed=seed)
    wide, narrow = coverage(statistics.estimates([by_seed(table) for table in tables]))
    assert abs(wide - 0.95) < 0.015
    assert abs(narrow - 0.9) < 0.02


@pytest.mark.parametrize("n", [3, 6])
@pytest.mark.parametrize(("k", "windows"), [(4, 16), (10, 6), (60, 1)])
@pytest.mark.parametrize("seed", [0.02, 0.1])
def test_the_interval_of_shared_images_covers_the_truth(n, k, windows, seed):
    """Satterthwaite's degrees are an approximation: .93 to .96 in most of 80 cases.

    The least is .91: three seeds with most of the variance, and many images.
    """
    tables, names = of_sources(np.random.default_rng(k), (n, k, windows), seed)
    results = statistics.estimates([by_seed(table) for table in tables], [names] * TRIALS)
    wide, narrow = coverage(results)
    assert 0.9 < wide < 0.97
    assert 0.85 < narrow < 0.925


@pytest.mark.parametrize("apart", [0.0, 0.2])
def test_the_mean_of_the_suite_is_covered_however_datasets_differ(apart):
    """Seven fixed datasets with unequal noise; the truth is their own mean."""
    rng = np.random.default_rng(6)
    effects = apart * np.linspace(-1, 1, 7)  # their mean is 0
    spreads = [0.01, 0.02, 0.03, 0.05, 0.05, 0.1, 0.15]
    suite = []
    for effect, spread in zip(effects, spreads, strict=True):
        tables, names = of_sources(rng, (3, 12, 2), spread)
        samples = [by_seed(table + effect) for table in tables]
        suite.append(statistics.estimates(samples, [names] * TRIALS))
    pooled = [statistics.pool(each) for each in zip(*suite, strict=True)]
    wide, narrow = coverage(pooled)
    assert 0.93 < wide < 0.97
    assert 0.88 < narrow < 0.93
    # At exactly the smallest difference either verdict is false at most 5% of the time.
    false = [statistics.decide(e, 1e-9, e.p(1e-9)) for e in pooled]
    assert false.count("supported") / TRIALS < 0.065
    assert false.count("contradicted") / TRIALS < 0.065


def test_the_pool_is_the_plain_mean_with_satterthwaites_degrees():
    first = Estimate(0.1, nan, nan, 3, (Part(0.01, 2, 3), Part(0.04, 7)))
    first = Estimate(0.1, 0.05**0.5, 3, 3, first.parts)
    second = of(0.4, 0.3, df=3)
    pooled = statistics.pool([first, second])
    variance = (0.01 + 0.04 + 0.09) / 4
    squares = (0.01**2 / 2 + 0.04**2 / 7 + 0.09**2 / 3) / 16
    assert pooled.value == pytest.approx(0.25)
    assert pooled.error == pytest.approx(variance**0.5)
    assert pooled.df == pytest.approx(variance**2 / squares)
    assert pooled.n == 2
    assert [part.seeds for part in pooled.parts] == [3, 0, 4]


def test_the_spread_of_datasets_is_no_error_of_their_mean():
    alike = statistics.pool([of(0.2, 0.01)] * 3)
    apart = statistics.pool([of(0.0, 0.01), of(0.2, 0.01), of(0.4, 0.01)])
    assert apart.error == pytest.approx(alike.error)
    assert apart.value == pytest.approx(0.2)


def test_datasets_without_an_interval_are_not_in_the_pool():
    alone = statistics.pool([of(0.2, 0.01), statistics.MISSING])
    assert (isnan(alone.value), alone.n) == (True, 1)
    two = statistics.pool([of(0.2, 0.01), of(0.4, 0.01), Estimate(0.9, nan, nan, 1)])
    assert (two.value, two.n) == (pytest.approx(0.3), 2)


def test_the_next_dataset_is_predicted_from_the_spread_of_the_suite():
    values = [0.1, 0.3, 0.2, 0.4]
    low, high, probability = statistics.next_dataset(values, 0.05)
    error = np.std(values, ddof=1) * (1 + 1 / 4) ** 0.5
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 3, 0.25, error))
    assert probability == pytest.approx(stats.t.sf(0.05, 3, 0.25, error))
    assert np.isnan(statistics.next_dataset([0.1], 0.05)).all()
    assert statistics.next_dataset([0.1, 0.1], 0.05) == (pytest.approx(0.1), pytest.approx(0.1), 1)


def test_the_prediction_covers_the_next_dataset():
    rng = np.random.default_rng(7)
    suites, following = rng.normal(0.1, 0.2, (TRIALS, 7)), rng.normal(0.1, 0.2, TRIALS)
    found = [statistics.next_dataset(suite, 0.05) for suite in suites]
    hits = [p.low <= x <= p.high for p, x in zip(found, following, strict=True)]
    assert abs(np.mean(hits) - 0.95) < 0.015
    share = np.mean(following >= 0.05)
    assert np.mean([p.probability for p in found]) == pytest.approx(share, abs=0.03)


def test_one_seed_gives_no_interval():
    for sources in (None, [["a", "b"]]):
        result = statistics.estimate([(1, {0: np.array([0.1, 0.3])})], sources)
        assert (result.value, result.n) == (pytest.approx(0.2), 1)
        assert np.isnan([result.low, result.high, result.low90, result.p(0.05)]).all()
        assert statistics.decide(result, 0.05, result.p(0.05)) == "undecided"


def test_two_models_that_predict_nothing_do_not_differ():
    """Every seed has the value 0: no difference, which one seed alone does not show."""
    same = statistics.estimate([(1, by_seed(np.zeros((3, 50))))])
    assert (same.value, same.error, same.low, same.high) == (0, 0, 0, 0)
    assert statistics.decide(same, 0.05, same.p(0.05)) == "contradicted"
    assert statistics.decide(same, -0.02, same.p(-0.02)) == "supported"
    alone = statistics.estimate([(1, {0: np.zeros(50)})])
    assert statistics.decide(alone, 0.05, alone.p(0.05)) == "undecided"


def test_one_value_in_every_seed_shows_no_spread():
    """Other than 0: how seeds differ is not known, so nothing is decided."""
    same = statistics.estimate([(1, by_seed(np.full((3, 50), 0.3)))])
    assert (same.value, same.n) == (pytest.approx(0.3), 3)
    assert np.isnan([same.low, same.high, same.p(0.05)]).all()
    assert statistics.decide(same, 0.05, same.p(0.05)) == "undecided"


def test_p_and_the_intervals_agree():
    """One-sided: 5% at the ends of the 90% interval, 2.5% at those of the 95% interval."""
    rng = np.random.default_rng(1)
    result = statistics.estimate([(1, {s: rng.normal(0.2, 0.3, 20) for s in range(5)})])
    assert result.p(result.low90) == pytest.approx(0.05)
    assert result.p(result.high90) == pytest.approx(0.05)
    assert result.p(result.low) == pytest.approx(0.025)
    assert result.p(result.high, sides=2) == pytest.approx(0.05)
    assert result.p(result.value) == pytest.approx(0.5)
    assert result.p(result.value, sides=2) == pytest.approx(1)
    assert exact(0.3).p(0.1) == 0


def test_holms_correction_by_hand():
    corrected = statistics.correct([0.01, np.nan, 0.04, 0.02])
    assert corrected[[0, 2, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert np.isnan(corrected[1])
    assert len(statistics.correct([])) == 0


def test_holms_correction_is_that_of_statsmodels():
    rng = np.random.default_rng(8)
    for count in (1, 2, 5, 40):
        p = rng.random(count) ** 3
        expected = multipletests(p, method="holm")[1]
        assert statistics.correct(p) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "p", "expected"),
    [
        (0.2, 0.05, "supported"),
        (0.05, 0.01, "supported"),
        (0.2, 0.051, "undecided"),
        (0.04, 0.05, "contradicted"),
        (-0.2, 0.06, "undecided"),
        (0.2, nan, "undecided"),
    ],
)
def test_a_verdict_follows_from_p_and_the_side_of_the_estimate(value, p, expected):
    assert statistics.decide(of(value, 0.01), 0.05, p) == expected
    assert statistics.decide(statistics.MISSING, 0.05, nan) == "undecided"


def test_the_seeds_that_would_decide_are_the_least_that_do():
    undecided = of(0.15, 0.1, df=2, n=3)
    n = forecast.seeds_needed(undecided, 0.05)

    def p(seeds):
        return of(0.15, 0.1 * (3 / seeds) ** 0.5, df=seeds - 1, n=seeds).p(0.05)

    assert p(n) <= 0.05 < p(n - 1)
    assert forecast.seeds_needed(undecided, 0.05, level=0.01) > n
    assert forecast.seeds_needed(undecided, 0.05, most=n - 1) is None
    assert forecast.seeds_needed(undecided, 0.149) is None
    assert forecast.seeds_needed(statistics.MISSING, 0.05) is None


def test_more_seeds_do_not_help_where_images_are_the_noise():
    parts = (Part(0.001, 2, 3), Part(0.01, 7))
    images = Estimate(0.15, 0.011**0.5, 8, 3, parts)
    assert forecast.seeds_needed(images, 0.05) is None
    assert forecast.seeds_needed(of(0.15, 0.011**0.5, df=2, n=3), 0.05) is not None


def test_seeds_of_all_datasets_are_counted_for_a_pool():
    """The same number of seeds for every dataset, however many each has now."""
    pooled = statistics.pool([of(0.2, 0.2, df=2, n=3), of(0.2, 0.2, df=5, n=6)])
    n = forecast.seeds_needed(pooled, 0.05)
    parts = [of(0.2, 0.2 * (seeds / n) ** 0.5, df=n - 1, n=n) for seeds in (3, 6)]
    assert statistics.pool(parts).p(0.05) <= 0.05
    fewer = [of(0.2, 0.2 * (seeds / (n - 1)) ** 0.5, df=n - 2, n=n - 1) for seeds in (3, 6)]
    assert statistics.pool(fewer).p(0.05) > 0.05


def test_a_computed_value_has_no_error():
    assert (exact(0.3).low, exact(0.3).high, exact(0.3).df) == (0.3, 0.3, inf)
    assert statistics.decide(exact(0.3), 0.05, exact(0.3).p(0.05)) == "supported"
