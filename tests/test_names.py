"""Names that YAML, pandas or Python would read as numbers, as missing or as true."""

import pandas as pd
import pytest
import yaml

from analysis.figures import draw, scope
from analysis.results import Results
from analysis.stamps import Stamps
from experiments.errors import ConfigError
from experiments.plan.knobs import KNOBS
from experiments.plan.study import Study
from experiments.runs.table import read_csv
from tests.conftest import write_halves
from tests.results import write_results
from tests.workflow import copy_tree, snakemake

NAMES = ("2018", "007", "1e3", "NA", "null", "None", "nan", "true", "inf", "-0", "0x10", "1_000")


def test_a_column_of_text_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "table.csv"
    table = pd.DataFrame({"loss": [*NAMES, ""], "x": range(len(NAMES) + 1), "y": float("nan")})
    table.to_csv(path, index=False)
    found = read_csv(path, ("x", "y").__contains__)
    assert list(found["loss"]) == [*NAMES, ""]
    assert found["x"].sum() == table["x"].sum()
    assert found["y"].isna().all()
    assert read_csv(path, ("x", "y").__contains__, ("loss",))["loss"].isna().sum() == 1


def renamed(config):
    """A study in which every name is one of NAMES, but for the experiments of claims."""
    own = {"folder": "halves", "train": 8, "val": 2, "test": 2}
    return config | {
        "study": "NA",
        "datasets": {"007": own | {"classes": {"None": 4, "true": 9}}},
        "losses": {"2018": {"use": "cross_entropy"}, "null": {"use": "dice"}},
        "reference": "2018",
        "experiments": {
            "boundary": {"levels": {"NA": {}, "1e5": {"blur": 1}}},
            "inf": {"knob": "blur", "values": [0, 1]},
        },
        "models": {"2018": {"steps": 2}, "nan": {"steps": 3}},
    }


def test_a_study_of_such_names_ends_with_verdicts_ranks_and_a_report(tiny, in_tmp):
    folder = copy_tree(in_tmp)
    write_halves(folder / "halves")
    config = renamed(tiny)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder)
    results = Results.open("results/NA")
    study, table = results.study, results.table
    assert set(table["status"]) == {"ok"}
    assert set(table["class"]) == {"None", "true"}
    for column, names in (("dataset", study.datasets), ("loss", study.losses)):
        for frame in (table, results.estimates, results.ranks):
            assert set(frame[column]) == set(names), column
    assert set(table["model"]) == {"2018", "nan"}
    assert set(results.estimates["level"]) == {"", "NA", "1e5", "0", "1"}
    trained = results.verdicts[results.verdicts["level"] == "field"]
    assert set(trained["against"]) == {"2018"}
    assert set(results.verdicts["loss"]) > {"null"}
    assert set(trained["setting"]) == {"model 2018", "model nan"}
    assert (trained["n"] == 2).all()
    assert (trained["n"] == trained["planned"]).all()
    assert len(results.ranks) == 2 * 2 * 2  # experiments, models, losses
    html = (folder / "results" / "NA" / "report.html").read_text()
    assert "model nan" in html
    assert "<td>null</td>" in html
    assert "<option>null</option>" in html


@pytest.mark.parametrize(
    ("text", "setting", "name"),
    [
        ("datasets: {2018: {source: controlled}, controlled: {}}", "datasets", "2018"),
        ("datasets: {007: {source: controlled}}", "datasets", "7"),
        ("datasets: {w: {source: wbc, classes: {1: masks}}}", "datasets.w.classes", "1"),
        ("losses: {null: {use: dice}, cross_entropy: {}}", "losses", "None"),
        ("experiments: {2018: {levels: {a: {}}}, b: {levels: {a: {}}}}", "experiments", "2018"),
        ("experiments: {e: {levels: {yes: {}, b: {blur: 1}}}}", "experiments.e.levels", "True"),
        ("experiments: {e: {levels: {0.5: {}}}}", "experiments.e.levels", "0.5"),
        ("models: {2018: {}, ~: {}}", "models", "2018"),
        ("2018: 1", "configuration", "2018"),
    ],
)
def test_a_name_that_yaml_reads_as_no_text_is_refused_with_advice(tiny, text, setting, name):
    with pytest.raises(ConfigError) as error:
        Study(tiny | yaml.safe_load(text) | {"seeds": [0, 0]})
    problems = error.value.problems
    (problem,) = (p for p in problems if p.startswith(f"{setting}: the name {name} is not allowed"))
    assert "a text" in problem
    assert "quotes" in problem
    assert any("seeds: duplicate" in p for p in problems)  # all problems are reported


@pytest.mark.parametrize("name", [2018, True, None, 1.5])
def test_a_name_that_is_a_value_is_refused_with_advice(tiny, name):
    tiny["datasets"] = {"wbc": {"source": name}}
    if name is None:  # the default
        assert Study(tiny).datasets["wbc"].source == "wbc"
        return
    with pytest.raises(ConfigError, match=r"datasets\.wbc\.source: .*a text \(in quotes\)"):
        Study(tiny)


@pytest.mark.parametrize("name", ["one", "axis", "number", "word"])
def test_every_name_is_in_the_words_of_a_problem(tiny, name):
    tiny["datasets"] = {name: {"source": "controlled", "trian": 3}, "controlled": {}}
    tiny["experiments"] = {name: {"levels": {name: {"blur": -1}}}}
    with pytest.raises(ConfigError) as error:
        Study(tiny)
    words = str(error.value)
    assert f"datasets.{name}: unknown setting 'trian' (did you mean 'train'?)" in words
    assert f"experiments.{name}.levels.{name}.blur: -1" in words


def test_long_names_make_no_file_name_too_long(tiny):
    """Systems allow 255 bytes; a file that is being written has 30 more than its name."""
    long = [letter * 100 for letter in "abcdef"]
    tiny["datasets"] = {long[0]: {"source": "controlled"}}
    tiny |= {"losses": {name: {"use": "dice"} for name in long[1:3]}, "reference": long[1]}
    knobs = {n: 0.123456789012 for n, k in KNOBS.items() if k.low is not None and not k.whole}
    del knobs["flips"]
    tiny["experiments"] = {long[3]: {"levels": {"w" * 1000: {}, "v" * 1000: knobs}}}
    tiny |= {"models": {long[4]: {}, long[5]: {"steps": 7}}, "job_per": "loss"}
    tiny["training"]["augment"] = [["Blur"], [{"Blur": {"p": 0.123456789}}, "Affine", "Rotate"]]
    study = Study(tiny)
    paths = [str(path) for stamp in Stamps(study).all() for path in (stamp.path, *stamp.made)]
    paths += [run.path for run in study.runs]
    for one in scope.of_experiments(study):
        paths.append(one.stem(one.experiment.name, one.dataset, "examples") + ".svg")
    parts = {part for path in paths for part in path.split("/")}
    assert max(len(part.encode()) for part in parts) <= 255 - 30
    assert len({run.path for run in study.runs}) == len(study.runs) == 32
    assert len(study.jobs) == 2


def test_figures_whose_names_join_to_equal_ones_are_all_drawn(tiny, tmp_path):
    tiny["experiments"] = {
        "curves": tiny["experiments"]["noise"],
        "a_examples": tiny["experiments"]["noise"],
    }
    tiny["datasets"] = {
        "controlled": {},
        "b": {"source": "controlled"},
        "b_examples": {"source": "controlled"},
    }
    stems = [figure.stem for figure in draw.plan(write_results(tmp_path / "tiny", tiny))]
    assert len(set(stems)) == len(stems)
    assert {"curves_controlled", "curves_controlled-2"} <= set(stems)
