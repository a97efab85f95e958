"""Publications of the losses, datasets and methods of a study: the entries of ``citations.bib``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("citations.bib")
LOSSES, DATASETS, METHODS = KINDS = ("losses", "datasets", "methods")
"""Fields of an entry that name its uses, which no style prints."""


@dataclass(frozen=True)
class Entry:
    """An entry of BibTeX. uses: kind -> names of the losses, datasets or methods of that kind."""

    key: str
    text: str
    uses: dict[str, list[str]]


@cache
def entries() -> dict[str, Entry]:
    """Return key -> entry of all known publications."""
    found = {}
    for text in re.findall(r"^@.*?^\}$", FILE.read_text(), re.MULTILINE | re.DOTALL):
        key = text[text.index("{") + 1 : text.index(",")]
        uses = {kind: re.findall(rf"^  {kind} = {{(.*)}},\n", text, re.MULTILINE) for kind in KINDS}
        plain = re.sub(rf"^  (?:{'|'.join(KINDS)}) = .*\n", "", text, flags=re.MULTILINE)
        found[key] = Entry(key, plain, {k: ", ".join(v).split(", ") for k, v in uses.items()})
    return found


def cite(kind: str, name: str) -> str:
    r"""Return the citation of a loss, dataset or method; empty if it has no known publication.

    >>> print(cite(LOSSES, "dice"), cite(LOSSES, "cross_entropy"))
    ~\cite{drozdzal2016importance}
    """
    keys = [entry.key for entry in entries().values() if name in entry.uses[kind]]
    return rf"~\cite{{{','.join(keys)}}}" if keys else ""


def bibliography(text: str) -> str:
    """Return the entries that a LaTeX text cites, as the content of a .bib file."""
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", text) for key in keys.split(",")}
    return "\n\n".join(entry.text for key, entry in entries().items() if key in cited) + "\n"
