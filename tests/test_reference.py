"""The documentation says what the code says."""

import re
from pathlib import Path

import pytest
import yaml

from docs import reference, results_page, studies
from experiments.datasets import DATASETS
from experiments.plan.knobs import KNOBS, LABEL_KNOBS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", reference.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_of_a_page_are_those_of_the_code(page):
    text = page.read_text()
    assert reference.filled(text) == text, "run `make docs`"


@pytest.mark.parametrize("name", reference.TABLES)
def test_every_table_has_a_place_and_rows(name):
    places = [p for p in reference.PAGES if re.search(f"<!-- {name} -->\n[|-]", p.read_text())]
    assert places
    assert len(list(reference.TABLES[name]())) > 3


def test_the_schema_is_that_of_the_code():
    assert reference.SCHEMA.read_text() == reference.schema_text(), "run `make docs`"


def test_the_page_of_results_has_the_numbers_of_the_kept_tables():
    assert results_page.PAGE.read_text() == results_page.render(), "run `make docs`"


def test_an_outdated_table_is_renewed_and_other_text_stays():
    page = "before\n<!-- knobs -->\nold\n<!-- /knobs -->\nafter <!-- other -->"
    new = reference.filled(page)
    assert "old" not in new
    assert "| `blur` |" in new
    assert new.startswith("before\n")
    assert new.endswith("\nafter <!-- other -->")


def test_a_step_is_described_by_its_code():
    assert reference.work("experiments.data.fetch").startswith("Download datasets")
    assert reference.work("experiments.data.fetch:run_terms").startswith("Print the licences")


def test_every_knob_that_is_a_number_has_an_axis():
    for name, knob in KNOBS.items():
        assert (knob.axis is not None) == (knob.low is not None), name
        assert knob.acts_on in ("objects", "images", "labels")
    assert "flips" in LABEL_KNOBS


@pytest.mark.parametrize("path", studies.files(), ids=lambda path: path.name)
def test_a_study_begins_with_a_question_and_its_time_is_of_its_runs(path):
    assert studies.question(path).endswith("?")
    runs, seconds = studies.times()[str(path.relative_to(ROOT))]
    assert runs == len(studies.study_of(path).runs), "run `python -m docs.studies`"
    assert seconds > 0


def test_a_study_with_looks_has_the_runs_of_its_first_and_last_look():
    path = ROOT / "configs" / "reference.yaml"
    study, (_, seconds) = studies.study_of(path), studies.times()["configs/reference.yaml"]
    row = next(line for line in studies.table() if "reference.yaml" in line)
    most = len(study.possible)
    assert f"| {len(study.runs):,} to {most:,} |" in row
    assert row.endswith(f"to {studies.duration(seconds * most / len(study.runs))} |")


@pytest.mark.parametrize(
    ("seconds", "words"), [(1320, "22 min"), (5400, "1.5 h"), (3590, "1.0 h"), (41000, "11 h")]
)
def test_durations_in_words(seconds, words):
    assert studies.duration(seconds) == words


def test_every_public_dataset_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/guide/datasets.md").read_text(), re.M)
    assert rows == sorted(DATASETS)


def test_the_citation_has_the_version_of_the_package_and_of_the_latest_change():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "license"} <= set(citation)
    version = citation["version"]
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert latest == version
    package = ROOT / "dicebench" / "__init__.py"  # the distribution's version, if there is one
    if package.is_file():
        assert f'__version__ = "{version}"' in package.read_text()
