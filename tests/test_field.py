"""Verdicts on real datasets: the mean of the suite, and sources of images."""

import numpy as np
import pytest

from analysis import verdicts
from analysis.scores import estimates, metrics, statistics
from experiments.plan.study import Study
from tests.layouts import folder_of
from tests.tables import OWN_SOURCES, good, headline, noisy_counts, table_of


@pytest.fixture
def field(tiny, tmp_path):
    """Datasets a and b of real images."""
    tiny["datasets"] = {}
    for name in "ab":
        (tmp_path / name).mkdir()
        tiny["datasets"][name] = {"folder": str(folder_of(tmp_path / name))}
    return tiny | {"seeds": 3}


def test_the_mean_of_real_datasets_is_the_primary_verdict(field):
    study = Study(field)
    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    rows = headline(study, table).loc["boundary"]
    assert list(rows["dataset"]) == ["a", "b", verdicts.POOLED]
    assert list(rows["family"]) == ["secondary", "secondary", "primary"]
    assert list(rows["n"]) == list(rows["planned"]) == [3, 3, 2]
    a, b, both = rows.to_dict("records")
    assert both["estimate"] == pytest.approx((a["estimate"] + b["estimate"]) / 2, abs=1e-6)
    assert both["error"] == pytest.approx(np.hypot(a["error"], b["error"]) / 2, abs=1e-6)
    assert both["stress"] == "mean over 2 datasets"
    expected = statistics.next_dataset([a["estimate"], b["estimate"]], 0.02)
    shown = both["next_low"], both["next_high"], both["next_probability"]
    assert shown == pytest.approx(tuple(expected), abs=1e-4)
    assert rows["next_low"].iloc[:2].isna().all()


def test_a_single_real_dataset_is_the_primary_verdict(field):
    del field["datasets"]["b"]
    study = Study(field)
    rows = headline(study, table_of(study, noisy_counts(np.random.default_rng(0))))
    assert (rows.loc["boundary", "dataset"], rows.loc["boundary", "family"]) == ("a", "primary")


def test_only_datasets_that_can_answer_are_planned(field):
    """Dataset b has no large objects: its gap between sizes is not defined."""
    study = Study(field)
    rng = np.random.default_rng(0)

    def counts(run, threshold):
        sizes = {"objects_small": 40, "hits_small": int(rng.integers(10, 30))}
        sizes |= {"objects_large": 4, "hits_large": 2}
        return good(8, 2) | (sizes if run.dataset == "a" else {})

    rows = headline(study, table_of(study, counts)).loc["object_size"]
    a, b, both = rows.to_dict("records")
    assert (a["planned"], b["planned"], both["planned"]) == (3, 0, 1)
    assert b["reason"] == "no test image has objects of both sizes"
    assert "b cannot answer: no test image has objects of both sizes" in both["reason"]
    assert "one dataset can answer: there is no mean" in both["reason"]
    assert (both["verdict"], both["stress"]) == ("undecided", "mean over 1 dataset")


def test_a_mean_needs_every_dataset_that_can_answer(field):
    study = Study(field)
    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    lost = (table["dataset"] == "b") & (table["seed"] > 0) & (table["loss"] == "dice")
    rows = headline(study, table[~lost]).loc["boundary"]
    both = rows.iloc[2]
    assert (both["n"], both["planned"], both["verdict"]) == (1, 2, "undecided")
    assert "too few pairs of runs have a value: b" in both["reason"]


def test_images_of_one_source_widen_the_interval(field):
    """Four test images: each its own source, two patients, or one volume."""
    study = Study(field)
    images = {f"{i}": 40 + 5 * (i // 2) for i in range(4)}

    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    gains = table["image"].map(images).astype("Int64") * 1_000_000
    dice = table["loss"] == "dice"
    for hit, missed in (("tp", "fn"), ("band_tp", "band_fn")):
        table.loc[dice, hit] = gains[dice] + table.loc[dice, "seed"]
        table.loc[dice, missed] = 100_000_000 - gains[dice]
        table.loc[~dice, hit] = 40_000_000
        table.loc[~dice, missed] = 60_000_000

    def sources(name):
        cells = table[["dataset", "stress", "image"]].drop_duplicates()
        return cells.assign(source=cells["image"].map(name))

    def row(named):
        return headline(study, table, named).loc["boundary"].iloc[0]

    own, pairs, one = (
        row(named)
        for named in (OWN_SOURCES, sources(lambda i: int(i) // 2), sources(lambda i: "volume"))
    )
    assert pairs["error"] > 1.5 * own["error"] > 0
    assert pairs["df"] == pytest.approx(1, abs=0.01)
    assert one["error"] < own["error"]
    assert "all test images with a value are of one source" in one["reason"]


def test_estimates_take_the_sources_of_the_images(field):
    """estimates.csv has the interval of the same function, by source."""
    study = Study(field)
    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    cells = table[["dataset", "stress", "image"]].drop_duplicates()
    named = cells.assign(source=cells["image"].map(lambda image: int(image) // 2))
    rows = estimates.estimates(study, table, [], named)
    row = metrics.select(
        rows, dataset="a", experiment="boundary", level="sharp", metric="dice", loss="dice"
    )
    row = metrics.select(row, threshold="0.5").iloc[0]
    where = {"dataset": "a", "stress": "none", "loss": "dice", "threshold": "0.5"}
    values = metrics.per_seed(metrics.scores(table), "dice", where)
    expected = statistics.estimate([(1, values)], [[0, 0, 1, 1]])
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert expected.sources == 2
