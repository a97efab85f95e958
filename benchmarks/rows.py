"""Rows of a benchmark's table, written as they are measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def save(rows: Iterable[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Write each row to a CSV file and print it as soon as it is measured; return all rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    with path.open("w", newline="") as file:
        for row in rows:
            writer = csv.DictWriter(file, row)
            if not found:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            found.append(row)
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return found
