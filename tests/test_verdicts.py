"""Verdicts, on tables of studies with planted differences."""

import pandas as pd
import pytest

from analysis import claims, verdicts
from analysis.figures import overview
from analysis.scores import metrics
from experiments.plan.study import Study
from tests.tables import good, headline, judged, table_of

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


def test_losses_that_score_the_same_on_every_image_do_not_differ(tiny):
    """As two models do that predict nothing: no error, and a difference of 0 in several seeds."""
    study = Study(tiny)
    result = headline(study, table_of(study, lambda run, threshold: good(0, 5))).loc["noise"]
    assert (result["n"], result["estimate"], result["error"]) == (2, 0, 0)
    assert (result["verdict"], result["finding"]) == ("contradicted", "no difference that matters")
    one = Study({**tiny, "seeds": [0]})
    result = headline(one, table_of(one, lambda run, threshold: good(0, 5))).loc["noise"]
    assert (result["verdict"], result["finding"]) == ("undecided", "not known")
    assert "one seed" in result["reason"]


def test_one_difference_in_every_seed_decides_nothing(tiny):
    """Other than 0, and without any spread: how seeds differ is not known."""
    study = Study(tiny)
    table = table_of(study, lambda run, threshold: good(0 if run.loss == "dice" else 5, 5))
    result = headline(study, table).loc["noise"]
    assert result["estimate"] == pytest.approx(2 / 3, abs=1e-6)
    assert result["verdict"] == "undecided"
    assert "every difference is the same" in result["reason"]


def test_an_experiment_that_cannot_answer_gives_no_verdict(tiny):
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0.3]}}
    study = Study(tiny)
    result = headline(study, table_of(study, lambda run, threshold: good(8, 2)))
    assert result.loc["noise", "verdict"] == "undecided"
    assert "no levels" in result.loc["noise", "reason"]


def test_every_claim_has_words_and_a_smallest_difference():
    own = {name for name, claim in claims.load().items() if not claim.source}
    assert own == {"definition", *ARTICLES, "threshold", "imbalance_slope"}
    primary = {name for name, claim in claims.load().items() if claim.primary}
    assert primary == {*ARTICLES, "threshold"}
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


def test_a_claim_is_compared_at_every_setting(tiny):
    """With a grid of steps a verdict for each, corrected among the claims of the same setting."""
    tiny["training"]["steps"] = [6, 12]
    study = Study(tiny)

    def counts(run, threshold):
        better = run.setting.labels["steps"] == "12" and run.loss == "dice"
        return good(9, 1) if better else good(5, 5)

    table = judged(study, table_of(study, counts))
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


def test_a_claim_is_compared_at_the_budgets_of_another_experiment(tiny):
    """Levels with the stress of the claim's one level and other steps are settings of the claim.

    The claim's level may set the steps too.
    """
    budget = {"knob": "steps", "values": [6, 12], "hold": {"size": "small", "fraction": 0.03}}
    tiny["experiments"] = {"imbalance": tiny["experiments"]["imbalance"], "budget": budget}
    tiny["training"]["steps"] = 24
    tiny["experiments"]["imbalance"]["hold"]["steps"] = 6
    study = Study(tiny)

    def counts(run, threshold):
        late = run.setting.labels["steps"] == "12"
        return good(9, 1) if late or run.loss == "dice" else good(5, 5)

    table = table_of(study, counts)
    assert set(overview.trained(study, judged(study, table))["setting"]) == {""}
    result = headline(study, table).loc["imbalance"].set_index("setting")
    assert list(result.index) == ["", "steps 12"]
    assert result.loc["", "estimate"] == pytest.approx(18 / 20 - 10 / 15, abs=0.05)
    assert result.loc["steps 12", "estimate"] == pytest.approx(0)
    assert list(result["family"]) == ["primary", "secondary"]
    assert list(result["n"]) == list(result["planned"]) == [2, 2]
