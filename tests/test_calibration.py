"""Populations of a study's contrasts, the table of simulated studies, and the step."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import calibration, claims, population, verdicts
from analysis.results import Results
from analysis.scores import metrics
from experiments import layout
from experiments.errors import ConfigError
from experiments.plan.study import Study
from tests.layouts import folder_of
from tests.tables import NOTHING_MEASURED, good, table_of

SIZES = {"objects_small": 100, "objects_large": 100, "hits_large": 90}
SOURCES = pd.DataFrame(columns=["dataset", "stress", "image", "source"])


def written(study, counts):
    """Write the table of a study that differs by seed, and by image; return its results."""
    folder = Path(study.folder)
    folder.mkdir(parents=True)
    study.file(layout.CONFIG).write_text(json.dumps(study.config))
    table_of(study, counts).to_csv(study.file(layout.RUNS), index=False)
    SOURCES.to_csv(study.file(layout.IMAGE_SOURCES), index=False)
    return Results.open(folder)


def by_chance(seed=0, gain=0):
    """Counts of runs that differ by chance: by seed, then by image; `gain` for Dice."""
    rng, own = np.random.default_rng(seed), {}

    def counts(run, threshold):
        shift = own.setdefault((run.path, threshold), int(rng.integers(-8, 9)))
        tp = 50 + shift + int(rng.integers(-5, 6)) + (gain if run.loss == "dice" else 0)
        return good(tp, 100 - tp) | SIZES | {"hits_small": tp, "val_dice": 0.7}

    return counts


@pytest.fixture
def both(tiny, tmp_path):
    """A study of generated images and two datasets, six seeds."""
    for name in "ab":
        (tmp_path / name).mkdir()
        tiny["datasets"][name] = {"folder": str(folder_of(tmp_path / name))}
    return Study({**tiny, "seeds": list(range(6))}, str(tmp_path / "study"))


def test_a_population_holds_the_verdicts_of_its_study(both):
    """Means, variances of seeds and of images are those of the primary verdicts."""
    results = written(both, by_chance())
    rows = verdicts.verdicts(both, results.table, NOTHING_MEASURED, results.image_sources)
    found = population.populations(results)
    names = [(each.dataset, each.threshold) for each in found]
    assert names == [(d, t) for t in ("0.5", "tuned") for d in ("controlled", verdicts.POOLED)]
    for each in found:
        own = metrics.select(rows, dataset=each.dataset, threshold=each.threshold, loss="dice")
        own = own.set_index("claim").loc[list(each.names)]
        assert set(each.names) == {n for n, claim in claims.load().items() if claim.primary}
        assert each.measured == pytest.approx(own["estimate"].to_numpy(), abs=1e-6)
        count = len(each.strata)
        variance = sum(s.seeds.var(1, ddof=1) / 6 + (s.images**2).sum(1) for s in each.strata)
        assert np.sqrt(variance) / count == pytest.approx(own["error"].to_numpy(), abs=1e-6)
        two = each.dataset == "controlled" and each.threshold == "0.5"
        assert set(each.sides) == {2 if two else 1}
    assert [s.images.shape for s in found[1].strata] == [(5, 4), (5, 4)]
    assert found[0].strata[0].images.shape == (5, 0)
    assert (np.abs(found[1].strata[0].images).sum(1) > 0).any()


def test_a_claim_that_one_dataset_cannot_answer_is_left_out(both):
    counts = by_chance()

    def no_large_objects(run, threshold):
        own = {"objects_large": 0, "hits_large": 0} if run.dataset == "a" else {}
        return counts(run, threshold) | own

    controlled, real = population.populations(written(both, no_large_objects))[:2]
    assert set(controlled.names) - set(real.names) == {"object_size"}


def test_seeds_without_a_run_are_left_out_and_failed_runs_counted(both):
    counts = by_chance()

    def one_fails(run, threshold):
        failed = run.loss == "dice" and run.seed == 4 and run.dataset == "controlled"
        return counts(run, threshold) | ({"val_dice": 0.2} if failed else {})

    results = written(both, one_fails)
    each = population.populations(results)[0]
    runs = {"imbalance": 2, "boundary": 4, "object_size": 2, "noise": 2, "threshold": 4}
    assert dict(zip(each.names, each.runs, strict=True)) == {n: 6 * k for n, k in runs.items()}
    assert dict(zip(each.names, each.failed, strict=True)) == {n: k // 2 for n, k in runs.items()}
    lost = (results.table["seed"] == 0) & (results.table["stress"] == "flips-0.3")
    results.table.loc[lost, "status"] = "failed"
    with pytest.raises(ConfigError, match="seeds: 5 with a value for every primary claim"):
        population.populations(results)


def test_a_loss_rarely_differs_from_itself(tiny, tmp_path):
    """A/A: seeds that differ by chance only give the rates of as many normal seeds."""
    study = Study({**tiny, "seeds": list(range(16))}, str(tmp_path / "study"))
    each = population.populations(written(study, by_chance()))[1]
    assert each.measured == pytest.approx(0, abs=0.1)
    table = calibration.rates([each], families=2000)
    family = metrics.select(table, claim="", looks="")
    for effect in ("smallest", "below"):
        rows = metrics.select(family, effect=effect)
        error = np.hypot(rows["false_rate_error"], rows["normal_false_sd"])
        assert (rows["false_rate"] - rows["normal_false"] < 3 * error).all()
    own = metrics.select(table[table["claim"] != ""], looks="", effect="smallest")
    assert (own["covered_95"] - own["normal_covered"]).abs().max() < 0.04
    power = family[family["effect"] == "+0.1"]["power"]
    assert power.is_monotonic_increasing
    assert power.iloc[-1] > 0.9


def test_the_step_writes_its_tables_and_figure(both, monkeypatch):
    monkeypatch.setattr(calibration, "FAMILIES", 200)
    monkeypatch.setattr(calibration, "NORMAL", 2)
    monkeypatch.setattr(calibration, "NORMAL_FAMILIES", 50)
    monkeypatch.setattr(calibration, "STUDIES", ((3,), (6,), claims.LOOKS))
    calibration.run(written(both, by_chance(gain=10)))
    table = pd.read_csv(both.file(layout.CALIBRATION), keep_default_na=False)
    assert list(table.columns) == list(calibration.COLUMNS)
    key = ["dataset", "threshold", "claim", "looks", "n", "effect"]
    assert not table.duplicated(key).any()
    assert len(table) == 2 * 2 * 6 * 3 * 7
    counts = table[["supported", "contradicted", "undecided"]].sum(axis=1)
    assert (counts == table["families"] * np.where(table["claim"] == "", 5, 1)).all()
    looks = table[table["looks"] != ""]
    assert set(looks["looks"]) == {"3 6 12"}
    assert looks["seeds"].between(3, 12).all()
    needed = pd.read_csv(both.file(layout.SIZES_NEEDED), keep_default_na=False)
    effects = {"-0.1", "+0.1", "+0.2", "+0.3", "measured"}
    assert set(needed["effect"]) == effects
    assert len(needed) == 2 * 2 * 6 * len(effects)
    for suffix in (".svg", ".pdf", ".png"):
        assert both.file(layout.CALIBRATION).with_suffix(suffix).exists()


def test_the_least_number_of_seeds_has_the_power():
    rows = [
        {"looks": looks, "n": n, "effect": effect, "power": power}
        for looks, n, effect, power in [
            ("", 3, "+0.1", 0.5),
            ("", 6, "+0.1", 0.91),
            ("", 8, "+0.1", 0.95),
            ("3 6", 6, "+0.2", 0.99),
            ("", 6, "+0.2", 0.89),
            ("", 6, "smallest", 0.99),
        ]
    ]
    table = pd.DataFrame(rows).assign(dataset="d", threshold="0.5", claim="", planted=np.nan)
    needed = calibration.sizes_needed(table).set_index("effect")["n"]
    assert needed["+0.1"] == 6
    assert np.isnan(needed["+0.2"])
    assert set(needed.index) == {"+0.1", "+0.2"}


def test_too_few_seeds_are_refused(tiny, tmp_path):
    study = Study(tiny, str(tmp_path / "study"))
    with pytest.raises(ConfigError, match=r"seeds: 2 with a value .* on controlled .* at least 6"):
        calibration.run(written(study, by_chance()))


def test_a_study_without_primary_claims_is_refused(tiny, tmp_path):
    tiny["losses"] = {"cross_entropy": {}, "focal": {}}
    study = Study({**tiny, "seeds": list(range(6))}, str(tmp_path / "study"))
    with pytest.raises(ConfigError, match="experiments: no primary claim has a value"):
        calibration.run(written(study, by_chance()))


@pytest.mark.parametrize("name", ["calibration", "calibration_field"])
def test_the_configurations_train_as_the_reference_study_does(name):
    """Its budget, its losses' and claims' cells; enough seeds."""
    config = yaml.safe_load(Path("configs", f"{name}.yaml").read_text())
    study = Study(config | {"mirror": "."})
    assert study.training.steps == claims.BUDGET
    assert len(study.seeds) >= population.LEAST_SEEDS
    for claim in claims.load().values():
        if claim.primary:
            assert {claim.about, *study.references} <= set(study.losses)
            levels = study.experiments[claim.experiment].levels
            assert all(claim.weights(own) for own in levels.values())
