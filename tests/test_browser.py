"""The report in a real browser: Debian's chromium, or google-chrome."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from analysis.figures import draw
from analysis.report import report
from experiments import layout
from tests.conftest import TINY
from tests.results import write_results, write_sheet

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not BROWSER, reason="neither chromium nor google-chrome is there")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study of a report on two datasets, with a figure of each kind that is folded or open."""
    config = json.loads(json.dumps(TINY))
    config["datasets"]["other"] = config["datasets"]["controlled"] | {"source": "controlled"}
    results = write_results(tmp_path_factory.mktemp("results") / "tiny", config)
    for name in ("verdicts", "ranking", "imbalance_controlled", "imbalance_other"):
        draw.run(results, name)
    write_sheet(results)
    results.study.file(layout.REPORT).write_text(report.render(results), encoding="utf-8")
    return results.study


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, study):
    """The report in a wide window; `messages` and `requests` are all that the browser reported."""
    page = browser.new_page(viewport=WIDE)
    page.messages, page.requests = [], []
    page.on("console", lambda message: page.messages.append(message.text))
    page.on("pageerror", lambda error: page.messages.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(study.file(layout.REPORT).absolute().as_uri())
    yield page
    page.close()


def table(page, name):
    """Unfold a table and return its locator."""
    page.evaluate("id => document.getElementById(id).open = true", f"table-{name}")
    return page.locator(f"#table-{name} table")


def column(page, name, head):
    """The texts of the visible cells of a table's column."""
    script = """([name, head]) => {
        const table = document.querySelector(`#table-${name} table`);
        const cells = [...table.tHead.rows[0].cells];
        const at = cells.findIndex((cell) => cell.textContent === head);
        const rows = [...table.tBodies[0].rows].filter((row) => row.offsetParent);
        return rows.map((row) => row.cells[at].textContent);
    }"""
    return page.evaluate(script, [name, head])


def test_the_page_reports_no_error_and_asks_for_nothing_else(page):
    assert page.messages == []
    address, *others = page.requests
    assert address.startswith("file:")
    assert [other for other in others if not other.startswith("data:")] == []


@pytest.mark.parametrize("window", [WIDE, NARROW], ids=lambda window: str(window["width"]))
def test_the_page_is_no_wider_than_its_window(page, window):
    page.set_viewport_size(window)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths == [window["width"]] * 2


def test_figures_keep_a_readable_size_in_a_narrow_window(page):
    page.set_viewport_size(NARROW)
    widths = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map((svg) => [svg.clientWidth,"
        " svg.closest('.picture').clientWidth])"
    )
    full = [(own, box) for own, box in widths if own]
    assert full
    assert max(own for own, _ in full) > 600
    assert all(box < 390 for _, box in full)


def test_contents_are_a_bar_in_a_wide_window_and_folded_in_a_narrow_one(page):
    contents = page.locator("#contents ul").first
    assert contents.is_visible()
    page.set_viewport_size(NARROW)
    page.wait_for_function("!document.querySelector('#contents').open")
    page.locator("#contents summary").click()
    assert contents.is_visible()
    page.locator("#contents a[href='#tables']").click()
    page.wait_for_function("!document.querySelector('#contents').open")


def test_links_lead_to_a_part_of_the_page_or_to_a_file_of_the_study(page, study):
    links = page.evaluate("[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((part) => part.id)")
    assert len(ids) == len(set(ids))
    inner = {link[1:] for link in links if link.startswith("#")}
    assert {"tables", "files", "origin", "claims", "claim-imbalance", "table-ranks"} <= inner
    assert inner <= set(ids)
    files = {unquote(link) for link in links if not link.startswith("#")}
    assert "figures/imbalance_other.pdf" in files
    drawn = json.loads((study.file(layout.FIGURES) / layout.CAPTIONS).read_text())
    assert drawn
    assert [file for file in files if not Path(study.folder, file).exists()] == []


def test_a_link_unfolds_its_target(page):
    target = page.locator("#figure-imbalance_other")
    assert not target.is_visible()  # the figures of a dataset are folded
    page.evaluate("location.hash = 'figure-imbalance_other'")
    target.wait_for(state="visible")


def test_every_picture_has_an_alternative_text(page):
    texts = page.evaluate(
        "[...document.querySelectorAll('img, svg')].map((picture) =>"
        " picture.getAttribute('alt') ?? picture.getAttribute('aria-label'))"
    )
    assert len(texts) == 5
    assert all(texts)
    assert any("the hardest level, highest" in text for text in texts)


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_a_heading_sorts_its_table(page, way):
    table(page, "ranks")
    written = column(page, "ranks", "DSC")
    head = page.locator("#table-ranks th", has_text="DSC")

    def press():
        if way == "mouse":
            head.locator("button").click()
        else:
            head.locator("button").focus()
            page.keyboard.press("Enter")

    assert written != sorted(written, key=float)
    for order, reverse in (("ascending", False), ("descending", True)):
        press()
        assert head.get_attribute("aria-sort") == order
        assert column(page, "ranks", "DSC") == sorted(written, key=float, reverse=reverse)
    press()
    assert head.get_attribute("aria-sort") is None
    assert column(page, "ranks", "DSC") == written


def test_numbers_sort_by_value_and_missing_ones_last(page):
    table(page, "verdicts")
    page.locator("#table-verdicts th", has_text="estimate").locator("button").click()
    texts = column(page, "verdicts", "estimate")
    known = [float(text.replace("−", "-")) for text in texts if text != "–"]
    assert known == sorted(known)
    assert min(known) < 0 < max(known)
    assert set(texts[len(known) :]) <= {"–"}


def test_a_filter_acts_on_all_tables_and_figures(page):
    table(page, "ranks")
    table(page, "scores-by-cell-and-loss")
    page.locator("#filters summary").click()
    page.locator("select[data-filter=dataset]").select_option("other")
    page.locator("select[data-filter=loss]").select_option("Dice")
    for name in ("ranks", "scores-by-cell-and-loss"):
        assert set(column(page, name, "dataset")) == {"other"}
        assert set(column(page, name, "loss")) == {"Dice"}
    assert page.locator("#table-ranks .count").text_content() == "4 of 16"
    hidden = page.evaluate(
        "['controlled', 'other'].map((name) =>"
        " document.querySelector(`#figure-imbalance_${name}`).hidden)"
    )
    assert hidden == [True, False]
    page.locator("#filters button[type=reset]").click()
    page.wait_for_function("document.querySelector('#table-ranks .count').textContent === '16'")
    assert set(column(page, "ranks", "dataset")) == {"controlled", "other"}


def test_a_filter_is_chosen_by_keyboard(page):
    table(page, "ranks")
    page.locator("#filters summary").focus()
    page.keyboard.press("Enter")
    page.locator("select[data-filter=dataset]").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.querySelector('#table-ranks .count').textContent !== '16'")
    assert len(set(column(page, "ranks", "dataset"))) == 1


def test_the_style_is_dark_by_the_system_or_by_the_button(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert dark != "rgb(255, 255, 255)"
    page.locator("#theme").click()
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(
        "getComputedStyle(document.querySelector('.picture')).backgroundColor"
    ) == ("rgb(255, 255, 255)")


def test_a_print_has_everything_unfolded_and_no_contents(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#table-ranks table").is_visible()
    assert not page.locator("nav").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#table-ranks table").is_visible()
