"""The reference losses of a study: which there are, and what is compared with each of them."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import claims, verdicts
from analysis.figures import draw
from analysis.report import pages, report, tables
from analysis.stamps import Stamps
from experiments import layout
from experiments.errors import ConfigError
from experiments.plan.study import Study
from tests.results import write_results
from tests.tables import NOTHING_MEASURED, OWN_SOURCES, good, judged, noisy_counts, table_of

BOTH = ["cross_entropy", "focal"]


def verdicts_of(config, measured=NOTHING_MEASURED):
    study = Study(config)
    table = table_of(study, noisy_counts(np.random.default_rng(0), gain=20))
    return verdicts.verdicts(study, table, measured, OWN_SOURCES)


@pytest.mark.parametrize(
    ("losses", "reference", "words"),
    [
        (["dice", "mine"], None, "'cross_entropy' is not among the losses; allowed: dice, mine"),
        (["dice", "ce"], "cee", "'cee' is not among the losses (did you mean 'ce'?)"),
        (["dice", "ce"], ["ce", "x"], "'x' is not among the losses; allowed: dice, ce"),
        (["dice", "ce"], [], "[] is not allowed; allowed: at least one"),
        (["dice", "ce"], ["ce", "ce"], "duplicate value 'ce'"),
        (["dice", "ce"], "a b", "'a b' is not allowed; allowed: letters"),
    ],
)
def test_a_reference_that_is_no_loss_of_the_study_is_refused(tiny, losses, reference, words):
    tiny["losses"] = {name: {"use": "dice"} for name in losses}
    tiny |= {} if reference is None else {"reference": reference}
    with pytest.raises(ConfigError) as error:
        Study(tiny)
    (problem,) = (p for p in error.value.problems if words in p)
    assert problem.startswith("reference")


def test_a_study_of_one_loss_names_it_as_its_reference(tiny):
    tiny |= {"losses": {"dice": {}}, "reference": "dice"}
    assert Study(tiny).references == ("dice",)
    assert len(verdicts_of(tiny)) == 0


def test_each_reference_has_the_estimates_that_it_has_alone(tiny):
    """The families are those of one reference; those of the first one are primary."""
    tiny["losses"]["focal"] = {}
    study = Study(tiny | {"reference": BOTH})
    table = table_of(study, noisy_counts(np.random.default_rng(0), gain=20))
    both = judged(study, table)
    assert not both.duplicated(verdicts.KEY).any()
    assert set(both["against"]) == set(BOTH)
    for reference in BOTH:
        alone = Study(tiny | {"reference": reference})
        expected = judged(alone, table)
        expected, found = (t[t["against"] == reference] for t in (expected, both))
        expected, found = (t.reset_index(drop=True) for t in (expected, found))
        measured = list(found)[: list(found).index("p_corrected")]
        columns = list(found) if reference == BOTH[0] else measured
        columns = [c for c in columns if c != "family"]
        pd.testing.assert_frame_equal(found[columns], expected[columns])
        assert ("primary" in set(found["family"])) == (reference == BOTH[0])
        assert set(found["loss"]) == set(tiny["losses"]) - {reference}


def test_a_reference_with_another_name_gives_the_same_verdicts(tiny):
    expected = verdicts_of(tiny)
    tiny["losses"] = {"ce": {"use": "cross_entropy"}, "dice": {}}
    found = verdicts_of(tiny | {"reference": "ce"})
    published = [name for name, claim in claims.load().items() if claim.source]
    expected = expected[~expected["claim"].isin(published)].reset_index(drop=True)
    found = found[~found["claim"].isin(published)].reset_index(drop=True)
    assert set(found["against"]) == {"ce"}
    pd.testing.assert_frame_equal(found.drop(columns="against"), expected.drop(columns="against"))


def test_another_reference_trains_nothing_and_makes_the_verdicts_again(tiny):
    before, after = Stamps(Study(tiny)), Stamps(Study(tiny | {"reference": "dice"}))
    assert [r.fingerprint for r in before.study.runs] == [r.fingerprint for r in after.study.runs]
    changed = {"estimates", "verdicts", "recommendation", "figures", "stresses", "report"}
    changed |= {"paper", "calibration"}
    for old, new in zip(before.all(), after.all(), strict=True):
        step = old.path.stem.partition("-")[0]
        assert (old.path != new.path) == (step in changed), step


def test_mechanisms_are_compared_with_each_reference():
    rows = [("noisy_share", loss, 0.1, x) for loss, x in (("a", 0.5), ("b", 0.3), ("dice", 0.7))]
    rows += [("perfect", loss, 100, 0.0) for loss in ("a", "b", "dice", "article_dice")]
    measured = pd.DataFrame(rows, columns=["quantity", "loss", "x", "value"])
    rows = verdicts.settle(verdicts.of_mechanism(measured, ["a", "b"]))
    table = pd.DataFrame(rows)
    noise = table[table["claim"] == "noise"].set_index(["against", "loss"])["estimate"]
    assert noise.to_dict() == pytest.approx(
        {("a", "b"): -0.2, ("a", "dice"): 0.2, ("b", "a"): 0.2, ("b", "dice"): 0.4}
    )
    definition = table[table["claim"] == "definition"]
    assert list(definition["loss"]) == ["dice", "article_dice"]
    assert set(definition["against"]) == {""}
    rows = verdicts.settle(verdicts.of_mechanism(measured, ["article_dice"]))
    table = pd.DataFrame(rows)
    assert "article_dice" in set(table.loc[table["claim"] == "definition", "loss"])
    assert "noise" not in set(table["claim"])  # that reference was not measured


@pytest.fixture
def results(tiny, tmp_path):
    """Planted results of a study with two references."""
    tiny["losses"]["focal"] = {}
    results = write_results(tmp_path / "tiny", tiny | {"reference": BOTH})
    contact = results.study.file(layout.CONTACT)
    contact.mkdir()
    Image.new("RGB", (8, 8)).save(contact / "controlled_1.png")
    (contact / layout.CAPTIONS).write_text("{}")
    return results


def test_a_report_has_a_card_and_a_figure_for_each_reference(results):
    stems = {figure.stem: figure for figure in draw.plan(results)}
    for stem in ("verdicts", "threshold_controlled"):
        _, caption = stems[stem].draw()
        assert "Cross-entropy" in caption
        _, caption = stems[f"{stem}_focal"].draw()
        assert "Focal" in caption
        assert "ross-entropy" not in caption
    draw.run(results, "verdicts_focal")
    html = report.render(results)
    assert "tests each of them against Cross-entropy and Focal" in html
    for name in ("Cross-entropy", "Focal"):
        assert f"Dice is robust to class imbalance (against {name})</a>" in html
    assert html.count('id="claim-imbalance"') == 1
    assert html.count('href="#claim-imbalance"') == 4  # the answer, two cards, and the contents
    frame = next(iter(tables.all_tables(results).values()))
    assert {"Cross-entropy", "Focal"} <= set(frame["reference"])
    (page,) = (p for p in pages.pages(results.study, results.verdicts, []) if p["name"] == "noise")
    focal = results.verdicts.query("claim == 'noise' and loss == 'dice' and against == 'focal'")
    (row,) = page["cards"][1]["rows"]
    assert row["estimate"] == focal.query("threshold == '0.5'")["estimate"].item()
    tuned = focal.query("threshold == 'tuned'").iloc[0]
    assert row["also"] == [f"{pages.TUNED['tuned', 'fixed']}: {pages.result(tuned)}"]


def test_one_reference_is_named_once(tiny, tmp_path):
    results = write_results(tmp_path / "tiny", json.loads(json.dumps(tiny)))
    frame = next(iter(tables.all_tables(results).values()))
    assert "reference" not in frame.columns
    for page in pages.pages(results.study, results.verdicts, []):
        assert [card["against"] for card in page["cards"]] == [""]


def test_a_claim_about_the_reference_itself_has_no_verdict_and_the_report_says_so(tiny, tmp_path):
    losses = {"ce": {"use": "cross_entropy"}, "dice": {}}  # published findings need their names
    tiny["experiments"].pop("imbalance")
    results = write_results(tmp_path / "tiny", tiny | {"losses": losses, "reference": "dice"})
    assert set(results.verdicts["loss"]) == {"ce"}
    contact = results.study.file(layout.CONTACT)
    contact.mkdir()
    (contact / layout.CAPTIONS).write_text("{}")
    draw.run(results, "verdicts")
    html = report.render(results)
    assert 'class="card"' not in html
    assert "No verdict: the study has no experiment for any claim" in html


def test_the_estimate_is_the_loss_minus_its_reference(tiny):
    tiny["losses"]["focal"] = {}
    study = Study(tiny | {"reference": BOTH})
    tp = {"cross_entropy": 5, "focal": 7, "dice": 9}
    table = table_of(study, lambda run, threshold: good(tp[run.loss], 10 - tp[run.loss]))
    table = judged(study, table)
    rows = table[(table["claim"] == "boundary") & (table["threshold"] == "0.5")]
    found = rows.set_index(["loss", "against"])["estimate"]
    dice = {loss: 2 * n / (10 + n) for loss, n in tp.items()}
    assert len(found) == 4
    for (loss, against), value in found.items():
        assert value == pytest.approx(dice[loss] - dice[against], abs=1e-4)
