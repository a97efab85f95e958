"""Verdicts in plain words: a sign, a word and a sentence per verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims
from analysis.claims import Claim
from analysis.figures import style
from analysis.remarks import NOT_MEASURED, state
from analysis.report.tables import signed
from analysis.scores import metrics
from analysis.scores.equivalence import WITHIN
from analysis.verdicts import POOLED, headline

if TYPE_CHECKING:
    from experiments.plan.study import Study

NO_SIGN = "–"
"""Sign of a state without a verdict; verdicts have those of `style.VERDICT_SIGNS`."""
MECHANISM = "mechanism"
ON_GENERATED = "generated images"
UNSETTLED = ", not settled whether enough to matter"

Row = Mapping[str, Any]
"""A verdict."""


@dataclass(frozen=True)
class Line:
    """A verdict in a line: sign and word, sentence, estimate, and datasets.

    more: the verdict on generated images, next to that on real ones.
    """

    claim: str
    sign: str
    verdict: str
    sentence: str
    estimate: str = ""
    where: str = ""
    more: str = ""

    @property
    def text(self) -> str:
        """The line without sign and word."""
        estimate = f": {self.estimate}" if self.estimate else ""
        where = f" ({self.where})" if self.where else ""
        return f"{self.sentence}{estimate}{where}{f'; {self.more}' if self.more else ''}"


def sign(verdict: str) -> str:
    """Return the sign of a verdict.

    >>> sign("supported"), sign("no verdict")
    ('✓', '–')
    """
    return style.VERDICT_SIGNS.get(verdict, NO_SIGN)


def sentence(claim: Claim, row: Row) -> str:
    """Return a verdict in plain words; the claim's title for a claim without plain words."""
    if claim.plain is None:
        return claim.title
    verdict, plain = state(row), claim.plain
    if verdict == "supported":
        found = plain.holds
    elif verdict == "contradicted":
        same = row["rule"] != WITHIN and row["smallest"] >= 0
        found = plain.neither if same and row["finding"] != "the reverse" else plain.reverse
    elif verdict == "undecided":
        found = _open(plain, row)
    else:
        return _filled(claim.says or claim.title, row)
    return _filled(found, row)


def _open(plain: claims.Plain, row: Row) -> str:
    """Return the words of an open verdict: the side of 0, if that is known."""
    if row["rule"] != WITHIN and row["low"] > 0:
        return f"{plain.holds}{UNSETTLED}"
    if row["rule"] != WITHIN and row["high"] < 0:
        return f"{plain.reverse}{UNSETTLED}"
    holds = plain.holds
    return f"Not settled whether {holds if holds[0] == '{' else holds[0].lower() + holds[1:]}"


def _filled(words: str, row: Row) -> str:
    return words.format(
        loss=style.name(row["loss"]),
        against=style.name(row["against"]),
        size=f"{abs(row['estimate']):.2f}",
    )


def bracket(row: Row) -> str:
    """Return the 95% interval of a row in brackets.

    >>> bracket({"low": -0.5, "high": 0.25})
    '[−0.500, +0.250]'
    """
    return f"[{signed(row['low'])}, {signed(row['high'])}]"


def estimate(row: Row) -> str:
    """Return a verdict's estimate with its 95% interval and unit.

    >>> row = {"level": "field", "estimate": 0.2, "error": 0.1, "low": 0.1, "high": 0.3}
    >>> estimate(row | {"unit": "DSC"})
    '+0.200 [+0.100, +0.300] DSC'
    """
    if np.isnan(row["estimate"]) or row["level"] == MECHANISM:
        return ""
    if np.isnan(row["error"]):
        return f"{signed(row['estimate'])} {row['unit']}, no interval"
    return f"{signed(row['estimate'])} {bracket(row)} {row['unit']}"


def lines(study: Study, verdicts: pd.DataFrame) -> list[Line]:
    """Return a line per claim against the first reference, at the reference setting.

    It is about real datasets (the mean of several), then generated images. Published findings, and
    claims on losses that the study lacks, are left out.
    """
    table = headline(verdicts)
    table = table[table["against"].isin(["", study.references[0]])]
    found = []
    for name, claim in claims.load().items():
        rows = metrics.select(table, claim=name).to_dict("records")
        if rows and not claim.brief and claim.about in study.losses:
            found.append(_of_claim(study, name, claim, rows))
    return found


def _of_claim(study: Study, name: str, claim: Claim, rows: Sequence[Row]) -> Line:
    if claim.weights is None:
        return line(name, claim, rows[0])
    shown = [row for row in rows if row["setting"] == study.settings[0].label]
    shown = [row for row in shown if row["level"] != MECHANISM and state(row) != NOT_MEASURED]
    real = _of_real([row for row in shown if row["level"] == "field"])
    made = [row for row in shown if row["level"] == "controlled"]
    if not shown:
        return Line(name, NO_SIGN, NOT_MEASURED, claim.title)
    several = len(study.datasets) > 1
    if not real:
        return line(name, claim, made[0], ON_GENERATED * several)
    first = line(name, claim, real[0], real[0]["dataset"] * several)
    more = [line(name, claim, row) for row in (*real[1:], *made)]
    where = [*(row["dataset"] for row in real[1:]), *(ON_GENERATED for _ in made)]
    return replace(
        first,
        more="; ".join(
            f"{place}: {'' if other.sentence == first.sentence else _said(other)}{other.estimate}"
            for place, other in zip(where, more, strict=True)
        ),
    )


def _of_real(rows: Sequence[Row]) -> list[Row]:
    """Return the verdict on the mean of several real datasets that answer, else those of each.

    Without an interval the mean has no verdict, and its estimate is that of the datasets.
    """
    single = [row for row in rows if row["dataset"] != POOLED]
    pooled = [dict(row) for row in rows if row["dataset"] == POOLED]
    if len(single) < 2 or not pooled:
        return single
    if np.isnan(pooled[0]["estimate"]):
        pooled[0]["estimate"] = float(np.mean([row["estimate"] for row in single]))
    return pooled


def _said(other: Line) -> str:
    return f"{other.sign} {other.verdict}, "


def line(name: str, claim: Claim, row: Row, where: str = "") -> Line:
    """Return a verdict in a line."""
    verdict = state(row)
    return Line(name, sign(verdict), verdict, sentence(claim, row), estimate(row), where)
