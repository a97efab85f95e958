"""The content of the page of the losses."""

import pytest

from docs import losses_page as page
from losses import LOSSES
from losses._options import options
from losses.overlap import OverlapLoss


def test_every_loss_has_its_entry():
    entries = list(page.entries())
    assert [e["name"] for e in entries] == list(LOSSES)
    for entry in entries:
        assert entry["family"]
        assert entry["formula"]
        assert entry["about"]
        assert entry["minimiser"]


def test_a_family_is_headed_by_its_module():
    headings = {e["name"]: e["family"] for e in page.entries()}
    assert headings["dice"] == "Overlap: a formula in an image's sums"
    assert len(set(headings.values())) == 6


def test_the_page_lists_every_loss_once():
    text = "\n".join(page.markdown())
    for name in LOSSES:
        assert text.count(f"### {name} (") == 1


def test_every_overlap_option_is_explained():
    assert set(page.overlap_options()) == set(options(OverlapLoss)) - {"smooth_in"}


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "article_dice"])
def test_limiting_cases_have_the_right_order(name):
    perfect, nothing, invented, everything, off, missed = page.limiting_cases(name)
    assert perfect < off < everything
    assert nothing < invented
    assert nothing < missed
