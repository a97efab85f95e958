"""Effects on a dataset: lost runs, seeds, floors, and the two-sided test."""

import numpy as np
import pytest
from scipy import stats

from analysis.scores import metrics
from experiments.plan.study import Study
from tests.tables import good, headline, judged, lose, noisy_counts, table_of

SIZES = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
FLIPPED = {"stress": "flips-0.3", "loss": "dice", "seed": 1}


def test_a_failed_run_is_missing_and_the_other_seeds_decide(tiny):
    study = Study({**tiny, "seeds": 4})
    table = table_of(study, lambda run, threshold: good(8, 2) | SIZES)
    result = headline(study, lose(table, "failed", FLIPPED)).loc["noise"]
    assert (result["n"], result["planned"], result["df"]) == (3, 4, 2)
    assert result["verdict"] == "contradicted"
    assert "1 of 4 pairs of runs are missing" in result["reason"]


def test_a_verdict_needs_three_seeds_where_more_are_planned(tiny):
    study = Study({**tiny, "seeds": 3})
    table = table_of(study, lambda run, threshold: good(8, 2) | SIZES)
    result = headline(study, lose(table, "failed", FLIPPED))
    assert (result.loc["noise", "n"], result.loc["noise", "verdict"]) == (2, "undecided")
    assert "a verdict needs 3 seeds" in result.loc["noise", "reason"]
    assert result.loc["noise", "p"] < 1e-3
    assert result.loc["imbalance", "verdict"] == "contradicted"
    two = Study(tiny)
    assert headline(two, table_of(two, lambda run, _: good(8, 2))).loc["noise", "n"] == 2
    assert headline(two, table_of(two, lambda run, _: good(8, 2))).loc["noise", "verdict"] == (
        "contradicted"
    )


def test_a_diverged_run_scores_nothing_and_is_flagged(tiny):
    """Dice scores .8 everywhere and diverges once: its seed has -.8, the others have about 0."""
    study = Study({**tiny, "seeds": 3})
    table = lose(table_of(study, lambda run, _: good(8, 2) | SIZES), "diverged", FLIPPED)
    result = headline(study, table)
    dice = 2 * 8 / (2 * 8 + 2)
    assert result.loc["noise", "estimate"] == pytest.approx(dice / 3, abs=1e-5)
    assert (result.loc["noise", "n"], result.loc["noise", "planned"]) == (3, 3)
    assert "a diverged run scores 0: dice, seed 1" in result.loc["noise", "reason"]
    assert "diverged" not in result.loc["imbalance", "reason"]
    stress = next(s for s in table["stress"].unique() if "mixed" in s)
    table = table_of(study, lambda run, _: good(8, 2) | SIZES)
    table = lose(table, "diverged", FLIPPED | {"stress": stress})
    result = headline(study, table).loc["object_size"]
    assert result["n"] == 2  # a gap between two recalls of 0 would be no fault
    assert "a diverged run has no value: dice, seed 1" in result["reason"]


def test_generated_images_have_a_two_sided_test_at_half(tiny):
    """Tuned thresholds do not need it: the rates of their one-sided tests are right."""
    study = Study(tiny)
    table = judged(study, table_of(study, noisy_counts(np.random.default_rng(0), gain=3)))
    for threshold, sides in (("0.5", 2), ("tuned", 1)):
        row = metrics.select(table, claim="boundary", threshold=threshold).iloc[0]
        t = abs(row["estimate"] - row["smallest"]) / row["error"]
        assert row["p"] == pytest.approx(sides * stats.t.sf(t, row["df"]), rel=1e-2)


def test_a_level_at_which_no_loss_finds_anything_is_a_floor(tiny):
    study = Study(tiny)
    table = table_of(study, lambda run, _: good(8, 2))
    rare = table["stress"].str.contains("fraction-0.03")
    table.loc[rare, "val_dice"] = 0.05
    result = headline(study, table)
    assert result.loc["imbalance", "floor"] == "fraction-0.03_size-small"
    assert (
        "within 6 steps no loss found anything at fraction-0.03_size-small"
        in (result.loc["imbalance", "reason"])
    )
    assert result.loc["noise", "floor"] == ""
    table.loc[rare & (table["loss"] == "dice"), "val_dice"] = 0.5
    result = headline(study, table)
    assert result.loc["imbalance", "floor"] == ""
    assert (
        "cross_entropy found nothing at fraction-0.03_size-small"
        in (result.loc["imbalance", "reason"])
    )
    assert "about the speed of learning" in result.loc["imbalance", "reason"]
