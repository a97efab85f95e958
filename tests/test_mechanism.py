"""The article's formula, by its closed form and by the gradients worked out by hand."""

import pytest

from experiments import mechanism
from losses import build


@pytest.fixture(scope="module")
def measured():
    return mechanism.measure().set_index(["quantity", "loss", "n"])["value"]


def test_a_perfect_match_is_0_but_for_the_articles_formula(measured):
    for n in mechanism.PERFECT_N:
        assert measured["perfect", "article_dice", n] == pytest.approx(1 - 1 / n, abs=1e-9)
        for loss in ("cross_entropy", "dice", "squared_dice"):
            assert measured["perfect", loss, n] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", mechanism.GRADIENT_N)
def test_gradients_by_hand(n):
    """dL/dp on the object is a constant there; dL/dlogit = p (1 - p) dL/dp, p = 1/2."""
    predicted = 0.5 * n + 0.01 * (64 * 64 - n)
    overlap = 0.5 * n
    dice = 2 * (predicted + n - overlap) / (predicted + n) ** 2
    size = predicted**2 + n**2
    article = 2 * (size - 2 * predicted * overlap) / size**2
    assert mechanism.gradient(build("dice"), n) == pytest.approx(n * dice / 4, rel=1e-9)
    assert mechanism.gradient(build("article_dice"), n) == pytest.approx(
        n * abs(article) / 4, rel=1e-9
    )
