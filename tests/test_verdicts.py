"""Verdicts, on tables of studies with planted differences."""

import numpy as np
import pandas as pd
import pytest

from analysis import claims, verdicts
from analysis.scores import metrics, statistics
from experiments.plan.study import Study
from tests.layouts import folder_of
from tests.tables import NOTHING_MEASURED, good, noisy_counts, table_of


def headline(study, table):
    result = verdicts.verdicts(study, table, NOTHING_MEASURED)
    result = verdicts.headline(result)
    return result[result["level"] != "mechanism"].set_index("claim")


ARTICLES = ["imbalance", "boundary", "object_size", "noise"]


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

    result = headline(study, table_of(study, counts))
    assert set(result.loc[ARTICLES, "verdict"]) == {"supported"}
    assert result.loc["threshold", "verdict"] == "contradicted"  # the tuned one scores alike here
    dice = [2 * tp / (10 + tp) for tp in (1, 8, 9)]
    assert result.loc["imbalance", "estimate"] == pytest.approx(dice[1] - dice[0], abs=1e-5)
    assert result.loc["noise", "estimate"] == pytest.approx(dice[1] - dice[0], abs=1e-5)
    assert result.loc["object_size", "estimate"] == pytest.approx(1)
    assert result.loc["boundary", "estimate"] == pytest.approx(dice[2] - 2 / 3, abs=1e-5)
    assert (result["n"] == result["planned"]).all()


def test_equal_losses_contradict_every_claim(tiny):
    sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
    study = Study(tiny)
    result = headline(study, table_of(study, lambda run, threshold: good(8, 2) | sizes))
    assert set(result.loc[ARTICLES, "verdict"]) == {"contradicted"}
    assert set(result.loc[ARTICLES, "finding"]) == {"no difference that matters"}
    assert result.loc["threshold", "verdict"] == "supported"
    assert (result["estimate"] == 0).all()


def test_differences_that_are_all_the_same_decide_nothing(tiny):
    study = Study(tiny)
    result = headline(study, table_of(study, lambda run, threshold: good(5, 0)))
    assert (result.loc["noise", "n"], result.loc["noise", "estimate"]) == (2, 0)
    assert result.loc["noise", "verdict"] == "undecided"
    assert "every difference is the same" in result.loc["noise", "reason"]


def test_a_missing_run_leaves_its_claim_undecided(tiny):
    sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
    study = Study(tiny)
    table = table_of(study, lambda run, threshold: good(8, 2) | sizes)
    lost = (table["stress"] == "flips-0.3") & (table["loss"] == "dice") & (table["seed"] == 1)
    table.loc[lost, "status"] = "diverged"
    table.loc[lost, ["image", "threshold"]] = np.nan
    table = table[~lost | ~table.duplicated(["stress", "loss", "seed"])]
    result = headline(study, table)
    assert result.loc["noise", "verdict"] == "undecided"
    assert (result.loc["noise", "n"], result.loc["noise", "planned"]) == (1, 2)
    assert "1 of 2" in result.loc["noise", "reason"]
    assert result.loc["imbalance", "verdict"] == "contradicted"


def test_an_experiment_that_cannot_answer_gives_no_verdict(tiny):
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0.3]}}
    study = Study(tiny)
    result = headline(study, table_of(study, lambda run, threshold: good(8, 2)))
    assert result.loc["noise", "verdict"] == "undecided"
    assert "no levels" in result.loc["noise", "reason"]


def test_every_claim_has_words_and_a_smallest_difference():
    own = {name for name, claim in claims.load().items() if not claim.source}
    assert own == {"definition", *ARTICLES, "threshold", "imbalance_slope"}
    orders = [claim.order for claim in claims.load().values()]
    assert orders == sorted(set(orders))
    for claim in claims.load().values():
        assert claim.words.split("\n\n")[0].endswith(".")
        assert claim.metric in metrics.METRICS
        assert claim.also in metrics.METRICS
        assert bool(claim.source) == bool(claim.published)
        if claim.weights:
            assert abs(claim.smallest) > 0
            assert "{loss}" in claim.says
        if claim.mechanism:
            assert "{loss}" in claim.mechanism.says
            assert claim.mechanism.panels


def test_a_single_comparison_may_not_survive_the_others(tiny):
    """Holm: an interval just past the smallest difference is weaker among several claims."""
    rows = [
        verdicts.make(
            statistics.interval(value, 0.01, 30),
            claim=claim,
            level="controlled",
            dataset="d",
            stress="",
            loss="dice",
            against="cross_entropy",
            threshold="0.5",
            rate="fixed",
            setting="",
            unit="DSC",
            smallest=0.05,
            planned=30,
        )
        for claim, value in (("a", 0.0715), ("b", 0.05), ("c", 0.5))
    ]
    a, b, c = verdicts.settle(rows)
    assert a.low > 0.05
    assert a.verdict == "undecided"
    assert "correction" in a.reason
    assert b.verdict == "undecided"
    assert c.verdict == "supported"
    assert verdicts.settle(rows[:1])[0].verdict == "supported"


def test_real_datasets_are_pooled_into_one_more_verdict(tiny, tmp_path):
    tiny["datasets"] = {}
    for name in "ab":
        (tmp_path / name).mkdir()
        tiny["datasets"][name] = {"folder": str(folder_of(tmp_path / name))}
    study = Study(tiny)
    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    every = headline(study, table)
    result = every.loc["imbalance"]
    assert list(result["dataset"]) == ["a", "b", verdicts.POOLED]
    assert list(result["planned"]) == [2, 2, 2]
    low, high = result["estimate"].iloc[:2].agg(["min", "max"])
    assert low <= result["estimate"].iloc[2] <= high
    assert "2 of 2 datasets have no value" in every.loc["object_size", "reason"].iloc[2]


def test_a_claim_is_compared_at_every_setting(tiny):
    """With a grid of steps a verdict for each, corrected among the claims of the same setting."""
    tiny["training"]["steps"] = [6, 12]
    study = Study(tiny)

    def counts(run, threshold):
        better = run.setting.labels["steps"] == "12" and run.loss == "dice"
        return good(9, 1) if better else good(5, 5)

    table = verdicts.verdicts(study, table_of(study, counts), NOTHING_MEASURED)
    assert not table.duplicated(verdicts.KEY).any()
    assert list(table["setting"].unique()) == [setting.label for setting in study.settings]
    boundary = metrics.select(table, claim="boundary", threshold="0.5").set_index("setting")
    assert list(boundary["verdict"]) == ["contradicted", "supported"]
    assert boundary["estimate"].iloc[1] == pytest.approx(18 / 19 - 2 / 3, abs=1e-5)
    for _, rows in table.groupby("setting"):
        assert len(rows) == len(table) / 2


def test_an_experiment_may_set_a_training_field(tiny):
    """The levels of a claim can differ in the number of steps."""
    tiny["experiments"] = {"imbalance": {"knob": "steps", "values": [6, 12]}}
    study = Study(tiny)
    table = table_of(study, lambda run, _: good(9 if run.setting.labels["steps"] == "6" else 5, 1))
    result = headline(study, table).loc["imbalance"]
    assert (result["setting"], result["n"]) == ("", 2)
    assert result["stress"] == "none, steps 6"
    assert result["estimate"] == pytest.approx(0, abs=1e-6)


def test_mechanism_verdicts_are_exact_and_follow_the_claim():
    """Minus the loss of the article's formula; shares minus those of cross-entropy."""
    rows = [("perfect", loss, n, 1 - 1 / n) for loss in ("dice", "cross_entropy") for n in (1, 100)]
    rows += [("noisy_share", "cross_entropy", 0.1, 0.5), ("noisy_share", "dice", 0.1, 0.7)]
    measured = pd.DataFrame(rows, columns=["quantity", "loss", "x", "value"])
    rows = verdicts.of_mechanism(measured, ["cross_entropy"])
    table = pd.DataFrame(verdicts.settle(rows)).set_index("claim")
    assert table.loc["definition", "estimate"] == pytest.approx(-0.99)
    assert table.loc["definition", "against"] == ""
    assert table.loc["definition", "verdict"] == "contradicted"
    assert table.loc["noise", "estimate"] == pytest.approx(0.2)
    assert table.loc["noise", "verdict"] == "supported"
    assert set(table["loss"]) == {"dice"}
