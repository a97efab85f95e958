"""Values of a configuration: texts that are numbers, names for paths, lists without duplicates."""

from typing import Any


def to_number(value: Any) -> Any:
    """Read texts that YAML 1.1 or a command line leave unread, such as ``1e-3``."""
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        try:
            return float(value)
        except ValueError:
            return value


def numbers(value: Any) -> Any:
    """Read the texts that are numbers anywhere in options, such as ``{"weight_decay": "1e-2"}``.

    >>> numbers({"betas": ["9e-1", 0.99], "name": "SGD"})
    {'betas': [0.9, 0.99], 'name': 'SGD'}
    """
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else to_number(value)


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
    """Check a name that becomes part of a path."""
    if not isinstance(value, str) or not value.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{value!r} is not allowed; allowed: letters, digits, '_' and '-'")
    return value


def unique(values: Any) -> Any:
    """Check that a list has no duplicates; any other value passes."""
    for value in values if isinstance(values, list) else ():
        if values.count(value) > 1:
            raise ValueError(f"duplicate value {value!r}; allowed: each value once")
    return values
