"""The recommendation: situations from knobs, scopes, missing runs, and the sentences."""

import numpy as np
import pandas as pd
import pytest

from analysis import recommendation, situations
from analysis.recommendation import NEW, SUITE, YES
from analysis.report import paper, report
from analysis.scores.cells import Cells
from experiments.plan.knobs import KNOBS, Stress
from experiments.plan.study import Study
from tests.conftest import write_folder
from tests.results import write_results
from tests.tables import good, lose, planted, results_of, table_of


@pytest.mark.parametrize(
    ("knobs", "situation"),
    [
        ({}, "as is"),
        ({"fraction": "natural"}, "as is"),
        ({"fraction": 0.01, "size": "small", "mosaic": 4}, "rare foreground"),
        ({"size": "mixed", "fraction": 0.01}, "small beside large"),
        ({"size": "small"}, None),
        ({"blur": 2, "size": "small"}, "blurred or misdrawn boundaries"),
        ({"overdraw": -1}, "blurred or misdrawn boundaries"),
        ({"jitter": 2, "blur": 1}, "blurred or misdrawn boundaries"),
        ({"flips": 0.1}, "flipped labels"),
        ({"flips_foreground": 0.1, "missed": 0.2}, "label errors"),
        ({"observer": "second"}, "label errors"),
        ({"absence": 0.25, "fraction": "natural"}, "absent foreground"),
        ({"flips": 0.1, "blur": 2}, None),
        ({"flips": 0.1, "size": "mixed"}, None),
        ({"flips": 0.1, "image_noise": 0.1}, None),
        ({"left_out": 0.5}, None),
    ],
)
def test_a_stress_shows_the_situation_of_its_knobs(knobs, situation):
    assert situations.situation_of(Stress(knobs)) == situation


def test_every_knob_of_a_situation_exists():
    assert {knob for knobs in situations.KNOBS.values() for knob in knobs} < set(KNOBS)


def stresses(study, dataset="controlled", setting=0):
    found = situations.cells(study, dataset, study.settings[setting])
    return {name: sorted(where["stress"] for where in each) for name, each in found.items()}


def test_levels_are_found_by_their_knobs_whatever_their_names(tiny):
    tiny["experiments"] = {
        "a": {"knob": "fraction", "values": [0.3, 0.2, 0.1]},
        "b": {"levels": {"x": {"fraction": 0.01, "size": "small"}, "y": {"fraction": 0.2}}},
        "c": {"levels": {"x": {}, "y": {"size": "mixed"}, "z": {"fraction": 0.002}}},
        "d": {"knob": "flips", "values": [0, 0.1, 0.2]},
        "e": {"levels": {"x": {"flips": 0.2, "size": "small"}, "y": {"blur": 1, "flips": 0.3}}},
    }
    assert stresses(Study(tiny)) == {
        "as is": ["none"],  # once, though two experiments have it
        "rare foreground": ["fraction-0.002", "fraction-0.01_size-small", "fraction-0.1"],
        "small beside large": ["size-mixed"],
        "flipped labels": ["flips-0.2", "flips-0.2_size-small"],
    }


@pytest.mark.parametrize(
    ("situation", "levels", "words"),
    [
        ("label errors", {"missed": {"missed": 0.3}}, "30% of objects missing"),
        ("label errors", {"a": {"missed": 0.3}, "b": {"invented": 0.3}}, ""),
        ("absent foreground", {"a": {"absence": 0.25}}, "25% of windows empty"),
        ("flipped labels", {"a": {"flips": 0.3}}, "30%"),
        ("blurred or misdrawn boundaries", {"a": {"blur": 2}}, ""),
    ],
)
def test_the_share_of_a_situation_is_in_words(tiny, situation, levels, words):
    tiny["experiments"] = {"one": {"levels": levels}}
    assert situations.words(Study(tiny), situation, ["controlled"]) == words


def test_a_situation_without_a_level_is_left_out(tiny):
    tiny["experiments"] = {"blur": {"knob": "blur", "values": [1, 2]}}
    assert list(stresses(Study(tiny))) == ["blurred or misdrawn boundaries"]
    tiny["experiments"] = {"noise": {"knob": "image_noise", "values": [0.1]}}
    assert stresses(Study(tiny)) == {}
    table = table_of(Study(tiny), lambda run, _: good(8, 2))
    assert not len(recommendation.recommendation(results_of(Study(tiny), table)))


def test_windows_anywhere_are_as_is_only_without_windows_at_objects(tiny, in_tmp):
    write_folder(in_tmp / "own", 6)
    tiny["datasets"] = {"own": {"folder": "own", "train": 2, "val": 2, "test": 2}}
    levels = {"anywhere": {"fraction": "natural"}, "at objects": {}}
    tiny["experiments"] = {"place": {"levels": levels}}
    assert stresses(Study(tiny), "own") == {"as is": ["none"]}
    del levels["at objects"]
    assert stresses(Study(tiny), "own") == {"as is": ["fraction-natural"]}


def test_a_varied_training_field_counts_at_the_setting_only(tiny):
    hold = {"fraction": 0.003}
    tiny["experiments"] = {"budget": {"knob": "steps", "values": [6, 12], "hold": hold}}
    study = Study(tiny)
    (where,) = situations.cells(study, "controlled", study.settings[0])["rare foreground"]
    assert where["steps"] == "6"
    tiny["experiments"]["budget"]["values"] = [12, 24]  # without that of the study
    assert stresses(Study(tiny)) == {}
    hold = {"fraction": 0.003, "steps": 12}  # all levels have it
    tiny["experiments"] = {"imbalance": {"knob": "size", "values": ["large", "small"]}}
    tiny["experiments"]["imbalance"]["hold"] = hold
    assert len(stresses(Study(tiny))["rare foreground"]) == 2


def advice(study, counts, change=lambda table: table):
    table = change(table_of(study, counts))
    return recommendation.recommendation(results_of(study, table))


def chosen(table, **where):
    rows = table[(table[list(where)] == pd.Series(where)).all(axis=1)]
    return rows.set_index("loss")


def test_the_best_loss_of_each_situation_is_advised(tiny):
    tiny["losses"]["dice_ce"] = {}
    tiny["seeds"] = [0, 1, 2, 3]
    best = {"none": "dice_ce", "flips-0.3": "cross_entropy"}

    def scores(run, threshold):
        return 80 if run.loss == best.get(run.stress.name, "dice") else 50

    table = advice(Study(tiny), planted(scores, spread=2))
    assert table.groupby(recommendation.CASE)["advised"].agg(lambda s: (s == YES).sum()).eq(1).all()
    for situation, loss in (
        ("as is", "dice_ce"),
        ("flipped labels", "cross_entropy"),
        ("rare foreground", "dice"),
        ("small beside large", "dice"),
    ):
        rows = chosen(table, situation=situation, threshold="0.5")
        assert rows["advised"].eq(YES).idxmax() == loss
        assert rows.loc[loss, "rank"] == 1
        assert rows.loc[loss, "bound"] < 0.05
        others = rows.drop(index=loss)
        assert others["regret"].to_numpy() == pytest.approx(0.3, abs=0.05)
        assert (others["may_be_as_good"] == "").all()
        assert rows["n"].eq(4).all()


def test_levels_count_alike(tiny):
    tiny["experiments"] = {"boundary": {"knob": "blur", "values": [1, 2, 3]}}
    level = {"blur-1": 30, "blur-2": 60, "blur-3": 90}
    table = advice(Study(tiny), planted(lambda run, _: level[run.stress.name], spread=0.1))
    assert table["score"].to_numpy() == pytest.approx(0.6, abs=0.01)
    assert table["levels"].eq(3).all()


def test_a_diverged_run_scores_nothing_and_a_failed_one_is_missing(tiny):
    tiny["seeds"] = [0, 1, 2, 3]
    tiny["experiments"] = {"plain": {"levels": {"x": {}}}}
    study = Study(tiny)

    def dice(status="ok", seeds=()):
        def change(table):
            for seed in seeds:
                table = lose(table, status, {"loss": "dice", "seed": seed})
            return table

        counts = planted(lambda run, _: 80 if run.loss == "dice" else 70, spread=2)
        return chosen(advice(study, counts, change), threshold="0.5").loc["dice"]

    assert dice()["score"] == pytest.approx(0.8, abs=0.02)
    diverged = dice("diverged", [0])
    assert diverged["score"] == pytest.approx(0.6, abs=0.02)
    assert diverged["n"] == 4
    assert diverged["bound"] > 0.3
    failed = dice("failed", [0])
    assert failed["score"] == pytest.approx(0.8, abs=0.02)
    assert failed["n"] == 3
    one = dice("failed", [0, 1, 2])
    assert one["n"] == 1
    assert np.isnan(one["bound"])
    assert np.isnan(dice("failed", [0, 1, 2, 3])["score"])


def test_every_setting_has_its_own_advice(tiny):
    tiny["training"]["steps"] = [6, 12]
    tiny["seeds"] = [0, 1, 2, 3]

    def scores(run, threshold):
        best = {"6": "dice", "12": "cross_entropy"}[run.setting.labels["steps"]]
        return 80 if run.loss == best else 50

    table = advice(Study(tiny), planted(scores, spread=2))
    advised = table[table["advised"] == YES].groupby("setting")["loss"].unique()
    assert {k: list(v) for k, v in advised.items()} == {
        "steps 6": ["dice"],
        "steps 12": ["cross_entropy"],
    }


@pytest.fixture
def public(tiny, in_tmp):
    """A study of three public datasets; Dice is best on two of them, by far the worst on one."""
    sizes = {"train": 2, "val": 2, "test": 4}
    for name in "abc":
        write_folder(in_tmp / name, 8)
    tiny["datasets"] = {name: {"folder": name} | sizes for name in "abc"} | {"controlled": {}}
    tiny["experiments"] = {"plain": {"levels": {"x": {}}}}
    tiny["seeds"] = [0, 1, 2, 3]
    tiny["losses"] = {"cross_entropy": {}, "dice": {}, "dice_ce": {}}
    dice = {"a": 90, "b": 90, "c": 75, "controlled": 90}
    scores = {"dice": dice, "cross_entropy": dict.fromkeys(dice, 50)}

    def score(run, threshold):
        return scores.get(run.loss, dict.fromkeys(dice, 80))[run.dataset]

    return Study(tiny), planted(score, spread=0.5)


def test_the_suite_is_the_mean_of_its_public_datasets(public):
    table = advice(*public)
    assert list(table["scope"].unique()) == ["a", "b", "c", "controlled", SUITE, NEW]
    suite, new = (chosen(table, scope=s, threshold="0.5") for s in (SUITE, NEW))
    assert suite["score"].to_dict() == pytest.approx(
        {"cross_entropy": 0.5, "dice": 0.85, "dice_ce": 0.8}, abs=0.01
    )
    assert suite["datasets"].eq(3).all()
    assert suite.loc["dice", ["advised", "fails_on"]].tolist() == [YES, "c"]
    assert suite.loc["cross_entropy", "fails_on"] == "a; b; c"
    assert suite.loc["dice", "bound"] < 0.02
    assert new.loc["dice", "bound"] > 0.05
    assert new.loc["dice_ce", "may_be_as_good"] == YES
    assert suite.loc["dice_ce", "may_be_as_good"] == ""


def test_sentences_name_the_loss_its_bound_and_where_another_is_better(public):
    cases = recommendation.cases(advice(*public))
    suite, new, one = (
        next(c for c in cases if c["scope"] == scope and c["threshold"] == "0.5")
        for scope in (SUITE, NEW, "c")
    )
    assert suite["loss"] == "Dice"
    assert suite["sentence"].startswith("Dice: you lose at most 0.0")
    assert "DSC (95%)." in suite["sentence"]
    assert suite["sentence"].endswith("Another loss is better by more than 0.01 on c.")
    assert "May be as good: Dice + CE." in new["sentence"]
    assert one["sentence"] == "Dice + CE: you lose at most 0.001 DSC (95%)."
    shown = recommendation.headline(public[0], advice(*public))
    assert [c["scope"] for c in shown[::2]] == ["controlled", SUITE, NEW]


def test_a_test_image_has_its_recorded_source_or_is_its_own(tiny, in_tmp):
    write_folder(in_tmp / "own", 8)
    tiny["datasets"] = {"own": {"folder": "own", "train": 2, "val": 2, "test": 4}}
    tiny["experiments"] = {"plain": {"levels": {"x": {}}}}
    study = Study(tiny)
    table = table_of(study, lambda run, _: good(8, 2))
    images = ["0", "1", "2", "3"]
    sources = pd.DataFrame({"image": images, "source": ["p", "p", "q", "q"]})
    sources = sources.assign(dataset="own", stress="none")
    (where,) = situations.cells(study, "own", study.settings[0])["as is"]
    assert Cells(results_of(study, table)).scores(where, "0.5").sources == images
    known = Cells(results_of(study, table, sources)).scores(where, "0.5")
    assert known.sources == ["p", "p", "q", "q"]


def test_one_seed_gives_scores_without_advice(tiny):
    tiny["seeds"] = [3]
    table = advice(Study(tiny), planted(lambda *_: 70, spread=2))
    assert table["score"].notna().all()
    assert table["regret"].isna().all()
    case = recommendation.cases(table)[0]
    assert (case["loss"], case["sentence"][:9]) == ("", "no advice")


def test_the_report_has_the_advice_before_the_verdicts_and_the_paper_a_table(tiny, tmp_path):
    results = write_results(tmp_path, tiny)
    for name in ("figures", "contact"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "captions.json").write_text("{}")
    html = report.render(results)
    sentence = recommendation.headline(results.study, results.recommendation)[0]["sentence"]
    assert html.index('id="answer"') < html.index(sentence) < html.index('id="claims"')
    assert "within 0.01 DSC" in html
    assert "Least expected regret" in html
    paper.run(results)
    assert (tmp_path / "paper" / "tables" / "recommendation.tex").exists()
