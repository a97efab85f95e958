"""The page of a report: tables with labels, contents, alternative texts, tooltips, contrast."""

import copy
import html
import itertools
import re
import xml.dom.minidom

import pandas as pd
import pytest

from analysis.claims import Panel
from analysis.figures import draw, hover, mechanism, style
from analysis.report import measured, report, sheets, tables
from analysis.report.alternative import alternative
from analysis.report.columns import meaning
from analysis.report.contents import contents, titles
from analysis.report.embedded import inlined
from analysis.report.plain import Line
from experiments import layout
from tests.results import write_results

COLOUR = re.compile(r"--(\w+): (?:light-dark\((#\w{6}), (#\w{6})\)|(#\w{6}));")
TEXT, GROUNDS = ("ink", "quiet"), ("ground", "raised", "shade")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    from tests.conftest import TINY

    return write_results(tmp_path_factory.mktemp("results") / "tiny", copy.deepcopy(TINY))


def frame_of(results, words):
    frames = tables.all_tables(results)
    return next(frame for title, frame in frames.items() if title.startswith(words))


def test_tables_have_the_labels_of_experiments_and_no_name_of_a_path(results):
    frame = frame_of(results, "Scores by cell")
    pairs = list(dict.fromkeys(zip(frame["experiment"], frame["level"], strict=True)))
    assert pairs == [
        ("imbalance", "fraction 0.3"),
        ("imbalance", "fraction 0.03"),
        ("object size", "large"),
        ("object size", "mixed"),
        ("boundary", "sharp"),
        ("boundary", "jittered"),
        ("noise", "flips 0"),
        ("noise", "flips 0.3"),
    ]
    for title, frame in tables.all_tables(results).items():
        assert "stress" not in frame.columns, title
        for name in results.study.stresses("controlled"):
            assert not (frame == name).any(axis=None), (title, name)


def test_levels_that_share_their_models_have_equal_rows(results):
    frame = frame_of(results, "Scores by cell")
    rows = [
        frame[frame["level"] == level].drop(columns=measured.LEVEL).reset_index(drop=True)
        for level in ("large", "sharp", "flips 0")
    ]
    assert len(rows[0]) == 2 * 2  # losses, thresholds
    for other in rows[1:]:
        pd.testing.assert_frame_equal(rows[0], other)


def test_constant_columns_are_named_in_the_caption():
    frame = pd.DataFrame({"loss": ["Dice", "CE"], "dataset": "wbc", "floor": "", "DSC": ["1", "0"]})
    made = sheets.sheet("Scores: means", frame)
    assert [head.name for head in made.heads] == ["loss", "DSC"]
    assert made.note == "All rows: dataset wbc. No value in any row: floor."
    assert made.constant == {"dataset": "wbc"}
    assert made.rows == [("Dice", "1"), ("CE", "0")]
    alone = sheets.sheet("Scores: means", frame.head(1))
    assert len(alone.heads) == 4


def test_numbers_are_apart_from_texts():
    for text in ("0.5", "−0.123", "+.2", "−0.1 to +0.2", "3 of 4", "±0.05", "–", "", "exact"):
        assert sheets.NUMBER.fullmatch(text), text
    for text in ("-0.1", "tuned", "0.5 px and more", "fraction 0.3"):
        assert not sheets.NUMBER.fullmatch(text), text


def test_every_heading_has_a_meaning(results):
    for title, frame in tables.all_tables(results).items():
        for heading in frame.columns:
            assert meaning(heading), (title, heading)


def test_a_filter_offers_the_values_of_all_tables(results):
    offered = sheets.filters(sheets.sheets(tables.all_tables(results)))
    assert offered["loss"] == ["Dice", "Cross-entropy"]
    assert offered["threshold"] == ["0.5", "tuned"]
    assert "dataset" not in offered  # there is one


def test_contents_list_the_parts_that_are_there():
    page = '<h2 id="answer">A</h2><h2 id="losses">L</h2><h3 class="x" id="loss-my_loss">M</h3>'
    titles = {"loss-my_loss": "my_loss", "loss-dice": "Dice"}
    assert contents(page, titles) == [
        ("answer", "Which loss, when", []),
        ("losses", "Losses", [("loss-my_loss", "my_loss", [])]),
    ]


def test_the_contents_give_the_sign_of_each_verdict(results):
    line = Line("noise", "✓", "supported", "Noise costs Dice more")
    assert titles(results.study, [], [line])["claim-noise"].startswith("✓ ")


def test_an_alternative_text_names_the_highest_and_the_lowest_loss(results):
    rows = results.estimates
    own = rows[(rows["experiment"] == "noise") & (rows["metric"] == "dice") & (rows["level"] != "")]
    own = own[own["threshold"] == "0.5"]
    hardest = own.groupby("level")["value"].mean().idxmin()
    values = own[own["level"] == hardest].set_index("loss")["value"]
    figure = {"name": "noise_controlled", "kind": "sweep", "caption": "Noise on controlled. More."}
    figure |= {"experiment": "noise", "dataset": "controlled"}
    text = alternative(results, figure)
    assert text.startswith("Noise on controlled, mean Dice score at threshold 0.5: at flips ")
    assert f"at flips {hardest}, the hardest level" in text
    assert f"highest {style.name(values.idxmax())} ({values.max():.2f})" in text
    assert f"lowest {style.name(values.idxmin())} ({values.min():.2f})" in text


def test_the_alternative_text_of_a_card_names_the_largest_difference(results):
    figure = {"name": "card_dice", "kind": "card", "caption": "Dice. More.", "loss": "dice"}
    text = alternative(results, figure)
    rows = results.estimates
    rows = rows[(rows["metric"] == "dice") & (rows["threshold"] == "0.5") & (rows["level"] != "")]
    wide = rows.pivot_table(
        index=["experiment", "level"], columns="loss", values="value", sort=False
    )
    largest = (wide["dice"] - wide["cross_entropy"]).abs().max()
    assert text.startswith("Dice minus Cross-entropy, Dice score: largest difference ")
    assert f"{largest:.3f} in " in text
    alone = alternative(results, figure | {"loss": "cross_entropy"})
    assert alone == "Dice."  # there is no other reference


def test_every_kind_of_figure_has_an_alternative_text(results):
    style.use()
    for planned in draw.plan(results):
        figure = {"name": planned.stem, "kind": planned.kind, "caption": "C. D."} | planned.about
        if planned.kind == "maps":
            continue  # the study has none
        assert alternative(results, figure), planned.stem
    other = {"name": "x", "kind": "other", "caption": "Any figure on x. More."}
    assert alternative(results, other) == "Any figure on x."


def titles_of(results, figure):
    draw.run(results, figure)
    path = results.study.file(layout.FIGURES) / f"{figure}.svg"
    nodes = xml.dom.minidom.parse(str(path)).getElementsByTagName("title")
    return [node.firstChild.data for node in nodes if node.parentNode.tagName == "g"]


def test_points_have_their_numbers_as_titles(results):
    titles = titles_of(results, "noise_controlled")
    rows = results.estimates
    rows = rows[(rows["experiment"] == "noise") & (rows["level"] == "0.3")]
    rows = rows[(rows["metric"] == "dice") & (rows["threshold"] == "tuned")]
    row = rows[rows["loss"] == "dice"].iloc[0]
    point = (row["value"], max(row["low"], 0), min(row["high"], 1))
    assert hover.words("Dice, 0.3", point, 2) in titles
    assert len(titles) == 3 * 2 * 2  # panels, losses, levels


def test_points_of_a_mechanism_have_their_exact_values_as_titles(tmp_path):
    values = pd.DataFrame({"dice": [0.25, -0.5]}, index=[1.0, 2.0])
    figure, axes = style.subplots(1, 1, (3, 2))
    mechanism.draw_panel(axes[0, 0], values, Panel("q", "x", "y"))
    hover.save_svg(figure, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "<title>Dice, 1: 0.25</title>" in text
    assert "<title>Dice, 2: −0.5</title>" in text


def test_a_group_with_other_markers_than_texts_has_no_titles():
    svg = '<g id="a"><g><use x="1"/><use x="2"/></g></g>'
    assert hover.titled(svg, "a", ["one"]) == svg
    assert hover.titled(svg, "a", ["one", "two"]).count("<title>") == 2


def test_ids_of_two_figures_do_not_clash_and_texts_stay():
    svg = (
        '<?xml version="1.0"?><svg viewBox="0 0 1 1"><defs><path id="m"/></defs>'
        '<use href="#m" clip-path="url(#p)"/><text>id="m"</text></svg>'
    )
    made = inlined(svg, "f", "A & B")
    assert '<path id="f--m"/>' in made
    assert '<use href="#f--m" clip-path="url(#f--p)"/>' in made
    assert '<text>id="m"</text>' in made
    assert 'aria-label="A &amp; B"' in made


def test_minus_is_one_sign(results):
    """In all texts of the page; names of files and of the configuration are code."""
    style.use()
    for name in ("verdicts", "noise_controlled"):
        draw.run(results, name)
    contact = results.study.file(layout.CONTACT)
    contact.mkdir(exist_ok=True)
    (contact / layout.CAPTIONS).write_text("{}")
    page = report.render(results)
    page = re.sub(r"<(style|script|pre|code)\b.*?</\1>", "", page, flags=re.DOTALL)
    texts = html.unescape(" ".join(re.findall(r">([^<]+)<", page)))
    assert "−0." in texts
    assert re.findall(r"(?<![\w.)])[-–]\.?\d\S*| - \S+", texts) == []


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_all_texts_have_enough_contrast_in_light_and_dark():
    css = (report.TEMPLATES / "style.css").read_text()
    found = {name: [a or c, b or c] for name, a, b, c in COLOUR.findall(css)}
    assert {*TEXT, *GROUNDS} <= set(found)
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", css)) == {*itertools.chain(*found.values())}
    used = set(re.findall(r"(?<![-\w])color: ([^;]+);", css))
    assert used <= {"inherit", *(f"var(--{name})" for name in TEXT)}
    grounds = [
        re.findall(r"var\(--(\w+)\)", x) for x in re.findall(r"background: (?!none)([^;]+);", css)
    ]
    assert all(grounds)
    assert {*itertools.chain(*grounds)} == {"paper", *GROUNDS}
    for text, ground, mode in itertools.product(TEXT, GROUNDS, (0, 1)):
        light, dark = sorted(map(luminance, (found[text][mode], found[ground][mode])))
        assert (dark + 0.05) / (light + 0.05) >= 4.5, (text, ground, mode)
