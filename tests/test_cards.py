"""Cards of losses: formula, theory in words, differences, cost, and the study of an added loss."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.figures import cards as figures
from analysis.figures import draw, style
from analysis.report import cards, report
from docs import losses_page
from experiments import card, layout
from experiments.errors import ConfigError
from experiments.plan.study import Study
from losses import LOSSES
from tests.results import write_results

OWN = {"use": "tests.user_losses:MyLoss", "weight": 2}


@pytest.fixture
def results(tiny, tmp_path, monkeypatch):
    """Planted results of a study with two references and a custom loss."""
    monkeypatch.chdir(tmp_path)
    tiny["losses"]["mine"] = OWN
    tiny["reference"] = ["cross_entropy", "dice"]
    return write_results(tmp_path / "results" / "tiny", tiny)


def measured(loss, predict):
    """Rows of mechanism.csv for a loss that predicts p = predict(q)."""
    shares = np.arange(1, 10) / 10
    rows = [("in_rim", loss, q, predict(q)) for q in shares]
    threshold = next((q for q in np.linspace(0, 1, 201) if predict(q) > 0.5), 1.0)
    rows.append(("rim_threshold", loss, 0.5, threshold))
    return pd.DataFrame(rows, columns=["quantity", "loss", "x", "value"])


def test_formulas_and_minimisers_are_those_of_the_losses_page():
    for entry in losses_page.entries():
        found = cards.documented(LOSSES[entry["name"]].path)
        assert found["formula"] == entry["formula"]
        assert found["minimiser"] == entry["minimiser"]
        assert entry["about"] in found["about"]


def test_a_custom_loss_has_its_import_path_and_options():
    found = cards.definition(OWN, "mine")
    assert found == {"formula": "", "path": "tests.user_losses:MyLoss", "options": "weight = 2"}
    terms = {"dice": 1, "cross_entropy": {"weight": 0.5}}
    assert cards.definition({"sum": terms}, "both")["formula"] == "1 Dice + 0.5 Cross-entropy"


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda q: q, "it predicts the share itself"),
        (
            lambda q: float(q > 0.33),
            "where more than 34% of them are foreground; there",
        ),
        (lambda q: 1.0, "at any share of foreground; there it predicts 1.00"),
        (lambda q: 0.2, "it never predicts foreground (p is 0.20 at most)"),
    ],
)
def test_theory_is_a_sentence(predict, words):
    (sentence,) = cards.theory(measured("mine", predict), "mine")
    assert words in sentence


def test_a_loss_that_was_not_minimised_says_so():
    nothing = measured("mine", lambda q: np.nan)
    assert "was found" in next(cards.theory(nothing, "mine"))


def test_own_losses_come_first_and_have_a_difference_from_each_reference(results):
    page = cards.cards(results, [])
    assert [entry["name"] for entry in page] == ["mine", "cross_entropy", "dice"]
    mine, reference, _ = page
    assert mine["own"]
    assert mine["references"] == ["Cross-entropy", "Dice"]
    assert reference["references"] == ["Dice"]
    cells = {(run.stress.name) for run in results.study.runs}
    assert len(mine["differences"]) == len(cells)
    assert all(len(row["cells"]) == 2 for row in mine["differences"])
    assert {row["against"] for row in mine["verdicts"]} == {"Cross-entropy", "Dice"}


def test_a_difference_is_marked_if_it_is_told_apart(results, monkeypatch):
    scored = results.table
    ok = (scored["loss"] == "mine") & (scored["stress"] == "flips-0.3")
    scored.loc[ok, ["fp"]] = 10 * scored.loc[ok, "tp"]
    (mine, *_) = cards.cards(results, [])
    rows = {row["level"]: row["cells"] for row in mine["differences"]}
    for cell in rows["noise: flips 0.3"]:
        assert (cell["word"], cell["mark"]) == ("worse than", "▼")
        assert cell["value"] < -0.3
    worse = [text for text in mine["summary"] if text.startswith("Worse than Dice at ")]
    assert "noise: flips 0.3" in worse[0]


def test_a_card_corrects_for_its_number_of_levels(results, monkeypatch):
    monkeypatch.setattr(cards.comparisons.statistics, "correct", lambda p: np.ones(len(p)))
    (mine, *_) = cards.cards(results, [])
    words = {cell["word"] for row in mine["differences"] for cell in row["cells"]}
    assert words == {cards.WORDS[""]}


def test_a_study_without_a_level_in_common_has_no_differences(results, monkeypatch):
    monkeypatch.setattr(cards, "of_experiments", lambda study: iter(()))
    assert cards.differences(results)["mine"] == {"Cross-entropy": [], "Dice": []}


def test_a_level_without_a_mark_is_in_no_sentence():
    row = {"level": "noise: flips 0.3", "value": -0.01, "word": cards.WORDS[""]}
    assert cards.summary({"Dice": [row]}) == [
        "Not clearly different from Dice under any stress "
        "(largest difference −0.010, noise: flips 0.3)."
    ]


def test_the_cost_of_a_step_is_compared_on_the_same_machine_only(results):
    for record in results.records:
        own = record["key"]["loss"] == "mine"
        other = record["key"]["seed"] == 1
        record["run"] = {"training": {"steps": 100}}
        record["seconds"] = {"train": 3.0 if own else 2.0}
        record["machine"] = {"cpu": "a" if not (other and own) else "b"}
    words = cards.cost(results, "mine")
    assert words.startswith("30.0 ms per training step")
    assert "1.50 times a step with Dice" in words
    planned = sum(run.loss == "mine" and run.seed == 0 for run in results.study.runs)
    assert f"of {planned} pairs" in words
    for record in results.records:
        if record["key"]["loss"] == "dice":
            record["written"] = "2026-01-01T03:00:00"
    words = cards.cost(results, "mine")
    assert "a step with Dice" not in words
    assert "No ratio to Dice: its runs are of another time." in words


def test_a_card_is_in_the_report_with_its_figures(results):
    planned = {f.stem: f for f in draw.plan(results) if f.kind in cards.KINDS}
    assert {"card_mine", "card_mine_inside", "card_mine_examples"} <= set(planned)
    figure, caption = planned["card_mine"].draw()
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"mine", "Cross-entropy", "Dice"}
    assert "every stress" in caption
    style.use()
    contact = results.study.file(layout.CONTACT)
    contact.mkdir()
    (contact / layout.CAPTIONS).write_text("{}")
    folder = results.study.file(layout.FIGURES)
    style.save(figure, folder / "card_mine")
    entry = {"kind": "card", "caption": caption, "width": 100, "loss": "mine"}
    (folder / layout.CAPTIONS).write_text(json.dumps({"card_mine": entry}))
    html = report.render(results)
    for loss in results.study.losses:
        assert html.count(f'id="loss-{loss}"') == 1
    assert html.index('id="loss-mine"') < html.index('id="loss-dice"')
    assert html.count('<details class="loss" open>') == 1
    assert caption in html.replace("&#39;", "'")


def test_examples_are_the_kept_images_that_differ_most(results, monkeypatch):
    monkeypatch.setattr(figures, "_kept", lambda study: lambda *cell: ["0", "1"])
    scored = results.scored
    at = (
        (scored["loss"] == "mine")
        & (scored["stress"] == "jitter-2")
        & (scored["threshold"] == "0.5")
    )
    scored.loc[at & (scored["image"] == "1") & (scored["seed"] == 1), "score_dice"] = 0.01
    scored.loc[at & (scored["image"] == "3"), "score_dice"] = 0.0  # not kept
    first = figures.largest(results, "mine").iloc[0]
    assert (first["stress"], first["image"], first["seed"]) == ("jitter-2", "1", 1)
    assert first["own"] == 0.01


def test_cards_of_a_study_of_one_level_have_no_scores_to_compare(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny["experiments"] = {"imbalance": {"knob": "fraction", "values": [0.03]}}
    results = write_results(tmp_path / "results" / "tiny", tiny)
    stems = [figure.stem for figure in figures.figures(results)]
    assert stems == [f"card_{loss}_inside" for loss in tiny["losses"]]


def test_an_added_loss_keeps_the_runs_of_the_other_losses(tiny):
    tiny["experiments"]["budget"] = {"knob": "steps", "values": [3, 6]}
    base = Study(tiny)
    study, name = card.with_loss(base, "tests.user_losses:MyLoss")
    assert (study.name, name) == ("tiny-my_loss", "my_loss")
    assert study.references == ("cross_entropy", "dice")
    assert set(base.experiments) - set(study.experiments) == {"budget"}
    known = {run.path: run.fingerprint for run in base.runs}
    others = [run for run in study.runs if run.loss != "my_loss"]
    assert others
    assert all(known[run.path] == run.fingerprint for run in others)


def test_a_study_of_training_settings_alone_keeps_them(tiny):
    tiny["experiments"] = {"budget": {"knob": "steps", "values": [3, 6]}}
    assert set(card.with_loss(Study(tiny), "focal")[0].experiments) == {"budget"}


def test_options_and_names_of_an_added_loss():
    spec = {"use": "focal", "gamma": "1", "alpha": "null"}
    assert card.named(spec) == ("focal", {"use": "focal", "gamma": "1", "alpha": None})
    assert card.named("mine:Focal")[0] == "my_focal"  # not the suite's
    assert card.named("mine:my_function")[0] == "my_function"
    with pytest.raises(ConfigError, match="3 is not allowed; allowed: my_module:MyLoss"):
        card.named(3)
