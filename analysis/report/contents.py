"""The contents of the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis import claims
from analysis.figures import style

if TYPE_CHECKING:
    from analysis.report.plain import Line
    from analysis.report.sheets import Sheet
    from experiments.plan.study import Study

SECTIONS = {
    "answer": ("Which loss, when", ""),
    "claims": ("Claims", ""),
    "losses": ("Losses", "loss-"),
    "details": ("Claims in detail", "claim-"),
    "figures": ("More figures", ""),
    "tables": ("Tables", "table-"),
    "images": ("Training images", ""),
    "files": ("Files", ""),
    "origin": ("Origin", ""),
}
"""Id of a section -> its title, and the prefix of the ids of its parts."""

Link = tuple[str, str, list]
"""Id, title, and the links to the parts."""


def titles(study: Study, tables: Sequence[Sheet], lines: Sequence[Line]) -> dict[str, str]:
    """Return id -> title of the parts that a page can have; lines: the claims with their signs."""
    parts = {f"loss-{loss}": style.name(loss) for loss in study.losses}
    signs = {line.claim: f"{line.sign} " for line in lines}
    for name, claim in claims.load().items():
        parts[f"claim-{name}"] = f"{signs.get(name, '')}{claim.title}"
    return parts | {f"table-{table.slug}": table.name for table in tables}


def contents(page: str, titles: Mapping[str, str]) -> list[Link]:
    """Return the links to the sections and parts whose ids are in a page.

    >>> contents('<h2 id="losses">L</h2><h3 id="loss-dice">D</h3>', {"loss-dice": "Dice"})
    [('losses', 'Losses', [('loss-dice', 'Dice', [])])]
    """
    ids = re.findall(r'<[^>]*\bid="([^"]+)"', page)
    return [
        (section, title, [(i, titles[i], []) for i in ids if i in titles and _is_part(i, prefix)])
        for section, (title, prefix) in SECTIONS.items()
        if section in ids
    ]


def _is_part(name: str, prefix: str) -> bool:
    return bool(prefix) and name.startswith(prefix)
