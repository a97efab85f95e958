"""What the page of the losses is made of."""

from losses import LOSSES, page
from losses._base import options
from losses.overlap import OverlapLoss


def test_every_loss_has_its_entry():
    entries = list(page.entries())
    assert [e["name"] for e in entries] == list(LOSSES)
    for entry in entries:
        assert entry["family"] in page.FAMILIES
        assert entry["formula"]
        assert entry["about"]
        assert entry["minimiser"]


def test_every_overlap_option_is_explained():
    assert set(page.overlap_options()) == set(options(OverlapLoss)) - {"smooth_in"}


def test_limiting_cases_tell_right_from_wrong():
    for name in set(LOSSES) - {"article_dice"}:
        perfect, nothing, invented, everything, off, missed = page.limiting_cases(name)
        assert perfect < off < everything
        assert nothing < invented
        assert nothing < missed
