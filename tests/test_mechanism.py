"""What losses do without training, by closed forms and by gradients worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from experiments.plan.study import Study
from experiments.runs import mechanism

N = mechanism.SIDE**2


@pytest.fixture(scope="module")
def measured():
    rows = mechanism.table({name: mechanism.measure(name, name) for name in mechanism.COMPARED})
    assert rows["value"].notna().all()
    return {key: group.set_index("x")["value"] for key, group in rows.groupby(["quantity", "loss"])}


def test_a_perfect_match_is_0_but_for_the_articles_formula(measured):
    for n, value in measured["perfect", "article_dice"].items():
        assert value == pytest.approx(1 - 1 / n, abs=1e-6)
    for loss in ("cross_entropy", "dice", "squared_dice"):
        assert measured["perfect", loss].to_numpy() == pytest.approx(0, abs=1e-7)


def test_an_objects_gradient_by_hand(measured):
    """I = n / 2; for Dice dL/dp = 2 (S - I) / S^2 on the object, with S = sum p + n."""
    for n in measured["gradient", "dice"].index:
        predicted = 0.5 * n + 0.01 * (N - n)
        size = predicted + n
        dice = n * (2 * size - n) / size**2
        assert measured["gradient", "dice"][n] == pytest.approx(dice, rel=1e-4)
        square = predicted**2 + n**2
        article = n * abs(2 * square - 2 * n * predicted) / square**2
        assert measured["gradient", "article_dice"][n] == pytest.approx(article, rel=1e-4)


def test_foregrounds_share_is_f_for_cross_entropy_and_half_for_dice(measured):
    """At p = 1/2, S = N (1/2 + f): Dice pulls at foreground with S - I and at background with I,
    I = f N / 2; of the total that is (1 + f) / 2."""
    for f, value in measured["foreground_share", "cross_entropy"].items():
        assert value == pytest.approx(f, rel=1e-4)
    for f, value in measured["foreground_share", "dice"].items():
        assert value == pytest.approx((1 + f) / 2, rel=1e-4)


def test_noisy_labels_share_of_cross_entropy_by_hand(measured):
    """|p - y| is 0.9 at flipped labels and 0.1 at the others."""
    for rate, value in measured["noisy_share", "cross_entropy"].items():
        flips = [(np.random.default_rng(seed).random((64, 64)) < rate).mean() for seed in range(5)]
        expected = np.mean([0.9 * e / (0.9 * e + 0.1 * (1 - e)) for e in flips])
        assert value == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_keeps_the_size_of_a_calibrated_prediction_and_dice_does_not(measured):
    """dL/dp of Dice has the sign of d - 2 y: in expectation (d - 2 g) / sum w E|d - 2 y|."""
    assert measured["size_pull", "cross_entropy"].max() < 0.05
    f = round(0.06 * N) / N
    for e, value in measured["size_pull", "dice"].items():
        g = f * (1 - e) + (1 - f) * e
        d = (f * (1 - e) ** 2 + (1 - f) * e**2) / g
        assert value == pytest.approx(abs(d - 2 * g) / (g * (2 - d) + (1 - g) * d), abs=0.04)


def test_pixels_of_small_and_large_objects_are_treated_alike_by_sums_over_pixels(measured):
    for loss in mechanism.COMPARED:
        values = measured["small_over_large", loss].to_numpy()
        assert values == pytest.approx(1, rel=1e-3), loss


def test_a_disk_is_the_sharper_the_more_of_the_pull_lies_at_its_boundary(measured):
    for loss in ("cross_entropy", "dice"):
        shares = measured["boundary_share", loss]
        assert (np.diff(shares) < 0).all()
        rings = measured["by_distance", loss]
        assert abs(rings.idxmax()) <= 1


def test_a_loss_that_cannot_be_measured_has_empty_values():
    measured = mechanism.measure("raises", {"use": "tests.user_losses:Raises"})
    rows = mechanism.table({"raises": measured})
    assert set(rows["quantity"]) == set(mechanism.MEASURES)
    assert rows["value"].isna().all()


def test_a_custom_loss_that_dies_loses_its_own_values_only(tiny, in_tmp, caplog):
    tiny["timeout"] = {"step": 6}
    names = ("Segfaults", "Exits", "Hangs", "SetsDoubleDefault", "Plain")
    tiny["losses"] |= {name: {"use": f"tests.hostile_losses:{name}"} for name in names}
    study = Study(tiny)
    mechanism.run(study)
    rows = pd.read_csv(study.file("mechanism.csv"))
    measured = rows.groupby("loss", sort=False)["value"].apply(lambda values: values.notna().all())
    died = ["Segfaults", "Exits", "Hangs"]
    assert list(measured.index[~measured]) == died
    for name, reason in zip(died, ("signal 11", "SystemExit", "timeout"), strict=True):
        assert f"{name} is not measured: its call ended by {reason}" in caplog.text
    own = rows[rows["loss"].isin(mechanism.COMPARED)].reset_index(drop=True)
    alone = mechanism.table({name: mechanism.measure(name, name) for name in mechanism.COMPARED})
    pd.testing.assert_frame_equal(own, alone)
    with np.load(study.file("mechanism_maps.npz")) as maps:
        assert {f"loss {name}" for name in ("dice", "Plain")} < set(maps)
        assert "loss Exits" not in maps


def test_a_custom_loss_has_the_same_values_in_a_process_of_its_own():
    spec = {"use": "tests.user_losses:MyLoss", "weight": 3}
    alone = mechanism.measure_custom("mine", spec, 100)
    here = mechanism.measure("mine", spec)
    assert mechanism.table({"mine": alone}).to_csv() == mechanism.table({"mine": here}).to_csv()
    assert alone["map"] == here["map"]


def test_every_quantity_is_defined_by_its_docstring():
    for function in mechanism.MEASURES.values():
        assert "x: " in function.__doc__


def test_maps_are_shares_of_the_whole():
    names = ("dice", "cross_entropy")
    maps = mechanism.maps({name: mechanism.measure(name, name) for name in names})
    for name in ("loss dice", "loss cross_entropy"):
        assert maps[name].sum() == pytest.approx(1)
