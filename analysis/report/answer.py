"""The answer of a study: sentences, tables and lines, made from its tables.

`answer` gives one structure; the report's first screen, ``answer.md`` and the end of the log show
it. All of it is at the fixed learning rate and the reference setting. A mark shows
a clear difference from the first reference (`analysis.comparisons`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.comparisons import MARKS, SUITE
from analysis.figures import style
from analysis.recommendation import NEW
from analysis.report import cases, plain, sure
from analysis.report.cases import Case, short
from analysis.report.plain import bracket
from analysis.report.tables import signed
from analysis.scores.metrics import select
from experiments.datasets import DATASETS
from experiments.plan.losses import custom_modules

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

THRESHOLDS = {"0.5": "Threshold 0.5", "tuned": "Threshold tuned on validation images"}


@dataclass(frozen=True)
class Cell:
    """A mean score, half of its 95% interval, and a mark.

    meaning: of the mark. details: the intervals in full. best: first rank, which ties share.
    """

    score: str
    half: str
    mark: str
    meaning: str
    details: str
    best: bool


@dataclass(frozen=True)
class Row:
    """The cells of a loss. kind: own, reference or empty."""

    loss: str
    name: str
    kind: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """Losses x situations at a threshold, and the advice at it.

    columns: situation, and its levels or datasets. sentences: situation and advice.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Row]
    sentences: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """The answer on some datasets: a table per threshold.

    own: on the losses from outside the suite, at threshold 0.5: loss and reference, differences.
    """

    name: str
    own: Sequence[tuple[str, str]]
    tables: Sequence[Table]


@dataclass(frozen=True)
class Answer:
    """The first screen.

    parts: real datasets, then generated images; their own names are shown if there are several.
    single: each of several real datasets. note: the meaning of numbers and
    marks.
    """

    parts: Sequence[Part]
    single: Sequence[Part]
    sure: Sequence[str]
    claims: Sequence[plain.Line]
    note: str

    @property
    def log(self) -> Iterator[str]:
        """The lines of the log."""
        for part in self.parts:
            where = f"{part.name}: " * (len(self.parts) > 1)
            lines = [*part.own, *part.tables[0].sentences]
            yield from (f"{where}{lead}: {text}" for lead, text in lines)
        yield from (f"{line.sign} {line.verdict}: {line.text}" for line in self.claims)
        yield from self.sure


def answer(results: Results) -> Answer:
    """Return the answer of a study."""
    study, setting = results.study, results.study.settings[0].label
    advice = select(results.recommendation, setting=setting)
    advice = advice[advice["scope"] != NEW]
    compared = select(results.comparisons, setting=setting)
    real = [name for name, dataset in study.datasets.items() if not dataset.controlled]
    made = [name for name, dataset in study.datasets.items() if dataset.controlled]
    groups = {scope_name(study, real): [SUITE, *real]} if real else {}
    groups |= {f"generated images{f' ({name})' * (len(made) > 1)}": [name] for name in made}
    singles = {scope_name(study, [name]): [name] for name in real * (len(real) > 1)}
    return Answer(
        parts=list(parts(study, groups, advice, compared)),
        single=list(parts(study, singles, advice, compared)),
        sure=list(sure.lines(results, groups, select(compared, threshold="0.5"))),
        claims=plain.lines(study, results.verdicts),
        note=note(study),
    )


def is_own(study: Study, loss: str) -> bool:
    """Return whether a loss is from outside the suite."""
    return bool(custom_modules(study.losses[loss]))


def ordered(study: Study) -> list[str]:
    """Return the losses: those from outside the suite, the references, then the others."""
    own = [loss for loss in study.losses if is_own(study, loss)]
    return list(dict.fromkeys([*own, *study.references, *study.losses]))


def scope_name(study: Study, names: Sequence[str]) -> str:
    """Return real datasets in words: "your images" if they are no public datasets."""
    own = [name for name in names if study.datasets[name].source not in DATASETS]
    if len(names) == 1:
        return f"your images ({names[0]})" if own else names[0]
    if len(own) == len(names):
        return f"your {len(names)} datasets"
    return f"these {len(names)} {'' if own else 'public '}datasets"


def note(study: Study) -> str:
    """Return the meaning of the numbers and marks."""
    reference = style.name(study.references[0])
    grid = " Reference setting of the training grid." * (len(study.settings) > 1)
    if len(study.seeds) == 1:
        return f"Mean Dice score (DSC). One seed: no intervals, no marks.{grid}"
    return (
        "Mean Dice score (DSC) ± half of its 95% interval; bold: the highest mean; others may be "
        f"as good. ▲ better, ▼ worse than {reference}: paired by seed and image, so that intervals "
        "may overlap; two-sided, with Holm's correction for the situations of a row. If a loss "
        f"equals {reference} everywhere, its row has a mark with a probability of at most 5%. "
        "At most: a 95% bound."
        f"{grid}"
    )


def parts(
    study: Study, groups: dict[str, list[str]], advice: pd.DataFrame, compared: pd.DataFrame
) -> Iterator[Part]:
    """Yield the answer on each group of datasets: a situation is at the first scope that has it."""
    for name, scopes in groups.items():
        tables = []
        for threshold, title in THRESHOLDS.items():
            own = select(compared, threshold=threshold)
            found = cases.cases_of(study, scopes, select(advice, threshold=threshold), own)
            if found := list(found):
                tables.append(table(study, title, found, own))
        at_half = select(compared, threshold="0.5")
        own = [
            line
            for loss in filter(partial(is_own, study), study.losses)
            for line in cases.of_own(study, loss, scopes, at_half)
        ]
        if tables:
            yield Part(name, own, tables)


def table(study: Study, title: str, found: Sequence[Case], compared: pd.DataFrame) -> Table:
    """Return the table of some cases; compared: rows of ``comparisons.csv`` at its threshold."""
    rows = []
    for loss in ordered(study):
        kind = "reference" if loss in study.references else ""
        cells = [cell(study, case, loss, compared) for case in found]
        rows.append(Row(loss, style.name(loss), "own" if is_own(study, loss) else kind, cells))
    columns = [(case.situation, case.about) for case in found]
    return Table(title, columns, rows, list(cases.in_short(study, found)))


def cell(study: Study, case: Case, loss: str, compared: pd.DataFrame) -> Cell:
    """Return the cell of a loss in a situation."""
    reference = study.references[0]
    own = select(compared, situation=case.situation, scope=case.scope, loss=loss)
    (score,) = select(own, against="").to_dict("records")
    half, told, details = score["high"] - score["low"], case.told.get(loss, ""), ""
    if not np.isnan(half):
        details = f"95% interval {short(score['low'])} to {short(score['high'])}"
    for row in select(own, against=reference).to_dict("records"):
        known = f" {bracket(row)}" if not np.isnan(row["low"]) else ""
        less = f"minus {style.name(reference)}: {signed(row['value'])}{known}"
        details = "; ".join(filter(None, (details, less)))
    return Cell(
        score=short(case.scores[loss]),
        half="" if np.isnan(half) else f"±{short(half / 2)}",
        mark=MARKS.get(told, ""),
        meaning=f"{told} than {style.name(reference)}" if told else "",
        details=details,
        best=loss in case.first,
    )
