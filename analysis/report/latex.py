"""Texts, formulas and tables as LaTeX that pdflatex compiles; tables are no wider than a page."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

SIGNS = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    **{sign: f"${sign}$" for sign in "<>|"},
    **{"−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "×": r"$\times$"},
    **{"✓": r"$\checkmark$", "✗": r"$\times$", "▲": r"$\blacktriangle$"},
    "▼": r"$\blacktriangledown$",
}
"""Sign -> LaTeX in a text."""
LONGEST, LETTERS = 1000, 20
"""Characters of a text, at most, and of a word that is not broken."""
BREAK, BITE = "\u200b", 4
"""Place to break a word, and letters from one to the next after the first LETTERS."""
LONG = re.compile(rf"(?<=\S{{{LETTERS}}})\S+")
TABLE = str.maketrans(SIGNS | {BREAK: r"\allowbreak{}"})
UNKNOWN = re.compile(rf"[^ -~¡-·¹-ĥĨ-ķĹ-ľŁ-ňŊ-ťŨ-ž‘’“”{re.escape(''.join(SIGNS))}{BREAK}]+")
"""Characters that the fonts of pdflatex lack."""
MINUS = re.compile(r"(?<![\w.)])-(?=\d)")

WIDTH, GAP, EM = 132, 1.7, 0.5
"""Characters of a line of a table, and of the space between columns; em of a character."""
NARROW = 0.85
"""Share of WIDTH up to which a table can have larger letters."""
NUMBER = r"[≥±+−-]? ?[\d.]+%?(?: (?:to|of) [+−-]?[\d.]+)?[*=]?"
SMALL = "\\begingroup\\{size}\\setlength{{\\tabcolsep}}{{3pt}}\n"
END = "\\endgroup\n"

ATOM = r"(?:(?<![\w.])(?:\d+(?:\.\d+)?(?:e-?\d+)?|[B-HJ-Zb-np-z]|PY|distance|width)(?![\w.]\w*))"
OPERATOR = r"(?: ?[=/+] ?| [-−x] | (?=sum\b))"
IN_FORMULAS = {
    r"\b(sum|exp)\b ?": r"\\\1 ",
    r"\b(distance|width)\b": r"\\mathrm{\1}",
    r" x ": r" \\times ",
    r"(?<=\d)e(-?)0*(\d+)": r" \\times 10^{\1\2}",
    "−": "-",
}
"""Pattern of a plain formula -> LaTeX."""


def _formulas() -> re.Pattern[str]:
    """Return the pattern of plain formulas, of up to three nested brackets."""
    factor = ATOM
    for _ in range(3):
        inside = f"{factor}(?:{OPERATOR}{factor})*"
        bracket = rf"(?:(?:sum|exp) ?)?(?:\({inside}\)|\|{inside}\|)"
        factor = rf"(?:(?:{bracket}|(?:sum )?{ATOM})(?:\^\d)?)"
    return re.compile(f"({factor}(?:{OPERATOR}{factor})+)")


FORMULAS = _formulas()


def text(plain: str) -> str:
    r"""Return plain text as LaTeX, in one paragraph.

    Formulas become mathematics. A character that pdflatex cannot print becomes its code point.

    >>> print(text("a_b & 95% <x>"), text("1 / (sum P)^2"), text("目标"))
    a\_b \& 95\% $<$x$>$ $1 / (\sum P)^2$ (U+76EE U+6807)
    >>> print(text("p = 2e-05, at least -0.01"))
    $p = 2 \times 10^{-5}$, at least $-$0.01
    """
    plain = " ".join(unicodedata.normalize("NFC", plain).split())
    plain = plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}…"
    parts = FORMULAS.split(plain)
    return "".join(formula(p) if i % 2 else _escaped(p) for i, p in enumerate(parts))


def formula(plain: str) -> str:
    r"""Return a plain formula as LaTeX.

    >>> print(formula("1 - 2 sum(PY) / ((sum P)^2 + (sum Y)^2)"))
    $1 - 2 \sum (PY) / ((\sum P)^2 + (\sum Y)^2)$
    """
    for pattern, latex in IN_FORMULAS.items():
        plain = re.sub(pattern, latex, plain)
    return f"${plain}$"


def _escaped(plain: str) -> str:
    """Return text without formulas as LaTeX; words above LETTERS can be broken."""
    plain = LONG.sub(lambda word: re.sub(rf"(\S{{{BITE}}})", rf"{BREAK}\1", word[0]), plain)
    plain = MINUS.sub("−", plain)
    plain = UNKNOWN.sub(lambda found: f"({' '.join(f'U+{ord(c):04X}' for c in found[0])})", plain)
    return plain.translate(TABLE)


# Tables


def printed(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    environment: str = "longtable",
    cell: Callable[[str], str] = text,
) -> Iterator[str]:
    """Yield the tables that print a frame of text, each no wider than a page's text.

    name: of the label, ``tab:NAME``. caption: LaTeX. environment: `longtable` or `table`. cell:
    returns the LaTeX of a cell.
    """
    parts = [frame[columns] for columns in split(frame)]
    floating = environment == "table"
    for number, part in enumerate(parts, 1):
        more = f" (Part {number} of {len(parts)}.)" if len(parts) > 1 else ""
        end = f"-{number}" if number > 1 else ""
        shown = widths(part)
        heads = [heading(c, w, is_number(part[c])) for c, w in zip(part, shown, strict=True)]
        cells = part.set_axis(range(len(heads)), axis="columns").map(cell)
        table = cells.style.hide(axis="index").format_index(heads.__getitem__, axis="columns")
        latex = table.to_latex(
            environment=environment,
            hrules=True,
            caption=f"{caption}{more}",
            label=f"tab:{name}{end}",
            column_format="".join(columns_of(part, shown)),
            position="htbp" if floating else None,
            position_float="centering" if floating else None,
        )
        narrow = floating and needed(shown) < NARROW * WIDTH
        yield f"{SMALL.format(size='footnotesize' if narrow else 'scriptsize')}{latex}{END}"


def is_number(column: pd.Series) -> bool:
    """Return whether the cells of a column are numbers, intervals or dashes.

    >>> is_number(pd.Series(["−0.500 to +0.250", "–"])), is_number(pd.Series(["0.5", "tuned"]))
    (True, False)
    """
    cells = column[~column.isin(["–", "exact", ""])]
    return len(cells) > 0 and bool(cells.str.fullmatch(NUMBER).all())


def natural(column: pd.Series) -> tuple[int, int]:
    """Return the characters of a column without and with line breaks in its cells."""
    words = [len(word) for cell in (column.name, *column) for word in cell.split()]
    most = min(max(words, default=1), LETTERS)
    whole = max(most, *column.str.len().clip(upper=LONGEST), 1)
    return whole, whole if is_number(column) else most


def needed(sizes: Sequence[int]) -> float:
    """Return the characters that columns of given sizes need with the space between them."""
    return sum(sizes) + GAP * len(sizes)


def split(frame: pd.DataFrame) -> list[list[str]]:
    """Return the columns of each part of a table; the first columns of text are in every part."""
    sizes = {column: natural(frame[column])[1] for column in frame}
    numbers = [column for column in frame if is_number(frame[column])]
    keys = list(frame)[: list(frame).index(numbers[0])] if numbers else list(frame)
    parts, others = [list(keys)], [column for column in frame if column not in keys]
    for column in others:
        if len(parts[-1]) > len(keys) and needed([sizes[c] for c in (*parts[-1], column)]) > WIDTH:
            parts.append(list(keys))
        parts[-1].append(column)
    return parts


def widths(frame: pd.DataFrame) -> list[int]:
    """Return the characters of each column: the widest are made narrower until all fit."""
    sizes = [natural(frame[column]) for column in frame]
    for most in range(max(whole for whole, _ in sizes), 0, -1):
        found = [max(least, min(whole, most)) for whole, least in sizes]
        if needed(found) <= WIDTH:
            break
    return found


def columns_of(frame: pd.DataFrame, shown: Sequence[int]) -> Iterator[str]:
    """Yield the format of each column: numbers to the right, long texts in lines."""
    for column, width in zip(frame, shown, strict=True):
        if is_number(frame[column]):
            yield "r"
        elif natural(frame[column])[0] > width:
            yield f">{{\\raggedright\\arraybackslash}}p{{{width * EM:.1f}em}}"
        else:
            yield "l"


def heading(words: str, width: int, right: bool) -> str:
    r"""Return the heading of a column in lines.

    >>> print(heading("95% interval", 5, right=True))
    \shortstack[r]{95\%\\interval}
    """
    longest = max(map(len, words.split()), default=1)
    lines = map(text, textwrap.wrap(words, max(width, longest)))
    return rf"\shortstack[{'r' if right else 'l'}]{{" + r"\\".join(lines) + "}"
