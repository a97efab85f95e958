"""Scores, intervals, verdicts and figures, on tables whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from analysis import claims, metrics, statistics, style, verdicts
from experiments.plan import Study, stress_name
from experiments.results import (
    COLUMNS,
    NUMERIC,
    SIZE_BINS,
    RecordError,
    check_table,
    read_table,
)


def row(**counts):
    return pd.DataFrame([dict.fromkeys(NUMERIC, 0) | counts])


def test_scores_by_hand():
    table = row(tp=6, fp=2, fn=4, band_tp=1, band_fp=1, objects_small=4, hits_small=1)
    assert metrics.dice(table)[0] == pytest.approx(12 / 18)
    assert metrics.dice(table, "band_")[0] == pytest.approx(2 / 3)
    assert metrics.recall(table, "small")[0] == 0.25
    assert np.isnan(metrics.recall(table, "large")[0])
    assert metrics.area_ratio(table)[0] == 0.8


def test_empty_masks_are_neither_0_nor_1_by_accident():
    assert np.isnan(metrics.dice(row(tn=9))[0])
    assert metrics.dice(row(fp=1, tn=8))[0] == 0
    assert metrics.dice(row(fn=1, tn=8))[0] == 0
    assert np.isnan(metrics.area_ratio(row(fp=3))[0])


def test_the_estimate_is_the_weighted_sum_of_means():
    terms = [
        (1, {0: np.array([1.0, 3.0]), 1: np.array([2.0])}),
        (-0.5, {0: np.ones(3), 1: np.ones(2)}),
    ]
    found = statistics.estimate(terms)
    assert found.value == pytest.approx(2 - 0.5)
    assert found.n == 2
    assert found.low <= found.value <= found.high


def test_seeds_and_values_that_are_missing_do_not_count():
    terms = [(1, {0: np.array([1.0, np.nan]), 1: np.array([np.nan]), 2: np.array([3.0])})]
    assert statistics.estimate(terms).n == 2
    assert statistics.estimate(terms).value == 2
    assert statistics.estimate([(1, {})]) == statistics.MISSING
    assert statistics.estimate([]) == statistics.MISSING


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        effect = rng.normal(0, 0.1, 12)
        values = {s: effect[s] + rng.normal(0, 0.3, 30) for s in range(12)}
        found = statistics.estimate([(1, values)], draws=400, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.86 <= hits / 200 <= 0.99


def test_seeds_widen_the_interval_where_they_differ():
    same = {s: np.zeros(50) for s in range(4)}
    apart = {s: np.full(50, s / 10) for s in range(4)}
    assert statistics.estimate([(1, same)]).high == 0
    wide = statistics.estimate([(1, apart)])
    assert wide.high - wide.low > 0.1


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
    found = statistics.Estimate((low + high) / 2, low, high, n)
    assert statistics.decide(found, 0.05, planned=3) == expected
    assert statistics.decide(statistics.MISSING, 0.05, planned=0) == "undecided"


def table_of(study, counts):
    """A whole study's table with counts(run, threshold) for each of four images."""
    rows = []
    for run in study.runs:
        key = {
            "dataset": run.dataset,
            "stress": stress_name(run.stress),
            "loss": run.loss,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "status": "ok",
        }
        for threshold in ("0.5", "tuned"):
            for image in range(4):
                full = dict.fromkeys(NUMERIC, 0) | counts(run, threshold)
                rows.append(key | {"image": f"{image}", "threshold": threshold} | full)
    table = pd.DataFrame(rows).assign(threshold_value=0.5)[list(COLUMNS)]
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return check_table(table, "test")


def good(tp, fn):
    return {"tp": tp, "fn": fn, "band_tp": tp, "band_fn": fn}


def headline(study, table):
    found = verdicts.verdicts(study, table)
    found = found[(found["loss"] == "dice") & (found["threshold"] == "0.5")]
    return found.set_index("claim")


def test_claims_say_what_was_planted(tiny):
    """Dice keeps its score under imbalance, is better at boundaries, worse with noise and sizes."""
    study = Study(tiny)

    def counts(run, threshold):
        knobs, dice = dict(run.stress), run.loss == "dice"
        if knobs.get("fraction") == 0.03:
            return good(8, 2) if dice else good(1, 9)
        if "flips" in knobs:
            return good(1, 9) if dice else good(8, 2)
        if knobs.get("size") == "mixed":
            sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1}
            return good(8, 2) | sizes | {"hits_small": 0 if dice else 4}
        return good(9, 1) | {"band_tp": 9 if dice else 5, "band_fn": 1 if dice else 5}

    found = headline(study, table_of(study, counts))
    assert set(found["verdict"]) == {"supported"}
    dice = [2 * tp / (10 + tp) for tp in (1, 8, 9)]
    assert found.loc["imbalance", "estimate"] == pytest.approx(dice[1] - dice[0], abs=1e-5)
    assert found.loc["noise", "estimate"] == pytest.approx(dice[1] - dice[0], abs=1e-5)
    assert found.loc["object_size", "estimate"] == pytest.approx(1)
    assert found.loc["boundary", "estimate"] == pytest.approx(dice[2] - 2 / 3, abs=1e-5)
    assert (found["n"] == found["planned"]).all()


def test_equal_losses_contradict_every_claim(tiny):
    sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
    study = Study(tiny)
    found = headline(study, table_of(study, lambda run, threshold: good(8, 2) | sizes))
    assert set(found["verdict"]) == {"contradicted"}
    assert (found["estimate"] == 0).all()


def test_a_missing_run_leaves_its_claim_undecided(tiny):
    sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
    study = Study(tiny)
    table = table_of(study, lambda run, threshold: good(8, 2) | sizes)
    lost = (table["stress"] == "flips-0.3") & (table["loss"] == "dice") & (table["seed"] == 1)
    table.loc[lost, "status"] = "diverged"
    table.loc[lost, ["image", "threshold"]] = np.nan
    table = table[~lost | ~table.duplicated(["stress", "loss", "seed"])]
    found = headline(study, table)
    assert found.loc["noise", "verdict"] == "undecided"
    assert (found.loc["noise", "n"], found.loc["noise", "planned"]) == (1, 2)
    assert "1 of 2" in found.loc["noise", "reason"]
    assert found.loc["imbalance", "verdict"] == "contradicted"


def test_an_experiment_that_cannot_answer_gives_no_verdict(tiny):
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0.3]}}
    study = Study(tiny)
    found = headline(study, table_of(study, lambda run, threshold: good(8, 2)))
    assert found.loc["noise", "verdict"] == "undecided"
    assert "no levels" in found.loc["noise", "reason"]


def test_every_claim_says_itself_and_its_smallest_difference():
    assert set(claims.load()) == {"imbalance", "boundary", "object_size", "noise"}
    for claim, words in claims.load().values():
        assert words.split("\n\n")[0].endswith(".")
        assert claim.smallest > 0
        assert claim.metric in metrics.METRICS
        assert claim.also in metrics.METRICS
        assert "{loss}" in claim.says


def test_a_table_that_is_not_what_it_says_is_refused(tiny, tmp_path):
    table = table_of(Study(tiny), lambda run, threshold: good(8, 2))
    path = tmp_path / "runs.csv"
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_table(path), table)
    for change, words in (
        ({"status": "fine"}, "status"),
        ({"tp": -1}, "negative"),
        ({"hits_small": 3}, "small"),
        ({"threshold": "0.4"}, "threshold"),
    ):
        with pytest.raises(RecordError, match=words):
            check_table(table.assign(**change), "changed")
    with pytest.raises(RecordError, match="'band_tp'"):
        check_table(table.drop(columns="band_tp"), "changed")
    with pytest.raises(RecordError, match="twice"):
        check_table(pd.concat([table, table.head(1)]), "changed")
    assert set(SIZE_BINS) == {"small", "medium", "large"}


def test_a_loss_looks_the_same_in_every_study():
    alone = style.looks(["dice", "mine"])
    among = style.looks(["cross_entropy", "dice", "squared_dice", "mine", "other"])
    assert alone["dice"] == among["dice"]
    assert alone["mine"] == among["mine"]
    many = style.looks([f"loss_{i}" for i in range(20)])
    assert len({tuple(look.values()) for look in many.values()}) == 20
