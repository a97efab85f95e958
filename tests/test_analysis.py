"""Scores, intervals, verdicts and figures, on tables whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from analysis import (
    calibration,
    claims,
    figures,
    metrics,
    paper,
    ranking,
    statistics,
    style,
    tables,
    tuning,
    verdicts,
)
from analysis.claims import REFERENCE
from experiments import prepare, prepared, train
from experiments.plan import FOREGROUND, RANGES, Study, stress_name
from experiments.results import (
    COLUMNS,
    NUMERIC,
    SIZE_BINS,
    RecordError,
    check_table,
    describe,
    read_table,
)
from losses import LOSSES


def row(**counts):
    return pd.DataFrame([dict.fromkeys(NUMERIC, 0) | counts])


def test_scores_by_hand():
    table = row(tp=6, fp=2, fn=4, band_tp=1, band_fp=1, objects_small=4, hits_small=1)
    assert metrics.dice(table)[0] == pytest.approx(12 / 18)
    assert metrics.dice(table, "band_")[0] == pytest.approx(2 / 3)
    assert metrics.recall(table, "small")[0] == 0.25
    assert np.isnan(metrics.recall(table, "large")[0])
    assert metrics.area_ratio(table)[0] == 0.8


def test_empty_masks_are_neither_0_nor_1_by_accident():
    assert np.isnan(metrics.dice(row(tn=9))[0])
    assert metrics.dice(row(fp=1, tn=8))[0] == 0
    assert metrics.dice(row(fn=1, tn=8))[0] == 0
    assert np.isnan(metrics.area_ratio(row(fp=3))[0])


def test_the_estimate_is_the_weighted_sum_of_means():
    terms = [
        (1, {0: np.array([1.0, 3.0]), 1: np.array([2.0])}),
        (-0.5, {0: np.ones(3), 1: np.ones(2)}),
    ]
    found = statistics.estimate(terms)
    assert found.value == pytest.approx(2 - 0.5)
    assert found.n == 2
    assert found.low <= found.value <= found.high


def test_seeds_and_values_that_are_missing_do_not_count():
    terms = [(1, {0: np.array([1.0, np.nan]), 1: np.array([np.nan]), 2: np.array([3.0])})]
    assert statistics.estimate(terms).n == 2
    assert statistics.estimate(terms).value == 2
    assert statistics.estimate([(1, {})]) == statistics.MISSING
    assert statistics.estimate([]) == statistics.MISSING


@pytest.mark.parametrize(("seeds", "shared"), [(3, False), (4, True), (12, False)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(seeds, shared):
    """Also with few seeds, which a plain percentile interval does not."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        effect = rng.normal(0, 0.1, seeds)
        image = rng.normal(0, 0.3, 30)
        values = {
            s: effect[s] + (image if shared else rng.normal(0, 0.3, 30)) for s in range(seeds)
        }
        found = statistics.estimate([(1, values)], shared=shared, draws=400, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.93 <= hits / 400 <= 1


def test_one_seed_gives_no_interval():
    found = statistics.estimate([(1, {0: np.array([0.1, 0.3])})])
    assert found.value == pytest.approx(0.2)
    assert np.isnan([found.low, found.high]).all()
    assert statistics.decide(found, 0.05, planned=1) == "undecided"


def test_p_and_interval_say_the_same():
    rng = np.random.default_rng(1)
    found = statistics.estimate([(1, {s: rng.normal(0.2, 0.3, 20) for s in range(5)})])
    assert found.p(found.low) == pytest.approx(0.05)
    assert found.p(found.high) == pytest.approx(0.05)
    assert found.p(found.value) == pytest.approx(1)
    assert found.p(found.low - 0.1) < 0.05
    assert np.isnan(statistics.exact(0.3).p(0.1))


def test_holms_correction_by_hand():
    corrected = statistics.correct([0.01, np.nan, 0.04, 0.02])
    assert corrected[[0, 2, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert np.isnan(corrected[1])


def test_datasets_are_pooled_as_a_random_effect():
    def one(value, error=0.01):
        return statistics.interval(value, error, 4)

    alike = statistics.pool([one(0.2), one(0.2), one(0.2)])
    assert alike.value == pytest.approx(0.2)
    assert alike.n == 3
    apart = statistics.pool([one(0.0), one(0.2), one(0.4)])
    assert apart.value == pytest.approx(0.2)
    # Hartung and Knapp: t on 2 degrees, the datasets' own spread whatever their small errors.
    assert apart.high - apart.value == pytest.approx(4.303 * 0.2 / np.sqrt(3), rel=0.02)
    alone = statistics.pool([one(0.2), statistics.MISSING])
    assert np.isnan(alone.value)
    assert alone.n == 1


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.06, 0.2, "supported", "a difference that matters"),
        (-0.04, 0.04, "contradicted", "no difference that matters"),
        (-0.2, -0.06, "contradicted", "the reverse"),
        (-0.2, 0.04, "contradicted", "no such difference"),
        (0.0, 0.2, "undecided", "not known"),
    ],
)
def test_what_a_verdict_found(low, high, verdict, words):
    found = statistics.Estimate((low + high) / 2, low, high, 3)
    assert statistics.finding(found, 0.05, verdict) == words


def test_a_claim_that_nothing_is_lost_finds_a_shortfall_or_none():
    found = statistics.Estimate(0.0, -0.01, 0.01, 3)
    assert statistics.finding(found, -0.02, "supported") == "no shortfall that matters"
    assert statistics.finding(found, 0.02, "contradicted") == "no difference that matters"
    short = statistics.Estimate(-0.2, -0.3, -0.1, 3)
    assert statistics.finding(short, -0.02, "contradicted") == "a shortfall that matters"


def test_seeds_widen_the_interval_where_they_differ():
    same = {s: np.zeros(50) for s in range(4)}
    apart = {s: np.full(50, s / 10) for s in range(4)}
    alike = statistics.estimate([(1, same)])
    assert (alike.value, alike.n) == (0, 4)
    assert np.isnan([alike.low, alike.high, alike.p(0.05)]).all()  # nothing tells how they differ
    wide = statistics.estimate([(1, apart)])
    # Student's t of four values by hand: sd .1291, t .975 on 3 degrees 3.182.
    assert (wide.high - wide.low) / 2 == pytest.approx(3.182 * 0.1291 / 2, rel=0.05)


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0.06, 0.2, 3, "supported"),
        (0.05, 0.2, 3, "supported"),
        (-0.2, 0.04, 3, "contradicted"),
        (0.01, 0.04, 3, "contradicted"),
        (0.04, 0.2, 3, "undecided"),
        (0.06, 0.2, 2, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval(low, high, n, expected):
    found = statistics.Estimate((low + high) / 2, low, high, n)
    assert statistics.decide(found, 0.05, planned=3) == expected
    assert statistics.decide(statistics.MISSING, 0.05, planned=0) == "undecided"


MILLION = 1_000_000


def spread(counts, image):
    """The counts a million times, and one pixel or object up or down: no two are quite equal."""
    counts = {name: value * MILLION for name, value in counts.items()}
    step = (1, -1, 0, 0)[image]
    for found, lost in (("tp", "fn"), ("band_tp", "band_fn")):
        if counts.get(found) and counts.get(lost):
            counts[found] += step
            counts[lost] -= step
    for size in ("small", "large"):
        if f"hits_{size}" in counts:
            hits = counts[f"hits_{size}"] + step
            counts[f"hits_{size}"] = min(max(hits, 0), counts[f"objects_{size}"])
    return counts


def table_of(study, counts):
    """A whole study's table with counts(run, threshold) for each of four images, a little spread
    for the losses that are held against the reference."""
    rows = []
    for run in study.runs:
        key = {
            "dataset": run.dataset,
            "stress": stress_name(run.stress),
            "loss": run.loss,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "status": "ok",
        }
        for threshold in ("0.5", "tuned"):
            for image in range(4):
                full = counts(run, threshold)
                if run.loss != REFERENCE:
                    full |= spread({k: full[k] for k in NUMERIC if k in full}, image)
                full = dict.fromkeys(NUMERIC, 0) | full
                named = {"image": f"{image}", "class": FOREGROUND, "threshold": threshold}
                rows.append(key | named | full)
    rest = {"threshold_value": 0.5, "val_dice": 0.5, "hd95": 1.0, "squared_error": 0.1}
    frame = pd.DataFrame(rows)
    for column, value in rest.items():
        if column not in frame:
            frame[column] = value
    table = frame[list(COLUMNS)].copy()
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return check_table(table, "test")


def good(tp, fn):
    return {"tp": tp, "fn": fn, "band_tp": tp, "band_fn": fn}


NOTHING_MEASURED = pd.DataFrame(columns=["quantity", "loss", "x", "value"])


def headline(study, table):
    found = verdicts.verdicts(study, table, NOTHING_MEASURED)
    found = verdicts.headline(found)
    return found[found["level"] != "mechanism"].set_index("claim")


ARTICLES = ["imbalance", "boundary", "object_size", "noise"]


def test_claims_say_what_was_planted(tiny):
    """Dice keeps its score under imbalance, is better at boundaries, worse with noise and sizes."""
    study = Study(tiny)

    def counts(run, threshold):
        knobs, dice = dict(run.stress), run.loss == "dice"
        if knobs.get("fraction") == 0.03:
            return good(8, 2) if dice else good(1, 9)
        if "flips" in knobs:
            return good(1, 9) if dice else good(8, 2)
        if knobs.get("size") == "mixed":
            sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1}
            return good(8, 2) | sizes | {"hits_small": 0 if dice else 4}
        return good(9, 1) | {"band_tp": 9 if dice else 5, "band_fn": 1 if dice else 5}

    found = headline(study, table_of(study, counts))
    assert set(found.loc[ARTICLES, "verdict"]) == {"supported"}
    assert found.loc["threshold", "verdict"] == "contradicted"  # the tuned one scores alike here
    dice = [2 * tp / (10 + tp) for tp in (1, 8, 9)]
    assert found.loc["imbalance", "estimate"] == pytest.approx(dice[1] - dice[0], abs=1e-5)
    assert found.loc["noise", "estimate"] == pytest.approx(dice[1] - dice[0], abs=1e-5)
    assert found.loc["object_size", "estimate"] == pytest.approx(1)
    assert found.loc["boundary", "estimate"] == pytest.approx(dice[2] - 2 / 3, abs=1e-5)
    assert (found["n"] == found["planned"]).all()


def test_equal_losses_contradict_every_claim(tiny):
    sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
    study = Study(tiny)
    found = headline(study, table_of(study, lambda run, threshold: good(8, 2) | sizes))
    assert set(found.loc[ARTICLES, "verdict"]) == {"contradicted"}
    assert set(found.loc[ARTICLES, "finding"]) == {"no difference that matters"}
    assert found.loc["threshold", "verdict"] == "supported"
    assert (found["estimate"] == 0).all()


def test_differences_that_are_all_the_same_decide_nothing(tiny):
    study = Study(tiny)
    found = headline(study, table_of(study, lambda run, threshold: good(5, 0)))
    assert (found.loc["noise", "n"], found.loc["noise", "estimate"]) == (2, 0)
    assert found.loc["noise", "verdict"] == "undecided"
    assert "every difference is the same" in found.loc["noise", "reason"]


def test_a_missing_run_leaves_its_claim_undecided(tiny):
    sizes = {"objects_small": 4, "objects_large": 1, "hits_large": 1, "hits_small": 2}
    study = Study(tiny)
    table = table_of(study, lambda run, threshold: good(8, 2) | sizes)
    lost = (table["stress"] == "flips-0.3") & (table["loss"] == "dice") & (table["seed"] == 1)
    table.loc[lost, "status"] = "diverged"
    table.loc[lost, ["image", "threshold"]] = np.nan
    table = table[~lost | ~table.duplicated(["stress", "loss", "seed"])]
    found = headline(study, table)
    assert found.loc["noise", "verdict"] == "undecided"
    assert (found.loc["noise", "n"], found.loc["noise", "planned"]) == (1, 2)
    assert "1 of 2" in found.loc["noise", "reason"]
    assert found.loc["imbalance", "verdict"] == "contradicted"


def test_an_experiment_that_cannot_answer_gives_no_verdict(tiny):
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0.3]}}
    study = Study(tiny)
    found = headline(study, table_of(study, lambda run, threshold: good(8, 2)))
    assert found.loc["noise", "verdict"] == "undecided"
    assert "no levels" in found.loc["noise", "reason"]


def test_every_claim_says_itself_and_its_smallest_difference():
    assert set(claims.load()) == {"definition", *ARTICLES, "threshold"}
    for claim, words in claims.load().values():
        assert words.split("\n\n")[0].endswith(".")
        assert claim.metric in metrics.METRICS
        assert claim.also in metrics.METRICS
        if claim.experiment:
            assert abs(claim.smallest) > 0
            assert "{loss}" in claim.says
        if claim.mechanism_smallest is not None:
            assert "{loss}" in claim.mechanism_says


def test_a_table_that_is_not_what_it_says_is_refused(tiny, tmp_path):
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
    with pytest.raises(RecordError, match="twice"):
        check_table(pd.concat([table, table.head(1)]), "changed")
    assert set(SIZE_BINS) == {"small", "medium", "large"}


def test_every_knob_can_stand_at_an_axis():
    assert set(figures.KNOB_LABELS) == set(RANGES)


def test_every_loss_of_the_suite_has_a_name_of_its_own():
    assert set(style.NAMES) == set(LOSSES)
    assert len(set(style.NAMES.values())) == len(LOSSES)


def test_an_example_shows_an_image_with_foreground_and_its_own_prediction(tiny, in_tmp):
    tiny["losses"] = {"dice": {}}
    tiny["experiments"] = {"absence": {"levels": {"x": {"absence": 0.75}}}}
    study = Study(tiny)
    prepare.prepare(study, study.datasets["controlled"], "absence-0.75", 0)
    data = prepared.read(study.data_folder(*study.runs[0].cell))
    truths = np.stack([data.mask(stem) for stem in data.split["test"]])
    assert truths.any((1, 2)).tolist().index(True) > 0  # the first image shows nothing
    folder = in_tmp / study.folder / study.runs[0].path
    folder.mkdir(parents=True)
    (folder / "probabilities.png").write_bytes(train.strip(truths[:, None]))
    record = {"run": describe(study.runs[0]), "status": "ok"}
    figure, _ = figures.examples(study, [record], "absence", "controlled", None)
    _, truth, prediction = (axis.images[0].get_array() for axis in figure.axes)
    assert truth.any()
    assert (prediction == truth).all()  # all found; other images' would be false or missed


def test_a_loss_looks_the_same_in_every_study():
    alone = style.looks(["dice", "mine"])
    among = style.looks(["cross_entropy", "dice", "squared_dice", "mine", "other"])
    assert alone["dice"] == among["dice"]
    assert alone["mine"] == among["mine"]
    many = style.looks([f"loss_{i}" for i in range(20)])
    assert len({tuple(look.values()) for look in many.values()}) == 20


def noisy_counts(rng, gain=0):
    """Runs that differ by chance alone, but for what `gain` gives Dice."""

    def counts(run, threshold):
        tp = int(rng.integers(40, 61)) + (gain if run.loss == "dice" else 0)
        return good(tp, 100 - tp)

    return counts


def test_a_cell_takes_the_rate_that_is_best_on_validation_not_on_test(tiny):
    tiny["training"]["learning_rates"] = [0.0003, 0.001, 0.003]
    study = Study(tiny)
    val = {0.0003: 0.3, 0.001: 0.5, 0.003: 0.7}

    def counts(run, threshold):
        tp = {0.0003: 9, 0.001: 6, 0.003: 3}[run.learning_rate]  # the other way round on test
        return good(tp, 10 - tp) | {"val_dice": val[run.learning_rate]}

    table = table_of(study, counts)
    assert set(tuning.fixed(study, table)["learning_rate"]) == {0.001}
    assert set(tuning.tuned(study, table)["learning_rate"]) == {0.003}
    grid = tuning.grid(table)
    assert grid.groupby(tuning.CELL)["best"].sum().eq(1).all()
    shown = tables.learning_rates(table)
    assert set(shown["best rate"]) == {"0.003"}
    found = verdicts.verdicts(study, table, NOTHING_MEASURED)
    assert set(found["rate"]) - {""} == {"fixed", "tuned"}


def test_a_rate_that_diverges_is_not_chosen(tiny):
    tiny["training"]["learning_rates"] = [0.001, 0.003]
    study = Study(tiny)
    table = table_of(study, lambda run, _: good(6, 4) | {"val_dice": 10 * run.learning_rate})
    lost = (table["learning_rate"] == 0.003) & (table["seed"] == 1) & (table["loss"] == "dice")
    table.loc[lost, "status"] = "diverged"
    chosen = tuning.tuned(study, table)
    assert set(chosen.loc[chosen["loss"] == "dice", "learning_rate"]) == {0.001}
    assert set(chosen.loc[chosen["loss"] == "cross_entropy", "learning_rate"]) == {0.003}


def test_a_single_comparison_may_not_survive_the_others(tiny):
    """Holm: an interval just past the smallest difference says less among several claims."""
    rows = [
        verdicts.make(
            statistics.interval(value, 0.01, 30),
            claim=claim,
            level="controlled",
            dataset="d",
            stress="",
            loss="dice",
            against="cross_entropy",
            threshold="0.5",
            rate="fixed",
            unit="DSC",
            smallest=0.05,
            planned=30,
        )
        for claim, value in (("a", 0.0715), ("b", 0.05), ("c", 0.5))
    ]
    a, b, c = verdicts.settle(rows)
    assert a.low > 0.05
    assert a.verdict == "undecided"
    assert "correction" in a.reason
    assert b.verdict == "undecided"
    assert c.verdict == "supported"
    assert verdicts.settle(rows[:1])[0].verdict == "supported"


def test_real_datasets_are_pooled_into_one_more_verdict(tiny, tmp_path):
    from tests.test_images import folder_of

    tiny["datasets"] = {}
    for name in "ab":
        (tmp_path / name).mkdir()
        tiny["datasets"][name] = {"folder": str(folder_of(tmp_path / name))}
    study = Study(tiny)
    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    every = headline(study, table)
    found = every.loc["imbalance"]
    assert list(found["dataset"]) == ["a", "b", verdicts.POOLED]
    assert list(found["planned"]) == [2, 2, 2]
    low, high = found["estimate"].iloc[:2].agg(["min", "max"])
    assert low <= found["estimate"].iloc[2] <= high
    assert "2 of 2 datasets have no value" in every.loc["object_size", "reason"].iloc[2]


def test_ranks_follow_the_scores_and_ties_are_not_told_apart(tiny):
    tiny["losses"]["jaccard"] = {}
    study = Study(tiny)

    def counts(run, threshold):
        return good(9, 1) if run.loss == "dice" else good(5, 5)

    ranked = ranking.ranks(study, metrics.scores(table_of(study, counts)))
    dice = ranked[ranked["loss"] == "dice"]
    assert (dice["rank"] == 1).all()
    assert (dice["first"] == 1).all()
    random = noisy_counts(np.random.default_rng(0))
    ranked = ranking.ranks(study, metrics.scores(table_of(study, random)))
    assert (ranked["low"] < ranked["high"]).any()
    assert ranked.groupby("experiment")["first"].sum().to_numpy() == pytest.approx(1)


@pytest.fixture
def many_seeds(tiny):
    return Study({**tiny, "seeds": list(range(12)), "losses": {"cross_entropy": {}}})


def test_a_loss_against_itself_is_rarely_found_different(many_seeds):
    """A/A on counts that differ by seed and image: at most 5% false, 95% of intervals hold 0."""
    rng = np.random.default_rng(0)
    level = {(s, k): rng.integers(-5, 6) for s in range(12) for k in range(9)}
    cells = {run.cell[1]: k for k, run in enumerate(many_seeds.runs[:6])}

    def counts(run, threshold):
        tp = 50 + int(level[run.seed, cells[run.cell[1]]]) + int(rng.integers(-10, 11))
        sizes = {"objects_small": 9, "objects_large": 9, "hits_large": 9, "hits_small": tp // 9}
        return good(tp, 100 - tp) | sizes

    found = calibration.rates(many_seeds, table_of(many_seeds, counts), comparisons=200)
    null = found[found["planted"] == 0]
    assert (null["comparisons"] == 200).all()
    assert null["false"].sum() / null["comparisons"].sum() <= 0.05
    assert null["covered"].sum() / null["comparisons"].sum() >= 0.93
    strong = found[(found["planted"] == 0.3) & (found["n"] == 6) & (found["claim"] == "imbalance")]
    assert (strong["supported"] / strong["comparisons"] >= 0.9).all()
    # What is said to be detectable is found that often, and little less is not.
    enough = found[(found["planted"] > found["detectable"]) & (found["claim"] != "threshold")]
    assert len(enough)
    assert (enough["supported"] / enough["comparisons"] >= 0.9).all()
    less = found[(found["planted"] < found["detectable"]) & (found["claim"] != "threshold")]
    assert (less["supported"] / less["comparisons"] < 0.9).all()
    needed = calibration.sizes_needed(found)
    assert needed.loc[needed["planted"] == 0.3, "n"].min() <= 6


def test_latex_is_escaped():
    assert paper.latex("a_b & 95% <x>") == r"a\_b \& 95\% $<$x$>$"
    text = paper.booktabs(pd.DataFrame({"p_1": ["50%"]}))
    assert "\\toprule" in text
    assert r"p\_1" in text
    assert r"50\%" in text
