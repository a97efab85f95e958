"""The paper: text as LaTeX, publications, methods, tables, and the compiled document."""

import copy
import importlib
import inspect
import re

import pandas as pd
import pytest

from analysis.figures import draw
from analysis.recommendation import COLUMNS, SUITE
from analysis.report import by_situation, citations, latex, methods, paper, tables
from experiments import layout
from experiments.datasets import DATASETS, load
from experiments.plan.study import Study
from losses import LOSSES
from tests.conftest import TINY
from tests.latex import needs_latex, problems
from tests.results import write_results
from tests.test_hostile import LABELS

HOSTILE = [LABELS[i] for i in (5, 6, 9, 10)]


@pytest.fixture(scope="module")
def config():
    """Two public datasets, a loss of one's own, hostile labels and an axis."""
    config = copy.deepcopy(TINY)
    config["datasets"] |= {"wbc": {"target": "nucleus"}, "camvid": {"classes": {"ways": [3, 4]}}}
    config["losses"] |= {"my_loss": {"use": "tests.user_losses:Mine", "alpha_1": 0.5}}
    config["losses"] |= {"steep": {"use": "tversky", "alpha": 0.3, "beta": 0.7}}
    config["experiments"] = {
        "object_size": {"levels": {label: {"blur": i} for i, label in enumerate(HOSTILE)}},
        "noise": {"knob": "flips", "values": [0, 0.3]},
    }
    config["training"]["steps"] = [6, 12]
    return config


@pytest.fixture(scope="module")
def results(tmp_path_factory, config):
    """Planted results of it, with some figures."""
    results = write_results(tmp_path_factory.mktemp("results") / "tiny", config)
    for name in ("verdicts", "ranking", "object_size_controlled", "noise_wbc"):
        draw.run(results, name)
    return results


@pytest.fixture(scope="module")
def folder(results):
    paper.run(results)
    return results.study.file(layout.PAPER)


# Text


def test_text_is_escaped_and_keeps_its_signs():
    assert latex.text("a_b & 95% <x>") == r"a\_b \& 95\% $<$x$>$"
    assert latex.text("−0.1 – ±2 ≥ |x|, -3") == r"$-$0.1 -- $\pm$2 $\geq$ $|$x$|$, $-$3"
    assert latex.text("Lovász") == "Lovász"
    assert latex.text("目标 🙂") == "(U+76EE U+6807) (U+1F642)"


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (
            "formula, 1 - 2 sum(PY) / ((sum P)^2 + (sum Y)^2), taken",
            r"formula, $1 - 2 \sum (PY) / ((\sum P)^2 + (\sum Y)^2)$, taken",
        ),
        ("(0 at n = 1, a 64 x 64 image)", r"(0 at $n = 1$, a $64 \times 64$ image)"),
        ("p = 1 / (1 + exp(distance / width)).", None),
        ("|P - T| / (P + T)", "$|P - T| / (P + T)$"),
        (
            "Dice + CE, cross-entropy, and/or, a - b_c",
            r"Dice + CE, cross-entropy, and/or, a - b\_c",
        ),
    ],
)
def test_formulas_become_mathematics_and_words_do_not(plain, expected):
    expected = expected or r"$p = 1 / (1 + \exp (\mathrm{distance} / \mathrm{width}))$."
    assert latex.text(plain) == expected


def test_a_wide_table_is_split_and_keeps_its_first_columns():
    frame = pd.DataFrame({"loss": ["Dice"]} | {f"metric number {i}": ["0.123"] for i in range(40)})
    parts = latex.split(frame)
    assert len(parts) > 1
    assert all(part[0] == "loss" for part in parts)
    assert [c for part in parts for c in part[1:]] == list(frame)[1:]
    assert all(latex.needed(latex.widths(frame[part])) <= latex.WIDTH for part in parts)


# Publications


def source_of(name):
    """The line "Source: ..." in the docstring of a loss, if it is a publication."""
    module, _, cls = LOSSES[name].path.partition(":")
    doc = inspect.getdoc(getattr(importlib.import_module(module), cls))
    found = re.search(r"Source: (.*?\d{4})", doc, re.DOTALL)
    return found[1] if found else None


def author_and_year(entry):
    surname = re.search(r"author = \{([^,]+),", entry.text)[1]
    return re.sub(r"[{}\\`]", "", surname), int(re.search(r"year = \{(\d+)\}", entry.text)[1])


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_with_a_source_cites_it(name):
    source = source_of(name)
    entries = [e for e in citations.entries().values() if name in e.uses["losses"]]
    assert bool(entries) == bool(source)
    for author, year in map(author_and_year, entries):
        assert author in source
        assert abs(year - int(source[-4:])) <= 1  # early access and the issue


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_cites_its_publications(name):
    words = load(name).ABOUT.citation
    entries = [e for e in citations.entries().values() if name in e.uses["datasets"]]
    assert entries
    for author, _ in map(author_and_year, entries):
        assert author in words
    assert all(doi.rstrip(".") in "".join(e.text for e in entries) for doi in dois(words))


def dois(words):
    return re.findall(r"doi:(\S+)", words)


def test_every_entry_has_a_use_and_a_title():
    known = {"losses": LOSSES, "datasets": DATASETS}
    for key, entry in citations.entries().items():
        used = [name for names in entry.uses.values() for name in names if name]
        assert used, key
        assert all(name in known.get(k, used) for k, v in entry.uses.items() for name in v if name)
        assert "title = {" in entry.text
        assert "losses =" not in entry.text


# The table of losses by situation


def advice(**columns):
    return dict.fromkeys(COLUMNS, "") | {"threshold": "0.5", "score": 0.5} | columns


def test_the_losses_by_situation_are_marked(config):
    study = Study(config)
    setting = study.settings[0].label
    at = {"scope": "wbc", "situation": "as is", "setting": setting}
    table = pd.DataFrame(
        [
            advice(**at, loss="dice", advised="yes", may_be_as_good="yes"),
            advice(**at, loss="cross_entropy", may_be_as_good="yes"),
            advice(**at, loss="my_loss", score=0.25),
            advice(**at | {"situation": "flipped labels"}, loss="dice"),
            advice(**at | {"threshold": "tuned"}, loss="dice", score=0.9),
        ]
    )
    known = table[table["loss"] != "cross_entropy"]
    compared = known.assign(against="", low=0.4, high=0.6)
    compared = pd.concat([compared, compared.assign(against="dice", low=-1.0, high=1.0)])
    wide = by_situation.wide(by_situation.by_situation(study, table, compared, "wbc"))
    assert list(wide.columns) == ["loss", "as is", "flipped labels"]
    assert list(wide["loss"]) == ["Dice", "", "Cross-entropy", "", "my_loss", ""]
    assert list(wide["as is"]) == ["0.500*", "0.40 to 0.60", "0.500=", "", "0.250", "0.40 to 0.60"]
    assert list(wide["flipped labels"])[:3] == ["0.500", "0.40 to 0.60", "–"]


def test_several_public_datasets_have_one_table_and_generated_images_their_own(config):
    table = pd.DataFrame({"scope": ["controlled", "wbc", "camvid", SUITE, "a new dataset"]})
    assert by_situation.scopes(Study(config), table) == [SUITE, "controlled"]
    assert by_situation.scopes(Study(config), table.head(2)) == ["controlled", "wbc"]


# The folder


def test_a_paper_has_a_caption_a_label_and_a_file_for_each_figure_and_table(results, folder):
    figures = (folder / "figures.tex").read_text()
    for stem in results.captions:
        assert (folder / "figures" / f"{stem}.pdf").exists()
        assert f"\\label{{fig:{stem}}}" in figures
    assert figures.count("\\caption{") == len(results.captions)
    main = (folder / "main.tex").read_text()
    stems = {path.stem for path in (folder / "tables").iterdir()}
    assert {"verdicts", "ranks", "losses_by_situation_controlled"} < stems
    for stem in stems:
        text = (folder / "tables" / f"{stem}.tex").read_text()
        assert f"\\label{{tab:{stem}}}" in text
        assert "\\toprule" in text
        assert f"\\input{{tables/{stem}}}" in main
        assert len(pd.read_csv(folder / "tables" / f"{stem}.csv"))
    assert "steps: 6, 12" in (folder / "README.txt").read_text()


def test_the_csv_of_a_table_has_all_rows_and_columns(results, folder):
    frames = {paper.slug(title): frame for title, frame in tables.all_tables(results).items()}
    for stem, frame in frames.items():
        found = pd.read_csv(folder / "tables" / f"{stem}.csv", keep_default_na=False)
        assert list(found.columns) == list(frame.columns), stem
        assert len(found) == len(frame), stem


def test_the_printed_columns_exist(results):
    frames = {paper.slug(title): frame for title, frame in tables.all_tables(results).items()}
    for stem, columns in paper.PRINTED.items():
        if stem in frames:
            assert set(columns) - set(frames[stem]) <= {"setting", "reference"}, stem


def test_the_methods_follow_from_the_configuration(results, folder):
    text = (folder / "methods.tex").read_text().replace(r"\allowbreak{}", "")
    for words in (
        r"Dice~\cite{drozdzal2016importance}",
        r"my\_loss (our own, tests.user\_losses:Mine, alpha\_1 0.5)",
        r"steep~\cite{salehi2017tversky} (Tversky, alpha 0.3, beta 0.7)",
        r"\cite{zheng2018fast} (foreground: nucleus, licence: GPL-3.0); 96 training",
        "classes: ways",
        "for 6 steps of 2 images at a learning rate of 0.001",
        "Training steps, in different runs: 6, 12.",
        "decoder channels [16, 8, 8]",
        r"$32 \times 32$ pixels",
        "with 2 seeds",
    ):
        assert words in text, words
    cited = {key for keys in re.findall(r"cite\{(.*?)\}", text) for key in keys.split(",")}
    refs = (folder / "refs.bib").read_text()
    assert set(re.findall(r"^@\w+\{(.*),", refs, re.MULTILINE)) == cited


def test_the_methods_tell_the_parameters_of_the_model(results):
    from experiments.runs import models

    study = results.study
    found = methods.parameters(study)
    for (classes, multilabel), number in zip(study.class_counts, found, strict=False):
        model = models.build(study.training, 1, classes, multilabel)
        assert number == sum(p.numel() for p in model.parameters())


def test_the_methods_tell_the_looks(results, config):
    study = Study(config | {"seeds": {"looks": [3, 6]}})
    text = " ".join(methods.inference(study, results.verdicts))
    assert "looked at with 3 and 6 seeds" in text


def test_the_methods_tell_the_smallest_differences_of_trained_models(results):
    noise = results.verdicts[results.verdicts["claim"] == "noise"].iloc[:1]
    rows = [noise.assign(level="mechanism", smallest=0.25, unit="share"), noise]
    text = " ".join(methods.inference(results.study, pd.concat(rows)))
    assert "Smallest differences: noise 0.05 DSC." in text


@needs_latex
def test_the_paper_compiles_without_a_warning_that_a_reader_sees(folder):
    assert problems(folder) == []


@needs_latex
def test_every_sign_that_is_not_replaced_has_a_glyph(tmp_path):
    signs = [chr(i) for i in range(0x21, 0x2100) if "U+" not in latex.text(chr(i))]
    assert len(signs) > 300
    body = "\n".join(f"{latex.text(sign)} x" for sign in signs)
    head = paper.templates().get_template("main.tex.j2").render(title="x", main=(), further=())
    head = head[: head.index(r"\maketitle")]
    (tmp_path / "main.tex").write_text(f"{head}{body}\n\\end{{document}}\n")
    assert problems(tmp_path) == []
