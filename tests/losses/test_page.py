"""What the page of the losses is made of."""

import pytest

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


def test_the_article_at_a_perfect_match():
    for n, value in page.article_at_perfect_match():
        assert value == pytest.approx(1 - 1 / n, abs=1e-12)


def test_the_articles_gradient_beside_dices():
    """At n = 4: I = 2, sum p = 2 + 4092 / 100, so Dice's is 4 (2 S - 4) / S^2 with S the size."""
    n, article, dice = page.article_gradient_by_size((4,))[0]
    p = 2 + 0.01 * 4092
    size = p + n
    assert dice == pytest.approx(n * (2 * size - 4) / size**2, rel=1e-9)
    square = p**2 + n**2
    assert article == pytest.approx(n * (2 * square - 4 * 2 * p) / square**2, rel=1e-9)


def test_limiting_cases_tell_right_from_wrong():
    for name in set(LOSSES) - {"article_dice"}:
        perfect, nothing, invented, everything, off, missed = page.limiting_cases(name)
        assert perfect < off < everything
        assert nothing < invented
        assert nothing < missed
