"""The answer: sentences, tables, marks and lines from a study's tables, as page, text and log."""

import html.parser
import re

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from analysis import comparisons
from analysis.comparisons import BETTER, SUITE, WORSE
from analysis.report import pages, report, sure
from analysis.report.answer import MARKS, answer, ordered
from analysis.scores import forecast
from analysis.scores.statistics import LEVEL, NAN, Estimate, correct
from experiments.plan.stamps import Stamp
from experiments.plan.study import Study
from tests.conftest import write_folder
from tests.results import write_results
from tests.tables import found, good, lose, planted, results_of, table_of

OWN = {"use": "tests.user_losses:MyLoss"}
AS_IS, RARE, MIXED, FLIPPED = "as is", "rare foreground", "small beside large", "flipped labels"
BLURRED = "blurred or misdrawn boundaries"


def by_stress(best, others=50):
    """Scores: 80 for the best loss of a stress, 60 for all losses of other stresses."""

    def scores(run, threshold):
        if run.stress.name not in best:
            return 60
        return 80 if run.loss == best[run.stress.name] else others

    return scores


@pytest.fixture
def four(tiny):
    tiny["seeds"] = 4
    tiny["losses"] = {"cross_entropy": {}, "dice": {}, "dice_ce": {}}
    return tiny


BEST = {"fraction-0.03_size-small": "dice", "flips-0.3": "cross_entropy"}


def chosen(table, **where):
    return table[np.all([table[column] == value for column, value in where.items()], axis=0)]


def sentences(results, part=0, threshold=0):
    return dict(answer(results).parts[part].tables[threshold].sentences)


def test_a_sentence_has_the_advice_and_its_numbers_from_the_recommendation(four):
    results = found(Study(four), planted(by_stress(BEST)))
    rows = chosen(results.recommendation, situation=RARE, threshold="0.5").set_index("loss")
    score = {loss: f"{value:.3f}"[1:] for loss, value in rows["score"].items()}
    bound = np.ceil(rows.loc["dice", "bound"] * 1000) / 1000
    assert sentences(results)["Rare foreground (3% of pixels)"] == (
        f"Dice ({score['dice']}); Cross-entropy ({score['cross_entropy']}) is worse. "
        f"Another loss is at most {max(bound, 0.001):.3f} better than Dice.".replace("0.", ".", 1)
    )
    flipped = sentences(results)["Flipped labels (30%)"]
    assert flipped.startswith("Cross-entropy (.8")
    assert "; not Dice or Dice + CE (.4" in flipped or "; not Dice or Dice + CE (.5" in flipped


def test_situations_without_a_difference_are_in_one_sentence(four):
    said = sentences(found(Study(four), planted(by_stress(BEST))))
    assert list(said) == ["Rare foreground (3% of pixels)", "Flipped labels (30%)", "Otherwise"]
    words = said["Otherwise"]
    assert words.startswith("not clear which loss is better (mean DSC: as is .")
    assert f"; {MIXED} ." in words
    assert f"; {BLURRED} ." in words
    said = sentences(found(Study(four), planted(lambda *_: 60)))
    assert list(said) == ["All situations"]


def test_a_reference_without_a_clear_difference_is_not_called_worse(four):
    four["seeds"] = 2  # t of one degree: nothing is clear
    scores = planted(lambda run, _: 80 if run.loss == "dice" else 70, spread=5.0)
    results = found(Study(four), scores)
    assert set(results.comparisons["told"]) == {""}
    said = sentences(results)
    assert any("Cross-entropy (.7" in text for text in said.values())
    assert not any("is worse" in text for text in said.values())
    assert all("is not clearly worse" in t for t in said.values() if "; Cross-entropy" in t)


def test_marks_are_paired_t_tests_with_holms_correction_of_their_row(four):
    """Generated images: each seed has its own, so a test is of the seeds' paired means."""
    four["seeds"] = 6
    best = {"fraction-0.03_size-small": "dice", "none": "dice_ce"}
    study = Study(four)
    results = found(study, planted(by_stress(best, others=78), spread=2.0))
    compared, marks = results.comparisons, set()
    seeds = {
        (about["situation"], about["threshold"]): np.mean(
            [np.nanmean(level.scores, axis=1) for level in levels["controlled"]], axis=0
        )
        for about, levels in comparisons.measured(results)
    }
    for (threshold, loss), rows in compared[compared["against"] != ""].groupby(
        ["threshold", "loss"]
    ):
        first, second = (list(study.losses).index(name) for name in (loss, "cross_entropy"))
        means = [seeds[situation, threshold] for situation in rows["situation"]]
        p_values = [stats.ttest_rel(each[:, first], each[:, second]).pvalue for each in means]
        assert rows["p"].to_numpy() == pytest.approx(p_values)
        corrected = correct(p_values)
        assert rows["p_corrected"].to_numpy() == pytest.approx(corrected)
        expected = np.where(rows["value"] > 0, BETTER, WORSE)
        assert rows["told"].tolist() == list(np.where(corrected <= LEVEL, expected, ""))
        marks |= set(rows["told"])
    assert {BETTER, ""} <= marks
    for table, threshold in zip(answer(results).parts[0].tables, ("0.5", "tuned"), strict=True):
        for row in table.rows:
            own = chosen(compared, threshold=threshold, loss=row.loss, against="cross_entropy")
            told = own.set_index("situation")["told"].to_dict()
            shown = {s: c.mark for (s, _), c in zip(table.columns, row.cells, strict=True)}
            assert shown == {s: MARKS.get(told.get(s), "") for s in shown}


def test_equal_losses_and_missing_seeds_have_no_mark(four):
    study = Study(four)
    table = table_of(study, lambda run, _: good(8, 2))
    table[["tp", "fn"]] = 8, 2
    equal = comparisons.comparisons(results_of(study, table))
    rows = equal[equal["against"] != ""]
    assert rows["p"].eq(1).all()
    assert rows["told"].eq("").all()
    assert rows["detectable"].isna().all()

    def lost(table):
        for seed in (0, 1):
            table = lose(table, "failed", {"loss": "dice", "seed": seed})
        return table

    few = found(study, planted(by_stress(BEST), spread=0.01), lost).comparisons
    assert chosen(few, loss="dice", against="cross_entropy")["told"].eq("").all()
    assert chosen(few, loss="dice", against="cross_entropy")["n"].eq(2).all()
    assert chosen(few, loss="dice_ce", situation=FLIPPED)["told"].isin(["", WORSE]).all()


def test_one_seed_gives_estimates_without_intervals_marks_or_verdicts(four):
    four["seeds"] = 1
    results = found(Study(four), planted(by_stress(BEST)))
    shown = answer(results)
    lines = " ".join(shown.log)
    assert "±" not in report.as_text(results.study, shown)
    assert "1 seed on generated images: estimates only, no intervals, no verdicts" in lines
    assert "One seed: no intervals, no marks" in shown.note
    cells = [cell for table in shown.parts[0].tables for row in table.rows for cell in row.cells]
    assert {cell.half + cell.mark for cell in cells} == {""}
    assert "greatest score: Dice (.8" in sentences(results)["Rare foreground (3% of pixels)"]
    verdicts = {line.verdict for line in shown.claims}
    assert verdicts == {"no verdict", "not measured in this study"}
    assert all("no interval" in line.text for line in shown.claims if line.verdict == "no verdict")
    for word in ("undecided", "supported", "lose at most", "probability"):
        assert word not in lines
    for page in pages.pages(results.study, results.verdicts, []):
        assert {card["verdict"] for card in page["cards"]} <= verdicts
        assert not any("–" in row["sentence"] for row in page["lines"])


def test_one_seed_on_several_datasets_gives_the_mean_of_their_estimates(four, in_tmp):
    for name in "ab":
        write_folder(in_tmp / name, 8)
    folders(four, "ab")["seeds"] = 1
    results = found(Study(four), planted(by_stress({"flips-0.3": "cross_entropy"})))
    rows = chosen(results.verdicts, claim="noise", loss="dice", threshold="0.5")
    each = rows.loc[rows["dataset"].isin(["a", "b"]), "estimate"]
    line = next(line for line in answer(results).claims if line.claim == "noise")
    assert line.verdict == "no verdict"
    assert line.estimate == f"+{each.mean():.3f} DSC, no interval"


def test_ties_share_the_first_rank(four):
    study = Study(four)
    table = table_of(study, lambda run, _: good(8, 2))
    table[["tp", "fn"]] = 8, 2
    results = found(study, lambda *_: good(8, 2), lambda _: table)
    assert all(c.best for row in answer(results).parts[0].tables[0].rows for c in row.cells)


def test_losses_from_outside_come_first_with_a_line_per_reference(four):
    four["losses"] = {"dice": {}, "cross_entropy": {}, "my_loss": OWN, "dice_ce": {}}
    four["reference"] = ["cross_entropy", "dice"]
    study = Study(four)
    assert ordered(study) == ["my_loss", "cross_entropy", "dice", "dice_ce"]

    def scores(run, threshold):
        flipped = run.stress.name == "flips-0.3" and run.loss in ("my_loss", "dice")
        return 30 if flipped else 70

    results = found(study, planted(scores, spread=0.2))
    (part,) = answer(results).parts
    assert [row.loss for row in part.tables[0].rows] == ordered(study)
    assert [row.kind for row in part.tables[0].rows] == ["own", "reference", "reference", ""]
    own = dict(part.own)
    rows = chosen(results.comparisons, loss="my_loss", threshold="0.5", situation=FLIPPED)
    row = chosen(rows, against="cross_entropy").iloc[0]
    value, low, high = (f"−{-row[name]:.3f}" for name in ("value", "low", "high"))
    assert own["my_loss against Cross-entropy"] == (
        f"worse: flipped labels {value} [{low}, {high}]; no clear difference elsewhere."
    )
    words = own["my_loss against Dice"]
    assert words.startswith("no clear difference in any situation; largest difference: ")


def folders(tiny, names, sources=()):
    sizes = {"train": 2, "val": 2, "test": 4}
    tiny["datasets"] = {name: {"folder": name} | sizes for name in names}
    for name, source in dict(sources).items():
        tiny["datasets"][name]["source"] = source
    tiny["experiments"] = {
        "plain": {"levels": {"x": {}}},
        "noise": {"knob": "flips", "values": [0, 0.3]},
    }
    return tiny


def test_the_mean_of_public_datasets_comes_first_and_each_apart(four, in_tmp):
    for name in "ab":
        write_folder(in_tmp / name, 8)
    folders(four, "ab", {"a": "wbc", "b": "dsb2018"})
    four["datasets"]["controlled"] = {"train": 2, "val": 2, "test": 4}
    results = found(Study(four), planted(by_stress({"flips-0.3": "cross_entropy"})))
    shown = answer(results)
    assert [part.name for part in shown.parts] == ["these 2 public datasets", "generated images"]
    assert [part.name for part in shown.single] == ["a", "b"]
    mean = chosen(results.comparisons, scope=SUITE, loss="dice", threshold="0.5", against="")
    each = [
        chosen(results.comparisons, scope=scope, loss="dice", threshold="0.5", against="")
        for scope in "ab"
    ]
    assert mean["value"].to_numpy() == pytest.approx(np.mean([e["value"] for e in each], axis=0))
    spans = [part.tables[0].rows[1].cells[0].half for part in (shown.parts[0], *shown.single)]
    assert spans[0] < max(spans[1:])
    noise = next(line for line in shown.claims if line.claim == "noise")
    assert noise.where == "these datasets"
    assert "; generated images: " in noise.text
    assert shown.sure[0] == "4 seeds on 2 public datasets and generated images."


def test_a_folder_of_ones_own_is_called_your_images(four, in_tmp):
    write_folder(in_tmp / "tiles", 8)
    results = found(Study(folders(four, ["tiles"])), planted(lambda *_: 60))
    shown = answer(results)
    assert [part.name for part in shown.parts] == ["your images (tiles)"]
    assert shown.sure[0] == "4 seeds on your images (tiles)."
    assert shown.single == []


def test_generated_images_alone_are_called_so(four):
    shown = answer(found(Study(four), planted(lambda *_: 60)))
    assert shown.sure[0].endswith("generated images; real images are not in this study.")
    assert shown.sure[-1] == sure.ELSEWHERE


@pytest.mark.parametrize(("df", "level"), [(2, 0.05), (3, 0.01), (7.5, 0.00625), (100, 0.05)])
def test_a_detectable_difference_is_found_with_the_given_power(df, level):
    size = forecast.detectable(Estimate(0.3, 0.02, df, 3), level) / 0.02
    bound = special.stdtrit(df, 1 - level / 2)
    power = stats.nct.sf(bound, df, size) + stats.nct.cdf(-bound, df, size)
    assert power == pytest.approx(forecast.POWER, abs=1e-3)
    assert np.isnan(forecast.detectable(Estimate(0.3, NAN, NAN, 1), level))


def test_how_sure_gives_the_detectable_differences_of_the_first_reference(four):
    results = found(Study(four), planted(by_stress(BEST)))
    rows = chosen(results.comparisons, threshold="0.5", against="cross_entropy")
    low, high = (
        f"{value:.3f}"[1:] for value in (rows["detectable"].min(), rows["detectable"].max())
    )
    assert f"{low} to {high} by loss and situation" in answer(results).sure[1]


class Text(html.parser.HTMLParser):
    """The words of the section `answer` of a page, with the rows of its tables."""

    def __init__(self):
        super().__init__()
        self.depth, self.words = 0, []

    def handle_starttag(self, tag, attrs):
        if ("id", "answer") in attrs or (self.depth and tag == "section"):
            self.depth += 1

    def handle_endtag(self, tag):
        self.depth -= bool(self.depth) and tag == "section"

    def handle_data(self, data):
        if self.depth:
            self.words += data.split()


def test_the_page_and_the_text_say_the_same(four, tmp_path):
    four["losses"]["my_loss"] = OWN
    four["reference"] = ["cross_entropy", "dice"]
    results = write_results(tmp_path, four)
    for name in ("figures", "contact"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "captions.json").write_text("{}")
    parser = Text()
    parser.feed(report.render(results))
    shown = answer(results)
    text = report.as_text(results.study, shown)
    end = parser.words.index("Least")  # the details of the recommendation are of the page only
    lines = text.partition("\n## ")[2].splitlines()
    lines = [line.replace("|", " ") if line.startswith("|") else line for line in lines]
    body = [re.sub(r"^[-#]+ |\*\*|-{3}", " ", line) for line in lines]
    assert parser.words[:end] == " ".join(body).split()
    for line in shown.log:
        assert line.split(": ")[-1] in text
    assert len(shown.parts[0].own) == 2


def test_error_rates_are_those_of_a_calibration_of_the_present_runs(four, tmp_path, monkeypatch):
    results = write_results(tmp_path, four)
    rows = {"claim": ["", "", "noise", ""], "looks": ["", "", "", "3 6 12"]}
    rows |= {
        "effect": ["below", "smallest", "below", "below"],
        "false_rate": [0.02, 0.04, 0.3, 0.2],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "calibration.csv", index=False)
    assert sure.error_rates(results) == sure.ELSEWHERE  # no stamp: of other runs
    monkeypatch.setattr(Stamp, "void", lambda stamp: None)
    assert "2.0% to 4.0% (calibration.csv)" in sure.error_rates(results)
