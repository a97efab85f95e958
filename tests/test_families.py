"""Families of verdicts: correction, decision, and the words of open verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis import families, verdicts
from analysis.effects import Effect
from analysis.scores import forecast
from analysis.scores.statistics import Estimate, Part
from experiments.plan.study import Study
from tests.tables import judged, noisy_counts, table_of


def candidate(value, error=0.01, df=29, claim="a", family="primary", **columns):
    """A verdict on an estimate, before its decision; more is at least 0.05."""
    estimated = Estimate(value, error, df, 30, (Part(error**2, df, 30),))
    about = dict.fromkeys(("stress", "setting"), "") | {"level": "controlled", "dataset": "d"}
    about |= {"loss": "dice", "against": "cross_entropy", "threshold": "0.5", "rate": "fixed"}
    about |= {"unit": "DSC", "smallest": 0.05, "claim": claim, "family": family} | columns
    return verdicts.make(estimated, planned=30, **about)


def test_a_single_comparison_may_not_survive_the_others():
    """Holm: a p just below 5% is too weak among several claims."""
    rows = [candidate(0.0675), candidate(0.05, claim="b"), candidate(0.5, claim="c")]
    a, b, c = verdicts.settle(rows)
    assert a.low90 > 0.05
    assert a.p < 0.05 < a.p_corrected == pytest.approx(2 * a.p)
    assert (a.verdict, b.verdict, c.verdict) == ("undecided", "undecided", "supported")
    assert "supported without the correction" in a.reason
    assert verdicts.settle(rows[:1])[0].verdict == "supported"


def test_the_decision_is_one_sided_at_five_percent():
    """At the end of the 90% interval, on either side of the smallest difference."""
    half = stats.t.ppf(0.95, 29) * 0.01
    for sign, verdict in ((1, "supported"), (-1, "contradicted")):
        inside, outside = (0.05 + sign * (half + step) for step in (1e-4, -1e-4))
        assert verdicts.settle([candidate(inside)])[0].verdict == verdict
        assert verdicts.settle([candidate(outside)])[0].verdict == "undecided"


def test_primary_and_secondary_verdicts_are_corrected_apart():
    primary = [candidate(0.0675), *(candidate(0.05, claim=f"{i}") for i in range(4))]
    others = [candidate(0.0675, claim=c, family="secondary", loss="focal") for c in "xyz"]
    alone = candidate(0.0675, family="secondary", loss="focal", dataset="e")
    found = verdicts.settle([*primary, *others, alone])
    assert found[0].p_corrected == pytest.approx(5 * found[0].p)
    assert found[5].p_corrected == pytest.approx(3 * found[5].p)
    assert found[8].p_corrected == pytest.approx(found[8].p)


def test_claims_with_their_own_pairs_of_losses_are_a_family_for_each_dataset():
    """As published findings are, which compare two losses each."""
    rows = [
        candidate(0.0675, claim=c, family="secondary", loss=c, dataset=dataset)
        for c, dataset in (("a", "d"), ("b", "d"), ("c", "e"))
    ]
    found = verdicts.settle([replace(row, pair=True) for row in rows])
    factors = [row.p_corrected / row.p for row in found]
    assert factors == pytest.approx([2, 2, 1])
    assert [row.p_corrected / row.p for row in verdicts.settle(rows)] == pytest.approx([1, 1, 1])


def test_the_seeds_that_would_settle_an_open_verdict_are_named():
    """The level is that of Holm's next step: 5% over the number of open verdicts."""
    rows = [candidate(0.0675), candidate(0.05, claim="b"), candidate(0.5, claim="c")]
    a, b, c = verdicts.settle(rows)
    expected = forecast.seeds_needed(rows[0].estimated, 0.05, level=0.025)
    assert a.seeds_needed == expected > 30
    assert a.finding == "positive, size not settled"
    assert (b.seeds_needed, c.seeds_needed) == (None, None)
    near = verdicts.settle([candidate(0.0501, error=0.05)])[0]
    assert near.seeds_needed is None
    assert near.finding == "too near to the smallest difference to tell"
    few = verdicts.settle([candidate(0.2, error=0.1)])[0]
    assert 30 < few.seeds_needed <= families.MOST
    assert few.finding == f"{few.seeds_needed} seeds would settle it"


def test_a_verdict_that_rests_on_a_single_seed_is_fragile():
    for values, mark in (
        ([0.2, 0.21, 0.19, 0.2, 0.22, 0.18], ""),
        ([0.05, 0.07, 0.06, 0.055, 0.047, 0.062], "yes"),  # open without the second
        ([0.2, 0.21], "yes"),
    ):
        sample = {seed: np.array([value]) for seed, value in enumerate(values)}
        effect = Effect("d", True, [(1, sample)], [None], "")
        row = replace(candidate(0), estimated=effect.estimated, without_one=effect.without_one)
        found = verdicts.settle([row])[0]
        assert (found.verdict, found.fragile) == ("supported", mark), values
    assert verdicts.settle([candidate(0.05)])[0].fragile == ""  # it is open


def test_the_primary_families_are_the_claims_on_their_own_losses(tiny):
    tiny["losses"] = {"cross_entropy": {}, "dice": {}, "focal": {}}
    tiny["reference"] = ["cross_entropy", "focal"]
    tiny["training"]["steps"] = [6, 12]
    study = Study(tiny)
    table = judged(study, table_of(study, noisy_counts(np.random.default_rng(0))))
    primary = table[table["family"] == "primary"]
    assert list(primary["claim"]) == ["imbalance", "boundary", "object_size", "noise", "threshold"]
    for column, value in (
        ("loss", "dice"),
        ("against", "cross_entropy"),
        ("threshold", "0.5"),
        ("rate", "fixed"),
        ("setting", "steps 6"),
    ):
        assert set(primary[column]) == {value}
    assert set(table["family"]) == {"primary", "secondary"}
