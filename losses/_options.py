"""Options of losses: their names, defaults and values."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Collection, Iterable
from typing import Any


def options(loss_class: type) -> dict[str, Any]:
    """Return the keyword options of a loss class and their defaults, its own before inherited ones.

    A class that takes ``**options`` may list defaults in a dict `defaults` too.
    """
    defaults = {}
    for cls in loss_class.__mro__:
        for name, default in vars(cls).get("defaults", {}).items():
            defaults.setdefault(name, default)
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        for p in parameters:
            if p.kind is p.KEYWORD_ONLY:
                defaults.setdefault(p.name, p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return defaults


def choose(name: str, value: object, allowed: Collection) -> Any:
    """Return the one of the allowed values that equals the value; ValueError if none does.

    >>> choose("per", "pixel", ("image", "batch"))
    Traceback (most recent call last):
    ValueError: per must be one of 'image', 'batch', got 'pixel'
    """
    for option in allowed:
        if not getattr(value, "ndim", 0) and value == option:
            return option
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float | None = None,
) -> float:
    """Return the value as a float; ValueError if it is not a finite number in [low, high].

    Numbers of NumPy and tensors of one number are taken too.
    above: the value must also be greater than this.

    >>> number("gamma", 0, high=2, above=0)
    Traceback (most recent call last):
    ValueError: gamma must be a number above 0 and at most 2, got 0
    """
    given = value
    if hasattr(value, "item") and not getattr(value, "ndim", 0):
        value = value.item()
    low_text = f"above {above}" if above is not None else f"at least {low}"
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Real)
        or not math.isfinite(value)
        or not low <= value <= high
        or (above is not None and value <= above)
    ):
        bound = low_text if high == math.inf else f"{low_text} and at most {high}"
        raise ValueError(f"{name} must be a number {bound}, got {given!r}")
    return float(value)


def class_weights_of(values: Iterable[float]) -> list[float]:
    """Return class weights as a list; ValueError unless they are at least 0 and not all 0.

    values: a list, a tuple, an array or a tensor of one axis.

    >>> import torch
    >>> class_weights_of(torch.tensor([1, 2]))
    [1.0, 2.0]
    """
    is_list = isinstance(values, Iterable) and not isinstance(values, str | dict | set)
    if not is_list or getattr(values, "ndim", 1) != 1:
        raise ValueError(f"class_weights must be a list of numbers at least 0, got {values!r}")
    weights = [number("class_weights", w, 0) for w in values]
    if not any(weights):
        raise ValueError("class_weights must not all be 0")
    return weights


def integer_or_none(name: str, value: object) -> int | None:
    """Return the value as an integer, or None; ValueError if it is neither."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be an integer or None, got {value!r}")
    return int(value)
