"""The whole workflow on a small study: from the configuration to the report."""

import shutil

import pandas as pd
import pytest
import yaml

from analysis import claims
from analysis.verdicts import KEY
from tests import latex
from tests.conftest import TINY
from tests.crates import problems
from tests.workflow import ROOT, copy_tree, records, same_but_time, snakemake, step


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A finished tiny study."""
    folder = copy_tree(tmp_path_factory.mktemp("study"))
    (folder / "study.yaml").write_text(yaml.safe_dump(TINY))
    said = snakemake(folder)
    return folder, said


CLAIMS = {
    *("definition", "imbalance", "boundary", "object_size", "noise", "threshold"),
    *("imbalance_slope", "region_size"),
}
"""The claims with a card; published findings are rows of a table."""


def test_a_study_ends_in_a_report_with_a_verdict_for_each_claim(studied):
    folder, said = studied
    results = folder / "results" / "tiny"
    table = pd.read_csv(results / "verdicts.csv")
    brief = {name for name, claim in claims.load().items() if claim.brief}
    assert set(table["claim"]) - brief == CLAIMS
    assert set(table["level"]) == {"mechanism", "controlled"}
    assert set(table["verdict"]) <= {"supported", "contradicted", "undecided"}
    trained = table[table["level"] != "mechanism"]
    assert (trained["planned"] == 2).all()
    assert not trained.duplicated(KEY).any()
    figures = {p.name for p in (results / "figures").iterdir()}
    for name in ("imbalance", "object_size", "boundary", "noise"):
        for end in (".svg", ".pdf", ".png", "_examples.png"):
            stem = f"{name}_controlled"
            assert f"{stem}{end}" in figures
    html = (results / "report.html").read_text()
    of_losses = CLAIMS - {"definition"}  # the printed formula is not among the losses
    assert html.count('class="card"') == len(of_losses)
    assert all(f'id="claim-{claim}"' in html for claim in of_losses)
    assert "## In short" in (results / "answer.md").read_text()
    assert "https://" not in html.split("<body>")[0]
    assert 'src="http' not in html
    assert len(records(folder)) == 24
    assert "[24/24]" in said
    assert said.splitlines()[-1] == f"dicebench: report: {results / 'report.html'}"
    assert "Finished jobid" not in said
    assert "[24/24]" in (results / "logs" / "train" / "controlled.log").read_text()


def test_a_paper_is_a_folder_of_figures_tables_and_captions(studied):
    folder, _ = studied
    snakemake(folder, "paper")
    paper = folder / "results" / "tiny" / "paper"
    assert (paper / "figures" / "verdicts.pdf").read_bytes().startswith(b"%PDF")
    assert "\\toprule" in (paper / "tables" / "verdicts.tex").read_text()
    assert len(pd.read_csv(paper / "tables" / "verdicts.csv")) > 0
    assert (paper / "figures.tex").read_text().count("\\caption{") > 10
    if shutil.which("latexmk"):
        assert latex.problems(paper) == []


def test_a_validator_accepts_the_archive_of_a_study(studied, monkeypatch):
    folder, _ = studied
    snakemake(folder, "archive")
    archive = folder / "results" / "tiny.zip"
    assert problems(archive, "workflow-run-crate-0.5", "REQUIRED", monkeypatch) == []


def test_a_second_call_finds_nothing_to_do(studied):
    folder, _ = studied
    assert "Nothing to be done" in snakemake(folder)


def test_figures_are_redrawn_by_hand(studied):
    folder, _ = studied
    figures = folder / "results" / "tiny" / "figures"
    before = {p.name: p.read_bytes() for p in figures.glob("[!.]*")}
    (figures / "noise_controlled.svg").unlink()
    step(folder, "analysis", "figures", "results/tiny", "noise_controlled")
    assert {p.name: p.read_bytes() for p in figures.glob("[!.]*")} == before
    shutil.rmtree(figures)
    step(folder, "analysis", "figures", "results/tiny")
    assert {p.name: p.read_bytes() for p in figures.iterdir()} == before


def test_one_deleted_record_is_one_run_trained_with_the_same_bytes(studied):
    folder, _ = studied
    before = records(folder)
    path = "controlled/flips-0.3/dice/lr-0.001/seed-1"
    run = folder / "results" / "tiny" / "runs" / path
    files = {p.name: p.read_bytes() for p in run.iterdir() if p.name != "run.json"}
    (run / "run.json").unlink()
    said = snakemake(folder)
    assert " 1 to train" in said
    after = records(folder)
    assert all(after[p] == before[p] for p in before if p != path)
    assert same_but_time(after[path], before[path])
    assert {n: (run / n).read_bytes() for n in files} == files


def test_a_loss_of_ones_own_trains_alone_and_stands_in_every_figure(studied):
    folder, _ = studied
    shutil.copy(ROOT / "tests" / "user_losses.py", folder / "some_module.py")
    config = yaml.safe_load((folder / "study.yaml").read_text())
    config["losses"]["my_loss"] = {"use": "some_module:MyLoss", "weight": 2}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    before = records(folder)
    said = snakemake(folder)
    after = records(folder)
    new = set(after) - set(before)
    assert " 12 to train" in said
    assert "prepared controlled" not in said
    assert all("/my_loss/" in path for path in new)
    assert len(new) == 12
    assert all(after[path] == before[path] for path in before)
    assert "my_loss" in set(pd.read_csv(folder / "results" / "tiny" / "verdicts.csv")["loss"])
    figures = folder / "results" / "tiny" / "figures"
    for figure in figures.glob("*.svg"):
        if not figure.name.startswith(("threshold_", "card_")):  # of some losses alone
            text = figure.read_text()  # losses with equal values may be one line
            assert "my_loss" in text or "all losses" in text, figure
    assert "Nothing to be done" in snakemake(folder)


def test_a_level_more_is_trained_alone(studied):
    folder, _ = studied
    config = yaml.safe_load((folder / "study.yaml").read_text())
    config["experiments"]["noise"]["values"] = [0, 0.1, 0.3]
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    before = records(folder)
    runs = len(config["losses"]) * len(config["seeds"])
    assert f" {runs} to train" in snakemake(folder, "collect")
    after = records(folder)
    assert all("/flips-0.1/" in path for path in set(after) - set(before))
    assert all(after[path] == before[path] for path in before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": [1, 1]}, "seeds: duplicate value 1"),
        ({"losses": {"dise": {}}}, "did you mean 'dice'"),
        ({"datasets": {"own": {"folder": "nowhere"}}}, "'nowhere' is not allowed"),
    ],
)
def test_a_bad_configuration_is_refused_before_any_job(tiny, tmp_path, change, words):
    folder = copy_tree(tmp_path)
    (folder / "study.yaml").write_text(yaml.safe_dump({**tiny, **change}))
    assert words in snakemake(folder, ok=False)
    assert not (folder / "results").exists()
