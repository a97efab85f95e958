"""Docstrings in plain text as reStructuredText, for the site's pages of the code."""

import inspect
import re
from collections.abc import Iterable, Iterator

ENTRY = re.compile(r"(?:^|(?<=[.;] ))(?=[a-z_][a-z_0-9]*(?:, [a-z_][a-z_0-9]*)*(?: \([^)]*\))?: )")
"""Start of "name: meaning" or "name, name (type): meaning" in a paragraph."""


def restructured(lines: Iterable[str], *, formula: bool = False) -> list[str]:
    """Return a docstring's lines as reStructuredText.

    A paragraph that is indented as a whole, or begins with ``>>>``, is shown as it is. So is the
    first paragraph of a class if `formula` and it is no sentence. Entries "name: meaning" become
    list items.
    """
    text = inspect.cleandoc("\n".join(lines))
    result: list[str] = []
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        shown = number == 0 and formula and not paragraph.endswith((".", ":"))
        if shown or paragraph.startswith((" ", ">>>")):
            head = ".. code-block:: pycon" if ">>>" in paragraph else "::"
            result += [head, "", *(f"    {line}" for line in paragraph.splitlines()), ""]
        elif paragraph:
            result += prose(paragraph)
    return result


def prose(paragraph: str) -> Iterator[str]:
    """Yield a paragraph: a line of text, then a list item for each of its entries."""
    for part in ENTRY.split(" ".join(paragraph.split())):
        if re.match(ENTRY, part):
            name, _, meaning = part.strip().partition(": ")
            yield from (f"- **{escaped(name)}**: {escaped(meaning)}", "")
        elif part.strip():
            yield from (escaped(part.strip()), "")


def escaped(text: str) -> str:
    """Return a text with its quoted code as literals and all other characters as they are."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    return "".join(
        f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"([\\*|`_])", r"\\\1", part)
        for part in parts
    )
