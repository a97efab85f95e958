"""Simulated families: the arithmetic of the verdicts on arrays, and rates that theory gives."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis import looks, verdicts
from analysis.families import PRIMARY, settle
from analysis.scores import forecast, simulation, statistics
from analysis.scores.simulation import Estimates, Stratum
from experiments.plan.looks import shares

NO_IMAGES = np.zeros((5, 0))
SMALLEST = np.array([0.05, 0.02, 0.05, 0.05, -0.02])
SIDES = np.array([1, 2, 1, 2, 1])


def normal(rng, seeds=2000, sd=1.0):
    """Return a dataset of generated images: five independent claims, their quantiles normal."""
    quantiles = stats.norm.ppf((np.arange(seeds) + 0.5) / seeds)
    return Stratum(0.1 + sd * rng.permuted(np.tile(quantiles, (5, 1)), axis=1), NO_IMAGES)


def of_dataset(rng, seeds=7, sources=9, unanswered=()):
    """Return a dataset whose images all seeds share."""
    contrasts, images = rng.normal(0.1, 0.1, (5, seeds)), rng.normal(0, 0.02, (5, sources))
    contrasts[[*unanswered]], images[[*unanswered]] = np.nan, 0
    return Stratum(contrasts, centred(images))


def centred(images):
    return images - images.mean(1, keepdims=True)


def real_estimate(families, family, claim, n, planted=0.0):
    """Return the estimate of a simulated family by the functions of the verdicts."""
    found = []
    for k, seeds in enumerate(families.seeds):
        if not families.answers[claim, k]:
            continue
        images = families.images[k][family, claim]
        count = max(len(images), 1)
        offsets = count * images if len(images) else np.zeros(1)
        values = {s: planted + seeds[family, claim, s] + offsets for s in range(n)}
        sources = [range(count)] if len(images) else None
        found.append(statistics.estimate([(1, values)], sources))
    return statistics.pool(found) if len(families.seeds) > 1 else found[0]


@pytest.mark.parametrize("datasets", [1, 3])
def test_estimates_of_families_equal_those_of_the_verdicts(datasets):
    """Value, error, degrees of freedom, p and interval, with and without images and answers."""
    rng = np.random.default_rng(0)
    strata = [of_dataset(rng, unanswered=[2]), normal(rng, 6), of_dataset(rng, 6, 4)]
    strata = strata if datasets > 1 else strata[1:2]
    families = simulation.draw(rng, strata, 20, 8)
    for n in (3, 8):
        many = families.estimate(n)
        p = many.p(SMALLEST, SIDES)
        both, chances = many.p(SMALLEST, sides=2), many.chance(SMALLEST, 0.02, 12)
        for family, claim in np.ndindex(20, 5):
            one, at = real_estimate(families, family, claim, n), (family, claim)
            assert many.value[at] == pytest.approx(one.value)
            assert many.error[at] == pytest.approx(one.error)
            assert many.df[at] == pytest.approx(one.df)
            outlook = forecast.chance(one, SMALLEST[claim], 0.02, 12)
            assert chances[at] == pytest.approx(outlook)
            smallest = SMALLEST[claim]
            assert p[at] == pytest.approx(one.p(smallest, SIDES[claim]))
            assert (both[at] > 0.05) == (one.low <= smallest <= one.high)
            assert (both[at] > 0.1) == (one.low90 <= smallest <= one.high90)
            assert many.half_width(0.05)[at] == pytest.approx(one.high - one.value)


def test_the_correction_equals_that_of_the_verdicts():
    rng = np.random.default_rng(0)
    p = np.where(rng.random((20, 5)) < 0.2, np.nan, rng.random((20, 5)) ** 3)
    for many, one in zip(statistics.correct(p), p, strict=True):
        assert many == pytest.approx(statistics.correct(one), nan_ok=True)


def played(strata, numbers, planted, families=10_000, kernel=simulation.KERNEL):
    """Return the outcome of families with the same distance from each smallest difference."""
    drawn = simulation.draw(np.random.default_rng(1), strata, families, max(numbers), kernel)
    estimates = [drawn.estimate(n) for n in numbers]
    return simulation.play(estimates, SMALLEST + planted, SMALLEST)


def false_families(outcome, side):
    """Return the share of families with a verdict on this side, and two standard errors."""
    share = (outcome.verdict == side).any(1).mean()
    return share, 2 * (share * (1 - share) / len(outcome.verdict)) ** 0.5


def covers(outcome, level):
    """Return the share of intervals that contain the effects, which are the smallest ones."""
    return (outcome.estimates.p(SMALLEST, sides=2) > level).mean()


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("n", [3, 8])
def test_normal_seeds_give_the_nominal_rates(n, side):
    """Holm on independent claims errs in 1 - .99^5 to 5% of families at their smallest effects."""
    outcome = played([normal(np.random.default_rng(0))], [n], 0.0)
    share, error = false_families(outcome, side)
    assert 1 - 0.99**5 - error <= share <= 0.05 + error
    for level in (0.05, 0.1):
        covered = covers(outcome, level)
        assert covered == pytest.approx(1 - level, abs=2 * (level * (1 - level) / 50_000) ** 0.5)


def test_datasets_give_the_nominal_rates():
    """Strata that differ in spread, with images that all seeds share and a claim without answer."""
    rng = np.random.default_rng(0)
    strata = [
        Stratum(rng.normal(k, 0.05 * k, (5, 2000)), centred(rng.normal(0, 0.01, (5, 40))))
        for k in range(1, 6)
    ]
    strata[0].seeds[2] = np.nan
    outcome = played(strata, [4], 0.0)
    share, error = false_families(outcome, -1)
    assert share == pytest.approx(0.05, abs=0.01 + error)
    assert covers(outcome, 0.05) == pytest.approx(0.95, abs=0.01)
    assert (outcome.estimates.df > 3).all()


def test_runs_that_fail_show_in_the_rates():
    """A tenth of the seeds fail: an average of few seeds is too high, and its spread too small."""
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 0.02, (5, 400)) - np.where(rng.random((5, 400)) < 0.1, 0.5, 0)
    outcome = played([Stratum(seeds, NO_IMAGES)], [6], 0.0)
    assert false_families(outcome, 1)[0] > 0.2  # supported though just below
    assert covers(outcome, 0.05) < 0.8


@pytest.mark.parametrize("planted", [0.0, 0.3])
def test_looks_keep_the_error_and_save_seeds(planted):
    strata = [normal(np.random.default_rng(0), sd=0.15)]
    outcome, fixed = (played(strata, numbers, planted) for numbers in ([3, 6, 12], [12]))
    for side in (-1, 1) if planted == 0 else (-1,):
        share, error = false_families(outcome, side)
        assert share <= 0.05 + error
    assert outcome.estimates.n.mean() < 12
    if planted:
        right = [(each.verdict == 1).mean() for each in (outcome, fixed)]
        assert outcome.estimates.n.mean() < 7
        assert right[0] > right[1] - 0.03


def of_one_dataset(value, error, n):
    """Return the estimates of generated images."""
    variance, none = np.full(value.shape, error**2), np.zeros(value.shape)
    seeds = np.full(value.shape, n)
    return Estimates(value, variance, variance**2 / (n - 1), none, none, seeds)


def test_a_decided_claim_gets_no_more_seeds_and_stays_decided():
    """Claim 0 is decided at 3 seeds, claim 1 never; a claim on its bound is given up."""
    values = [np.array([[0.5, 0.06]]), np.array([[-0.5, 0.07]]), np.array([[-0.5, 0.08]])]
    seen = [of_one_dataset(value, 0.02, n) for value, n in zip(values, (3, 6, 12), strict=True)]
    outcome = simulation.play(seen, np.zeros(2), np.full(2, 0.05))
    assert outcome.verdict.tolist() == [[1, 0]]
    assert outcome.estimates.n.tolist() == [[3, 12]]
    assert outcome.estimates.value.tolist() == [[0.5, 0.08]]
    close = [of_one_dataset(value, 0.001, n) for value, n in zip(values, (3, 6, 12), strict=True)]
    close[0].value[0, 1] = 0.0505  # interval within .01 of the smallest difference
    outcome = simulation.play(close, np.zeros(2), np.full(2, 0.05))
    assert outcome.verdict.tolist() == [[1, 0]]
    assert outcome.estimates.n.tolist() == [[3, 3]]


@pytest.mark.parametrize("kernel", [0.0, 0.3])
def test_drawn_seeds_have_the_covariance_of_the_population(kernel):
    """Unbiased, as few seeds understate it; a kernel keeps the dependence of the claims."""
    stratum = of_dataset(np.random.default_rng(0), seeds=6)
    drawn = stratum.draw_seeds(np.random.default_rng(1), 100_000, 1, kernel)[..., 0]
    assert np.cov(drawn.T) == pytest.approx(np.cov(stratum.seeds), abs=3e-4)
    assert len(np.unique(drawn[:, 0].round(12))) == (6 if kernel == 0 else 100_000)


def by_the_verdicts(estimates, planned_looks):
    """Return the verdicts and final estimates of one family by the functions of the looks.

    estimates: per look, those of the claims.
    """
    levels = [share * statistics.LEVEL for share in shares(planned_looks)]
    current, decided, entries = list(estimates[0]), [], []
    for look, level in enumerate(levels, 1):
        for k, entry in enumerate(entries):
            if entry and not entry["futile"]:
                current[k] = estimates[look - 1][k]
        made = [
            verdicts.make(
                estimated,
                planned=12,
                claim=str(k),
                level="field",
                dataset="d",
                stress="",
                loss="dice",
                against="cross_entropy",
                threshold="0.5",
                rate="fixed",
                setting="",
                family=PRIMARY,
                unit="",
                smallest=SMALLEST[k],
            )
            for k, estimated in enumerate(current)
        ]
        made = [
            replace(candidate, sides=sides, datasets=("d",))
            for candidate, sides in zip(made, SIDES, strict=True)
        ]
        pairs = list(zip(settle(made), made, strict=True))
        decided, undecided = looks.split(pairs, decided, look, level)
        before = [entry for entry in entries if entry]
        found = looks.outlooks(undecided, before, levels[-1], planned_looks[-1])
        entries = [next((e for e in found if e["claim"] == str(k)), None) for k in range(5)]
        if looks.stop(found, look, len(levels)):
            break
    verdict = {entry["claim"]: entry["verdict"] for entry in decided}
    return [verdict.get(str(k), "undecided") for k in range(5)], current


@pytest.mark.parametrize("planted", [0.0, 0.1])
@pytest.mark.parametrize("numbers", [[3, 6, 12], [4]])
def test_played_families_equal_those_of_the_looks(planted, numbers):
    """The verdicts and the seeds that each claim gets; one look is a fixed number of seeds."""
    rng = np.random.default_rng(0)
    strata = [of_dataset(rng, unanswered=[2]), of_dataset(rng, 6, 4), of_dataset(rng)]
    families = simulation.draw(rng, strata, 40, max(numbers))
    estimates = [families.estimate(n) for n in numbers]
    outcome = simulation.play(estimates, SMALLEST + planted, SMALLEST, SIDES)
    codes = {"supported": 1, "contradicted": -1, "undecided": 0}
    for family in range(40):
        own = [
            [real_estimate(families, family, k, n, SMALLEST[k] + planted) for k in range(5)]
            for n in numbers
        ]
        decided, current = by_the_verdicts(own, numbers)
        assert outcome.verdict[family].tolist() == [codes[verdict] for verdict in decided]
        assert outcome.estimates.value[family] == pytest.approx([e.value for e in current])
        assert outcome.estimates.error[family] == pytest.approx([e.error for e in current])
    assert len(np.unique(outcome.verdict)) > 1
    assert len(np.unique(outcome.estimates.n)) == len(numbers)
