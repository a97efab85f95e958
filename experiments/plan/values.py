"""Values of a configuration: texts that are numbers, names for paths, lists without duplicates."""

import math
import unicodedata
from typing import Any

LONGEST_NAME, LONGEST_LABEL = 100, 1000
"""Bytes of a name, which is a part of paths; characters of a label, which is in no path."""
LONGEST_FILE = 180
"""Bytes of a file's name that is made of several names. Systems allow 255, suffixes included."""


def to_number(value: Any) -> Any:
    """Read texts that YAML 1.1 or a command line leave unread, such as ``1e-3``.

    ``inf`` and ``nan`` stay texts: no setting has such a value.
    """
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        return number if math.isfinite(number) else value
    return value


def numbers(value: Any) -> Any:
    """Read the texts that are numbers anywhere in options, such as ``{"weight_decay": "1e-2"}``.

    ValueError for a number that is not finite.

    >>> numbers({"betas": ["9e-1", 0.99], "name": "SGD"})
    {'betas': [0.9, 0.99], 'name': 'SGD'}
    """
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not allowed; allowed: finite numbers")
    return to_number(value)


def to_whole(value: Any) -> Any:
    """Read a whole number; refuse true and false."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not allowed; allowed: a whole number")
    return to_number(value)


def to_flag(value: Any) -> Any:
    """Read true and false from a command line; refuse other texts and numbers."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not allowed; allowed: true, false")
    return value


def to_name(value: Any) -> str:
    """Check a name that becomes part of a path and of a command line.

    >>> to_name("-h")
    Traceback (most recent call last):
    ValueError: '-h' is not allowed; allowed: letters, digits, '_' and '-', not '-' first
    """
    if not isinstance(value, str):
        raise ValueError(
            f"{value!r} is not allowed; allowed: a text (in quotes) of letters, digits, '_' and '-'"
        )
    if not value.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{value!r} is not allowed; allowed: letters, digits, '_' and '-'")
    if value.startswith("-"):
        raise ValueError(
            f"{value!r} is not allowed; allowed: letters, digits, '_' and '-', not '-' first"
        )
    if len(value.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{value[:20]!r}... is not allowed; allowed: at most {LONGEST_NAME} characters "
            "(fewer if they are not ASCII)"
        )
    return value


def to_label(value: Any) -> str:
    """Check a text for tables and figures: not empty, no control characters but the newline."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not allowed; allowed: a text")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c != "\n" for c in value):
        raise ValueError(f"{value!r} is not allowed; allowed: a text without control characters")
    if len(value) > LONGEST_LABEL:
        raise ValueError(
            f"{value[:20]!r}... is not allowed; allowed: at most {LONGEST_LABEL} characters"
        )
    return value


def to_folder(value: Any) -> Any:
    """Check a folder that becomes part of Snakemake's paths, in which braces are wildcards."""
    if any(mark in to_label(value) for mark in "{}\n"):
        raise ValueError(f"{value!r} is not allowed; allowed: a folder without braces in its name")
    return value


def unique(values: Any) -> Any:
    """Check that a list has no duplicates; any other value passes.

    Numbers that tables print alike are duplicates, such as 0.001 and 0.0010000001.
    """
    seen: list[tuple[Any, Any]] = []
    for value in values if isinstance(values, list) else ():
        text = _printed(value)
        for other, other_text in seen:
            if text == other_text:
                equal = to_number(value) == to_number(other)
                alike = "" if equal else f", as {other!r} to six digits"
                raise ValueError(f"duplicate value {value!r}{alike}; allowed: each value once")
        seen.append((value, text))
    return values


def _printed(value: Any) -> Any:
    """Return a number as tables print it; any other value as it is."""
    value = to_number(value)
    return float(f"{value:g}") if isinstance(value, float) else value
