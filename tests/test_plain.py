"""Claims in plain words: signs, sentences, and no verdict without a measurement."""

import re

import pytest

from analysis import claims
from analysis.report import pages, plain
from experiments.plan.study import Study
from tests.tables import found, planted


def row_of(**columns):
    row = {"claim": "imbalance", "level": "controlled", "dataset": "controlled", "loss": "dice"}
    row |= {"against": "cross_entropy", "verdict": "undecided", "finding": "", "unit": "DSC"}
    row |= {"estimate": 0.1, "error": 0.1, "low": -0.1, "high": 0.3, "smallest": 0.05, "planned": 3}
    return row | {"rule": "at least"} | columns


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"verdict": "supported"}, "Dice finds rare foreground better than Cross-entropy"),
        (
            {"verdict": "contradicted", "finding": "the reverse"},
            "Dice finds rare foreground worse than Cross-entropy",
        ),
        (
            {"verdict": "contradicted", "finding": "no such difference"},
            "Dice finds rare foreground no better than Cross-entropy",
        ),
        ({}, "Not settled whether Dice finds rare foreground better than Cross-entropy"),
        ({"low": 0.01}, "Dice finds rare foreground better than Cross-entropy" + plain.UNSETTLED),
        ({"high": -0.01}, "Dice finds rare foreground worse than Cross-entropy" + plain.UNSETTLED),
    ],
)
def test_a_verdict_is_a_plain_sentence_in_the_direction_of_the_effect(columns, words):
    assert plain.sentence(claims.load()["imbalance"], row_of(**columns)) == words


def test_every_claim_has_plain_sentences():
    for name, claim in claims.load().items():
        known = (claim.plain.holds, claim.plain.reverse, claim.plain.neither)
        needed = (
            known if claim.smallest and claim.smallest > 0 and not claim.equivalent else known[:2]
        )
        assert all(needed), name
        for words in filter(None, known):
            fields = set(re.findall(r"{(\w+)}", words))
            assert fields <= {"loss", "against", "size"}, name
            assert ("against" in fields) == (claim.against != "" and claim.weights is not None), (
                name
            )


def test_a_claim_that_is_not_measured_has_a_card_without_a_verdict(tiny):
    del tiny["experiments"]["boundary"]
    study = Study(tiny)
    results = found(study, planted(lambda *_: 60))
    mechanism = row_of(claim="boundary", level="mechanism", setting="", threshold="", rate="")
    mechanism |= {"verdict": "contradicted", "finding": "the reverse"}
    table = results.verdicts
    table.loc[len(table)] = table.iloc[0].to_dict() | mechanism
    (page,) = [p for p in pages.pages(study, table, []) if p["name"] == "boundary"]
    (card,) = page["cards"]
    assert card["rows"] == []
    assert card["verdict"] == "not measured in this study"
    assert card["levels"]["mechanism"] == "✗ contradicted"
    table.loc[len(table)] = table.iloc[-1].to_dict() | {"claim": "definition"}
    table.loc[len(table) - 1, ["loss", "against", "estimate"]] = "article_dice", "", -0.99
    lines = plain.lines(study, table)
    assert "definition" not in {line.claim for line in lines}  # the study lacks the formula
    study.losses["article_dice"] = {"use": "article_dice"}
    last = plain.lines(study, table)[-1]
    assert (last.sign, last.text) == ("✗", "The printed formula is 0.99 at a perfect match, not 0")
    (line,) = [line for line in lines if line.claim == "boundary"]
    assert (line.sign, line.verdict) == ("–", "not measured in this study")


@pytest.mark.parametrize(
    ("name", "level", "speaks"),
    [
        ("noise", "mechanism", False),  # the sentence is about trained models
        ("noise", "controlled", True),
        ("definition", "mechanism", True),
    ],
)
def test_a_mechanism_says_nothing_about_trained_models(tiny, name, level, speaks):
    row = row_of(claim=name, level=level, verdict="contradicted", stress="x", setting="")
    row |= {"threshold": "0.5", "rate": "fixed", "n": 3, "low90": 0.0, "high90": 0.2}
    row |= {"family": "", "p": 0.5, "p_corrected": 0.5, "reason": "", "seeds_needed": 0}
    row |= {"fragile": "", "floor": "", "finding": "the reverse"}
    row |= dict.fromkeys(["next_low", "next_high", "next_probability"], float("nan"))
    shown = pages.line(Study(tiny), claims.load()[name], row, [row])
    assert bool(shown["plain"]) == speaks
