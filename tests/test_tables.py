"""Tables of the analysis: learning rates, ranks, estimates, and their files."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import recommendation, verdicts
from analysis.results import Results
from analysis.scores import estimates, metrics, ranking, statistics, tuning
from experiments.errors import ConfigError
from experiments.plan.study import Study
from experiments.runs.records import SIZE_BINS, RecordError
from experiments.runs.table import check_table, read_table
from tests.conftest import write_halves
from tests.tables import (
    NOTHING_MEASURED,
    OWN_SOURCES,
    good,
    lose,
    noisy_counts,
    record_of,
    results_of,
    table_of,
)


def test_an_invalid_table_is_refused(tiny, tmp_path):
    table = table_of(Study(tiny), lambda run, threshold: good(8, 2))
    path = tmp_path / "runs.csv"
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_table(path), table)
    for change, words in (
        ({"status": "fine"}, "status"),
        ({"tp": -1}, "negative"),
        ({"hits_small": 3}, "small"),
        ({"threshold": "0.4"}, "threshold"),
    ):
        with pytest.raises(RecordError, match=words):
            check_table(table.assign(**change), "changed")
    with pytest.raises(RecordError, match="'band_tp'"):
        check_table(table.drop(columns="band_tp"), "changed")
    with pytest.raises(RecordError, match="duplicate"):
        check_table(pd.concat([table, table.head(1)]), "changed")
    assert set(SIZE_BINS) == {"small", "medium", "large"}


def test_a_cell_takes_the_rate_that_is_best_on_validation_not_on_test(tiny):
    tiny["training"]["learning_rate"] = [0.001, 0.0003, 0.003]
    study = Study(tiny)
    val = {0.0003: 0.3, 0.001: 0.5, 0.003: 0.7}

    def counts(run, threshold):
        tp = {0.0003: 9, 0.001: 6, 0.003: 3}[run.learning_rate]  # the other way round on test
        return good(tp, 10 - tp) | {"val_dice": val[run.learning_rate]}

    table = table_of(study, counts)
    assert set(tuning.fixed(study, table)["learning_rate"]) == {0.001}
    assert set(tuning.tuned(study, table)["learning_rate"]) == {0.003}
    grid = tuning.grid(table)
    assert grid.groupby(tuning.cell_columns(table))["best"].sum().eq(1).all()
    assert list(tuning.rates(study, table)) == ["fixed", "tuned"]


def test_a_rate_that_diverges_is_not_chosen(tiny):
    tiny["training"]["learning_rate"] = [0.001, 0.003]
    study = Study(tiny)
    table = table_of(study, lambda run, _: good(6, 4) | {"val_dice": 10 * run.learning_rate})
    lost = (table["learning_rate"] == 0.003) & (table["seed"] == 1) & (table["loss"] == "dice")
    table.loc[lost, "status"] = "diverged"
    chosen = tuning.tuned(study, table)
    assert set(chosen.loc[chosen["loss"] == "dice", "learning_rate"]) == {0.001}
    assert set(chosen.loc[chosen["loss"] == "cross_entropy", "learning_rate"]) == {0.003}


def test_a_run_that_diverges_at_the_best_rate_scores_nothing_there(tiny):
    """The rates diverge as often, and one is better at the tuned threshold only."""
    tiny["training"]["learning_rate"] = [0.001, 0.003]
    study = Study(tiny)

    def counts(run, threshold):
        best = 0.003 if threshold == "tuned" else 0.001
        return good(6, 4) | {"val_dice": 0.9 if run.learning_rate == best else 0.1}

    table = table_of(study, counts)
    dice = (table["loss"] == "dice") & (table["stress"] == "none")
    table = lose(table, "diverged", table.loc[dice & (table["seed"] == 1)].iloc[0])
    table = lose(table, "diverged", table.loc[dice & (table["learning_rate"] == 0.003)].iloc[0])
    scored = metrics.scores(tuning.tuned(study, table))
    own = scored[(scored["loss"] == "dice") & (scored["stress"] == "none")]
    means = own.groupby(["threshold", "learning_rate", "seed"])["score_dice"].mean()
    expected = [("0.5", 0.001, 0, 0.75), ("0.5", 0.001, 1, 0)]
    expected += [("tuned", 0.003, 0, 0), ("tuned", 0.003, 1, 0.75)]
    assert [(*key, round(value, 5)) for key, value in means.items()] == expected


def test_ranks_follow_the_scores_and_ties_are_not_separated(tiny):
    tiny["losses"]["jaccard"] = {}
    study = Study(tiny)

    def counts(run, threshold):
        return good(9, 1) if run.loss == "dice" else good(5, 5)

    ranked = ranking.ranks(results_of(study, table_of(study, counts)))
    dice = ranked[ranked["loss"] == "dice"]
    assert (dice["rank"] == 1).all()
    assert (dice["first"] == 1).all()
    random = noisy_counts(np.random.default_rng(0))
    ranked = ranking.ranks(results_of(study, table_of(study, random)))
    assert (ranked["low"] < ranked["high"]).any()
    assert ranked.groupby("experiment")["first"].sum().to_numpy() == pytest.approx(1)


def counts_of(rng):
    """Counts that differ by seed, image and threshold, with some empty images."""

    def counts(run, threshold):
        tp = int(rng.integers(0, 5))
        sizes = {"objects_small": 4, "hits_small": tp // 2, "objects_large": 2, "hits_large": 1}
        return good(tp, 4 - tp if tp else 0) | sizes | {"tn": 90, "fp": int(rng.integers(0, 2))}

    return counts


def estimated(study, table, noise=None):
    records = [record_of(run, noise) for run in study.runs]
    return estimates.estimates(study, tuning.fixed(study, table), records, OWN_SOURCES)


def check_estimates(study, table, rows, shared):
    """Every row equals statistics.estimate of its cell; shared: images are the same for all."""
    scored = metrics.scores(tuning.fixed(study, table))
    classes = metrics.scores(tuning.fixed(study, table), by_class=True)
    settings = {setting.label: setting for setting in study.settings}
    for row in rows.to_dict("records"):
        levels = {v.label: v for v in study.experiments[row["experiment"]].levels[row["dataset"]]}
        where = study.where(row["dataset"], levels[row["level"]], settings[row["setting"]])
        where |= {name: row[name] for name in ("loss", "threshold")}
        where |= {"class": row["class"]} if row["class"] else {}
        values = metrics.per_seed(classes if row["class"] else scored, row["metric"], where)
        sources = [np.arange(max(map(len, values.values())))] if shared else None
        expected = statistics.estimate([(1, values)], sources)
        for field in ("value", "low", "high", "n"):
            exact = pytest.approx(getattr(expected, field), abs=1e-12, nan_ok=True)
            assert row[field] == exact, row


def test_estimates_are_those_of_each_cell(tiny):
    """A row per experiment, level, loss, metric and threshold, as the figures draw them."""
    study = Study(tiny)
    table = table_of(study, counts_of(np.random.default_rng(0)))
    rows = estimated(study, table)
    assert list(rows.columns) == list(estimates.COLUMNS)
    key = [c for c in rows if c not in ("value", "low", "high", "n")]
    assert not rows.duplicated(key).any()
    means = rows[rows["level"] == ""]
    scores = rows[rows["metric"].isin(list(metrics.METRICS)) & (rows["level"] != "")]
    levels = sum(len(v.levels["controlled"]) for v in study.experiments.values())
    assert len(scores) == levels * 2 * len(metrics.METRICS) * 2
    check_estimates(study, table, scores[::7], shared=False)
    assert len(means) == len(study.experiments) * 2
    dice = scores[(scores["metric"] == "dice") & (scores["threshold"] == "0.5")]
    of_levels = dice.groupby(["experiment", "loss"])["value"].mean()
    for row in means.itertuples():
        assert row.value == pytest.approx(of_levels[row.experiment, row.loss])


def test_estimates_have_a_row_for_each_class_and_setting(tiny, in_tmp):
    write_halves(in_tmp / "halves")
    sizes = {"train": 7, "val": 2, "test": 3}
    tiny["datasets"] = {"halves": {"folder": "halves", "classes": {"left": 4, "right": 9}} | sizes}
    tiny["experiments"] = {"blur": {"knob": "blur", "values": [0, 1]}}
    tiny["training"]["steps"] = [6, 12]
    study = Study(tiny)
    table = table_of(study, counts_of(np.random.default_rng(0)))
    rows = estimated(study, table)
    assert set(rows["class"]) == {"", "left", "right"}
    assert list(rows["setting"].unique()) == [setting.label for setting in study.settings]
    check_estimates(study, table, rows[rows["class"] != ""], shared=True)
    of_levels = rows[(rows["class"] == "") & (rows["level"] != "")]
    check_estimates(study, table, of_levels[::11], shared=True)


def test_estimates_of_memorised_noise_are_for_levels_that_corrupt_labels(tiny):
    study = Study(tiny)
    counts = {"noisy": 10, "noisy_reproduced": 6, "clean": 20, "clean_wrong": 2}
    noise = {"background": counts, "foreground": counts | {"noisy": 0}}
    rows = estimated(study, table_of(study, lambda *_: good(8, 2)), noise)
    rows = rows[rows["metric"].str.startswith("noise_")].set_index(["level", "metric", "loss"])
    assert set(rows.index.get_level_values("level")) == {"jittered", "0.3"}
    assert rows.loc[("0.3", "noise_background", "dice"), "value"] == pytest.approx(0.5)
    assert rows.loc[("0.3", "noise_background", "dice"), "n"] == 2
    assert rows.loc[("0.3", "noise_foreground", "dice"), "n"] == 0
    assert set(rows["threshold"]) == {"0.5"}


def test_ranks_have_a_row_for_each_setting(tiny):
    tiny["training"]["steps"] = [6, 12]
    study = Study(tiny)

    def counts(run, threshold):
        best = {"6": "dice", "12": "cross_entropy"}[run.setting.labels["steps"]]
        return good(9, 1) if run.loss == best else good(5, 5)

    ranked = ranking.ranks(results_of(study, table_of(study, counts)))
    first = ranked[ranked["rank"] == 1].groupby("setting")["loss"].unique()
    assert [list(first[s.label]) for s in study.settings] == [["dice"], ["cross_entropy"]]


def test_results_read_back_every_table_of_a_study(tiny, in_tmp):
    tiny["experiments"]["boundary"]["levels"] = {"none": {}, "NA": {"jitter": 2}}
    study = Study(tiny)
    folder = in_tmp / study.folder
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(study.json)
    results = Results.open(study.folder)
    with pytest.raises(ConfigError, match=r"runs.csv.*experiments collect results/tiny"):
        _ = results.table
    table = table_of(study, counts_of(np.random.default_rng(0)))
    table.to_csv(folder / "runs.csv", index=False)
    (folder / "records.json").write_text(json.dumps([record_of(run) for run in study.runs]))
    NOTHING_MEASURED.to_csv(folder / "mechanism.csv", index=False)
    OWN_SOURCES.to_csv(folder / "image_sources.csv", index=False)
    pd.testing.assert_frame_equal(results.table, table)
    estimates.run(results)
    verdicts.run(results)
    recommendation.run(results)
    expected = estimated(study, table).reset_index(drop=True)
    pd.testing.assert_frame_equal(results.estimates, expected, check_dtype=False, rtol=1e-12)
    assert {"none", "NA"} <= set(results.estimates["level"])
    assert list(results.ranks.columns) == list(ranking.COLUMNS)
    assert list(results.recommendation.columns) == list(recommendation.COLUMNS)
    assert results.recommendation["setting"].eq("").all()
    key = results.verdicts[verdicts.KEY]
    assert key.notna().all(axis=None)
    assert not key.duplicated().any()
