"""The recommendation in short sentences: a case per situation, and advice on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import situations
from analysis.comparisons import BETTER, SUITE, WORSE
from analysis.figures import style
from analysis.recommendation import YES
from analysis.report.plain import bracket
from analysis.report.tables import signed
from analysis.scores.metrics import select

if TYPE_CHECKING:
    from experiments.plan.study import Study

SHOWN = 3
"""Losses that a sentence names."""


@dataclass(frozen=True)
class Case:
    """A situation at one scope and threshold.

    about: its levels or datasets. scores, told: by loss; told: BETTER or WORSE than the first
    reference, or empty. alike: the advised loss, then those that may be as good, the best first;
    empty without draws. first: losses of the first rank, which ties share. bound: 95%, of the
    score that the advised loss loses.
    """

    situation: str
    about: str
    scope: str
    scores: Mapping[str, float]
    told: Mapping[str, str]
    alike: Sequence[str]
    first: Sequence[str]
    bound: float


def first_scope(table: pd.DataFrame, situation: str, scopes: Sequence[str]) -> str | None:
    """Return the first of the scopes that has a situation."""
    present = set(table.loc[table["situation"] == situation, "scope"])
    return next((scope for scope in scopes if scope in present), None)


def cases_of(
    study: Study, scopes: Sequence[str], advice: pd.DataFrame, compared: pd.DataFrame
) -> Iterator[Case]:
    """Yield the situations that the scopes have, in their order.

    advice, compared: rows of ``recommendation.csv`` and ``comparisons.csv`` at one threshold and
    setting.
    """
    for situation in situations.KNOBS:
        scope = first_scope(advice, situation, scopes)
        if scope is None:
            continue
        rows = select(advice, situation=situation, scope=scope).set_index("loss")
        told = select(compared, situation=situation, scope=scope, against=study.references[0])
        alike = rows[rows["may_be_as_good"] == YES].sort_values("score", ascending=False)
        advised = rows[rows["advised"] == YES]
        yield Case(
            situation=situation,
            about=_about(study, situation, scope, int(rows["datasets"].iloc[0]), scopes),
            scope=scope,
            scores=rows["score"].to_dict(),
            told=told.set_index("loss")["told"].to_dict(),
            alike=list(dict.fromkeys([*advised.index, *alike.index])),
            first=list(rows.index[rows["rank"] == 1]),
            bound=float(advised["bound"].iloc[0]) if len(advised) else np.nan,
        )


def _about(study: Study, situation: str, scope: str, datasets: int, scopes: Sequence[str]) -> str:
    """Return the levels of a situation, and its datasets if it has not all of the scopes."""
    names = [name for name in scopes if name in study.datasets]
    having = names if scope == SUITE else [scope]
    where = ""
    if scope != SUITE and len(names) > 1:
        where = scope
    elif datasets < len(having):
        where = f"{datasets} of {len(names)} datasets"
    return ", ".join(filter(None, (situations.words(study, situation, having), where)))


# Sentences


def in_short(study: Study, cases: Sequence[Case]) -> Iterator[tuple[str, str]]:
    """Yield (situation, advice), and one sentence on all situations without a difference."""
    alike = [case for case in cases if _no_difference(study, case)]
    others = [case for case in cases if case not in alike]
    for case in others:
        yield _lead(case), advice_of(study, case)
    if alike:
        spans = [f"{_lead(case).lower()} {_span(case.scores.values())}" for case in alike]
        lead = "Otherwise" if others else "All situations"
        yield lead, f"not clear which loss is better (mean DSC: {'; '.join(spans)})."


def _no_difference(study: Study, case: Case) -> bool:
    """Return whether the reference may be as good, and no loss is clearly better or worse."""
    return study.references[0] in case.alike and not any(case.told.values())


def _lead(case: Case) -> str:
    words = f"{case.situation[0].upper()}{case.situation[1:]}"
    return f"{words} ({case.about})" if case.about else words


def advice_of(study: Study, case: Case) -> str:
    """Return the advice on a situation: losses with their mean DSC, the reference, the bound."""
    reference = study.references[0]
    name = style.name(reference)
    if not case.alike:
        best = joined([f"{style.name(loss)} ({short(case.scores[loss])})" for loss in case.first])
        other = f"; {name} has {short(case.scores[reference])}" * (reference not in case.first)
        return f"greatest score: {best}{other}."
    shown = list(case.alike[:SHOWN])
    if reference in case.alike[SHOWN:]:
        shown[-1] = reference
    names = [f"{style.name(loss)} ({short(case.scores[loss])})" for loss in shown]
    if rest := len(case.alike) - len(shown):
        names.append(style.counted(rest, "other"))
    words = joined(names)
    if reference not in case.alike:
        words += f"; {name} ({short(case.scores[reference])}) is {_apart(case)}"
    worse = [
        loss for loss in case.scores if case.told.get(loss) == WORSE and loss not in case.alike
    ]
    if worse:
        scores = _span([case.scores[loss] for loss in worse])
        words += f"; not {joined([style.name(loss) for loss in worse])} ({scores})"
    bound = max(np.ceil(case.bound * 1000) / 1000, 0.001)
    return (
        f"{words}. Another loss is at most {short(bound)} better than {style.name(case.alike[0])}."
    )


def _apart(case: Case) -> str:
    """Return the losses of the advice that are better than the reference."""
    better = [loss for loss in case.alike if case.told.get(loss) == BETTER]
    if not better:
        return "not clearly worse"
    return "worse" if len(better) == len(case.alike) else f"worse than {_names(better)}"


def _names(losses: Sequence[str]) -> str:
    return joined([style.name(loss) for loss in losses], "and")


def joined(words: Sequence[str], last: str = "or") -> str:
    """Return words as a list in a sentence.

    >>> joined(["a", "b", "c"]), joined(["a"])
    ('a, b or c', 'a')
    """
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def short(value: float) -> str:
    """Return a score with three decimals and without a leading zero.

    >>> short(0.25), short(1.0), short(-0.5), short(float("nan"))
    ('.250', '1.000', '−.500', '–')
    """
    if np.isnan(value):
        return "–"
    return f"{value:.3f}".replace("0.", ".", 1).replace("-", "−") if abs(value) < 1 else "1.000"


def _span(values: Sequence[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    low, high = short(min(known, default=np.nan)), short(max(known, default=np.nan))
    return low if low == high else f"{low} to {high}"


# Losses from outside the suite


def of_own(
    study: Study, loss: str, scopes: Sequence[str], compared: pd.DataFrame
) -> Iterator[tuple[str, str]]:
    """Yield, per reference, the pair of losses and their clear differences, both in words.

    compared: rows of ``comparisons.csv`` at one setting and threshold.
    """
    for against in study.references:
        rows = select(compared, loss=loss, against=against)
        shown = [first_of(rows, situation, scopes) for situation in situations.KNOBS]
        shown = [row for row in shown if row is not None and not np.isnan(row["value"])]
        if shown:
            yield f"{style.name(loss)} against {style.name(against)}", f"{_differences(shown)}."


def first_of(table: pd.DataFrame, situation: str, scopes: Sequence[str]) -> pd.Series | None:
    """Return the row of a situation at the first scope that has it."""
    scope = first_scope(table, situation, scopes)
    return None if scope is None else select(table, situation=situation, scope=scope).iloc[0]


def _differences(rows: Sequence[pd.Series]) -> str:
    """Return the clear differences; the largest one if it is not among them."""
    parts = [
        f"{word}: {', '.join(_difference(row) for row in rows if row['told'] == word)}"
        for word in (BETTER, WORSE)
        if any(row["told"] == word for row in rows)
    ]
    most = max(rows, key=lambda row: abs(row["value"]))
    if any(np.isfinite(row["p"]) and not row["told"] for row in rows):
        parts.append(f"no clear difference {'elsewhere' if parts else 'in any situation'}")
    if not most["told"]:
        parts.append(f"largest difference: {_difference(most)}")
    return "; ".join(parts)


def _difference(row: pd.Series) -> str:
    known = bracket(row) if not np.isnan(row["low"]) else "(no interval)"
    return f"{row['situation']} {signed(row['value'])} {known}"
