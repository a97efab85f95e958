"""The article's formula, by its closed form and by the gradients worked out by hand."""

import pytest

from experiments import mechanism


@pytest.fixture(scope="module")
def measured():
    measured = mechanism.measure({name: name for name in mechanism.COMPARED})
    return measured.set_index(["quantity", "loss", "n"])["value"]


def test_a_perfect_match_is_0_but_for_the_articles_formula(measured):
    for n in mechanism.PERFECT_N:
        assert measured["perfect", "article_dice", n] == pytest.approx(1 - 1 / n, abs=1e-6)
        for loss in ("cross_entropy", "dice", "squared_dice"):
            assert measured["perfect", loss, n] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("n", mechanism.GRADIENT_N)
def test_gradients_by_hand(measured, n):
    """I = n / 2; for Dice dL/dp = 2 (S - I) / S^2 on the object, with S = sum p + n."""
    predicted = 0.5 * n + 0.01 * (64 * 64 - n)
    size = predicted + n
    assert measured["gradient", "dice", n] == pytest.approx(n * (2 * size - n) / size**2, rel=1e-5)
    square = predicted**2 + n**2
    article = n * abs(2 * square - 2 * n * predicted) / square**2
    assert measured["gradient", "article_dice", n] == pytest.approx(article, rel=1e-5)
