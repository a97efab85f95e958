"""The documentation says what the code says."""

from docs import reference, results_page
from experiments.plan.knobs import KNOBS, LABEL_KNOBS


def test_the_readme_and_the_schema_are_those_of_the_code():
    text = reference.README.read_text()
    assert reference.readme(text) == text, "run `make docs`"
    assert reference.SCHEMA.read_text() == reference.schema_text(), "run `make docs`"


def test_the_page_of_results_has_the_numbers_of_the_kept_tables():
    assert results_page.PAGE.read_text() == results_page.render(), "run `make docs`"


def test_every_knob_that_is_a_number_has_an_axis():
    for name, knob in KNOBS.items():
        assert (knob.axis is not None) == (knob.low is not None), name
        assert knob.acts_on in ("objects", "images", "labels")
    assert "flips" in LABEL_KNOBS
