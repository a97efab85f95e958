"""Refuse a website that would load anything from a network: ``python docs/offline.py FOLDER``.

Links that a reader follows may lead anywhere. Standard library only.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class Loads(HTMLParser):
    """Collect the addresses that a browser loads with a page, in `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect sources, style sheets, preloads and addresses in styles."""
        for name, value in attrs:
            loaded = name in ("src", "srcset", "poster", "data") or (tag, name) == ("link", "href")
            if loaded and REMOTE.match(value or ""):
                self.found.append(value)
            if name == "style":
                self.found += IN_STYLE.findall(value or "")


def remote(folder: Path) -> list[str]:
    """Return "file: address" for everything that the pages and style sheets load from elsewhere."""
    lines = []
    for path in sorted(folder.rglob("*")):
        found = []
        if path.suffix == ".html":
            page = Loads()
            page.feed(path.read_text())
            found = page.found + IN_STYLE.findall(path.read_text())
        elif path.suffix == ".css":
            found = IN_STYLE.findall(path.read_text())
        lines += [f"{path}: {address}" for address in dict.fromkeys(found)]
    return lines


if __name__ == "__main__":
    lines = remote(Path(sys.argv[1]))
    if lines or not Path(sys.argv[1], "index.html").is_file():
        sys.exit("\n".join(["loaded from a network:", *lines]) if lines else "no index.html")
