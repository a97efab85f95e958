"""Tables as the page shows them: headings with their meanings, constant columns in the caption."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.figures import style
from analysis.report.columns import meaning

FILTERS = {
    "dataset": ("dataset", "datasets"),
    "experiment": ("experiment",),
    "loss": ("loss",),
    "threshold": ("threshold",),
}
"""Filter of the page -> headings of the columns that it looks at."""
NUMBER = re.compile(r"(±|≥ |[+−])?(\d*\.)?\d+(e[+−]?\d+)?( (of|to) .*)?|exact|–|")
"""A number, an interval, "3 of 4", or no value."""
LONG = 24
"""Characters of the longest text of a column without line breaks."""


@dataclass(frozen=True)
class Head:
    """A heading. filter: the name of the filter that looks at the column, or empty.

    kind: n, a column of numbers; t, one of long texts; or empty.
    """

    name: str
    meaning: str
    filter: str
    kind: str


@dataclass(frozen=True)
class Sheet:
    """A table of the page. constant: filter -> the value of all rows, where a column was dropped.

    note: the dropped columns with their values, as sentences.
    """

    title: str
    slug: str
    heads: list[Head]
    rows: list[tuple[str, ...]]
    constant: dict[str, str]
    note: str

    @property
    def name(self) -> str:
        """The first words of the title."""
        return first_words(self.title)


def sheets(tables: Mapping[str, pd.DataFrame]) -> list[Sheet]:
    """Return the tables of a study (title -> frame of text) for the page."""
    return [sheet(title, frame) for title, frame in tables.items()]


def filters(made: Sequence[Sheet]) -> dict[str, list[str]]:
    """Return filter -> the values that it offers, in the order of the tables."""
    found: dict[str, dict[str, None]] = {key: {} for key in FILTERS}
    for sheet in made:
        for key, value in sheet.constant.items():
            found[key][value] = None
        for column, head in enumerate(sheet.heads):
            if head.filter:
                found[head.filter] |= dict.fromkeys(row[column] for row in sheet.rows)
    offered = {key: [v for v in values if v not in ("", "–")] for key, values in found.items()}
    return {key: values for key, values in offered.items() if len(values) > 1}


def sheet(title: str, frame: pd.DataFrame) -> Sheet:
    """Return a frame of text for the page; a frame of one row keeps all its columns.

    >>> frame = pd.DataFrame({"loss": ["Dice", "Jaccard"], "threshold": "0.5", "DSC": [".1", ".2"]})
    >>> made = sheet("Scores: means", frame)
    >>> [head.name for head in made.heads], made.slug, made.note
    (['loss', 'DSC'], 'scores', 'All rows: threshold 0.5.')
    """
    same = [c for c in frame if len(frame) > 1 and frame[c].nunique() == 1]
    values = {c: frame[c].iloc[0] for c in same}
    shown = frame.drop(columns=same)
    return Sheet(
        title=title,
        slug=slug(title),
        heads=[head(name, shown[name]) for name in shown],
        rows=list(shown.itertuples(index=False, name=None)),
        constant={filter_of(name): value for name, value in values.items() if filter_of(name)},
        note=" ".join(_notes(values)),
    )


def _notes(constant: Mapping[str, str]) -> Iterator[str]:
    given = [f"{style.title(name)} {v}" for name, v in constant.items() if v not in ("", "–")]
    empty = [style.title(name) for name, v in constant.items() if v in ("", "–")]
    if given:
        yield f"All rows: {'; '.join(given)}."
    if empty:
        yield f"No value in any row: {', '.join(empty)}."


def head(name: str, values: pd.Series) -> Head:
    """Return the heading of a column."""
    numeric = all(map(NUMBER.fullmatch, values)) and not filter_of(name)
    kind = "n" if numeric else "t" if values.map(len).max() > LONG else ""
    return Head(style.title(name), meaning(name), filter_of(name), kind)


def filter_of(name: str) -> str:
    """Return the filter that looks at a column; empty if none does."""
    return next((key for key, names in FILTERS.items() if name in names), "")


def slug(title: str) -> str:
    """Return the id of a table from the first words of its title.

    >>> slug("Scores by class, each against the rest")
    'scores-by-class'
    """
    return "-".join(re.findall("[a-z]+", first_words(title).lower()))


def first_words(title: str) -> str:
    """Return a title up to its first comma or colon."""
    return re.split("[,:;]", title)[0]
