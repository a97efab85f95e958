"""The claims in the report: verdicts as sentences, with the figures of each claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims
from analysis.claims import Claim
from analysis.families import YES
from analysis.figures import style
from analysis.remarks import NOT_MEASURED, state
from analysis.report import plain
from analysis.report.tables import following, interval, minus, signed
from analysis.verdicts import POOLED, headline

if TYPE_CHECKING:
    from experiments.plan.study import Study

LEVELS = ("mechanism", "controlled", "field")
TUNED = {
    ("tuned", "fixed"): "With each model's threshold tuned on validation images",
    ("0.5", "tuned"): "With each loss's learning rate tuned on validation images",
    ("tuned", "tuned"): "With both tuned",
}
"""Threshold and learning rate of a verdict that is printed below the headline."""

Row = dict[str, Any]
"""A verdict."""


def pages(
    study: Study, verdicts: pd.DataFrame, figures: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return a page per claim with a verdict: words, cards, verdicts by level, figures.

    Claims on losses that the study lacks have none. The first claim of an experiment has its
    figures. Published findings without a mechanism are in a table instead (`tables.findings`).
    """
    result, left = [], list(figures)
    about = headline(verdicts)
    for name, claim in claims.load().items():
        rows = about[about["claim"] == name].to_dict("records")
        if not rows or claim.brief or claim.about not in study.losses:
            continue
        others = verdicts[(verdicts["claim"] == name) & (verdicts["loss"] == claim.about)]
        lines = [line(study, claim, row, others.to_dict("records")) for row in rows]
        lines = [row | {"main": is_main(study, row, rows)} for row in lines]
        words, _, measured = minus(claim.words).partition("\n\n")
        own = figures_of(name, claim, left)
        left = [figure for figure in left if figure not in own]
        result.append(
            {
                "name": name,
                "title": claim.title,
                "words": words,
                "measured": measured,
                "lines": lines,
                "cards": [card(study, claim, lines, r) for r in unique(lines, "against")],
                "figures": own,
            }
        )
    return result


def is_main(study: Study, row: Row, rows: Iterable[Row]) -> bool:
    """Return whether a verdict is shown at once: at the first setting, and pooled if possible."""
    if row["level"] == "mechanism":
        return True
    pooled = any(other["dataset"] == POOLED for other in rows)
    first = row["setting"] == study.settings[0].label
    return first and (row["level"] != "field" or row["dataset"] == POOLED or not pooled)


def unique(rows: Iterable[Row], column: str) -> list[Any]:
    """Return the distinct values of a column, in their order.

    >>> unique([{"against": "ce"}, {"against": "dice"}, {"against": "ce"}], "against")
    ['ce', 'dice']
    """
    return list(dict.fromkeys(row[column] for row in rows))


def card(study: Study, claim: Claim, lines: Iterable[Row], against: str) -> dict[str, Any]:
    """Return the summary of a claim against one reference: its deciding verdicts by level."""
    lines = [row for row in lines if row["against"] == against]
    deciding = {level: decides(study, claim, lines, level) for level in LEVELS}
    trained = [row for level, row in deciding.items() if row and level != "mechanism"]
    measured = [row for row in trained if row["state"] != NOT_MEASURED]
    rows = lines if claim.weights is None else measured
    return {
        "against": style.name(against) if named(study, against) else "",
        "rows": rows,
        "levels": {level: summary(claim, level, row) for level, row in deciding.items()},
        "verdict": rows[-1]["state"] if rows else NOT_MEASURED,
    }


def named(study: Study, against: str) -> bool:
    """Return whether a reference is named next to a verdict: if there are several."""
    return bool(against) and len(study.references) > 1


def figures_of(name: str, claim: Claim, figures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the claim's own figures, then those of its experiment."""
    figures = list(figures)
    own = [figure for figure in figures if figure.get("claim") == name]
    if not claim.experiment or claim.figure:
        return own
    return own + [figure for figure in figures if figure.get("experiment") == claim.experiment]


def line(study: Study, claim: Claim, row: Row, others: Iterable[Row]) -> Row:
    """Return a verdict with its sentences; others: verdicts on the same claim and loss."""
    others = [
        other
        for other in others
        if all(other[column] == row[column] for column in ("level", "dataset", "against"))
        and not np.isnan(other["estimate"])
    ]
    tuned = [
        f"{words}: {result(other)}"
        for key, words in TUNED.items()
        for other in others
        if (other["threshold"], other["rate"]) == key and other["setting"] == row["setting"]
    ]
    settings = [
        f"With {other['setting']}: {result(other)}"
        for other in others
        if (other["threshold"], other["rate"]) == (row["threshold"], row["rate"])
        and other["setting"] != row["setting"]
    ]
    first = row["setting"] == study.settings[0].label
    # The plain words are about trained models, except for a claim that trains none.
    trained = row["level"] != "mechanism" or claim.weights is None
    where = [row["dataset"], row["setting"]]
    if named(study, row["against"]):
        where.append(f"against {style.name(row['against'])}")
    return row | {
        "where": ", ".join(filter(None, where)),
        "sentence": minus(sentence(claim, row)),
        "reason": minus(reason(row)),
        "state": state(row),
        "sign": plain.sign(state(row)),
        "plain": plain.line(row["claim"], claim, row).text if trained else "",
        "also": [*tuned, *(across(row, others) if first else ()), *settings],
    }


def across(row: Row, others: Iterable[Row]) -> list[str]:
    """Return a sentence on the training settings at which a verdict holds; none for one setting.

    >>> row = {"threshold": "0.5", "rate": "fixed", "verdict": "supported", "setting": "steps 9"}
    >>> own = row | {"setting": "", "stress": "blur-2, steps 99", "verdict": "undecided"}
    >>> across(own, [own, row | {"stress": "blur-2, steps 9"}])
    ['It depends on the training: undecided with steps 99; supported with steps 9']
    """
    same = ("threshold", "rate")
    found: dict[str, list[str]] = {}
    for other in others:
        if all(other[column] == row[column] for column in same):
            own = other["stress"].partition(", ")[2] or "the study's setting"
            found.setdefault(other["verdict"], []).append(other["setting"] or own)
    if sum(map(len, found.values())) < 2:
        return []
    if len(found) == 1:
        return [f"The verdict is the same with {', '.join(*found.values())}"]
    parts = (f"{verdict} with {', '.join(settings)}" for verdict, settings in found.items())
    return [f"It depends on the training: {'; '.join(parts)}"]


def result(row: Row) -> str:
    """Return a verdict with its estimate and 95% interval."""
    return f"{row['verdict']}, {signed(row['estimate'])} ({interval(row)})"


def sentence(claim: Claim, row: Row) -> str:
    """Return a verdict's estimate in words; nothing if there is no estimate."""
    if np.isnan(row["estimate"]):
        return ""
    mechanism = row["level"] == "mechanism"
    words = (claim.mechanism.says if mechanism else claim.says).format(
        loss=style.name(row["loss"]), against=style.name(row["against"])
    )
    if mechanism:
        return f"{words}: {signed(row['estimate'])} ({row['stress']}; computed)."
    pooled = row["dataset"] == POOLED
    average = f"on average over these {row['n']} datasets, " if pooled else ""
    if np.isnan(row["error"]):
        number = f"{row['n']} of {row['planned']} {sampled(row)}"
        return f"{words}: {average}{signed(row['estimate'])} {row['unit']} (no interval; {number})."
    return (
        f"{words}: {average}{signed(row['estimate'])} {row['unit']} (95% interval "
        f"{interval(row)}; 90% {interval(row, 'low90', 'high90')}; {row['n']} of "
        f"{row['planned']} {sampled(row)}).{elsewhere(row)}"
    )


def elsewhere(row: Row) -> str:
    """Return the sentence on a dataset that is not in the suite; empty for a single dataset."""
    effect = following(row)
    return f" A dataset that is not among them would show {effect} (95% prediction)." * bool(effect)


def sampled(row: Row) -> str:
    """Return the unit of a verdict's n.

    >>> sampled({"dataset": "wbc"}), sampled({"dataset": POOLED})
    ('paired seeds', 'datasets')
    """
    return "datasets" if row["dataset"] == POOLED else "paired seeds"


def reason(row: Row) -> str:
    """Return the reason for a verdict, with the remarks on it."""
    smallest = f"the smallest difference that matters, {row['smallest']:+g}"
    sentences = {
        "supported": f"At least {smallest}",
        "contradicted": f"Below {smallest}: {row['finding']}",
        "undecided": f"{row['finding'][0].upper()}{row['finding'][1:]}",
    }
    family = f" (p = {row['p_corrected']:.2g}, {row['family']} family)" * bool(row["family"])
    decided = row["verdict"] != "undecided"
    found = [sentences[row["verdict"]] + family * decided]
    if row["fragile"] == YES:
        found.append("Without some single seed it would not be decided")
    found += [f"{text[0].upper()}{text[1:]}" for text in row["reason"].split("; ") if text]
    return " ".join(f"{sentence}." for sentence in found)


def decides(study: Study, claim: Claim, lines: Iterable[Row], level: str) -> Row | None:
    """Return the line that summarises a level: at the reference setting, pooled if possible."""
    experiment = claim.experiment if level != "mechanism" else None
    reference = study.settings_of(experiment)[0].label if experiment in study.experiments else ""
    rows = [row for row in lines if row["level"] == level and row["setting"] == reference]
    pooled = [row for row in rows if row["dataset"] == POOLED]
    return next(iter(pooled or rows), None)


def summary(claim: Claim, level: str, row: Row | None) -> str:
    """Return a level's verdict in a word, with its sign."""
    if row:
        return f"{row['sign']} {row['state']}"
    applies = claim.experiment if level != "mechanism" else claim.mechanism
    return "not in this study" if applies else "does not apply"
