"""From a specification in a configuration to a loss.

The module of a loss is imported when the loss is built, so importing this module loads no torch.

    >>> build({"use": "tversky", "alpha": 0.3}).alpha
    0.3
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from losses.registry import LOSSES

if TYPE_CHECKING:
    from torch import nn

SUM = "losses.hybrid:SumLoss"
IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def nearest(name: object, allowed: Iterable[object]) -> str:
    """Return `` (did you mean 'x'?)`` for an unknown name, or "" if no name is similar.

    >>> nearest("dicee", LOSSES)
    " (did you mean 'dice'?)"
    """
    match = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def resolve(path: str) -> type[nn.Module]:
    """Import the class of an import path ``module:Class``; ValueError if that fails."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(f"use: {path!r}: cannot import {module!r}: {error}") from None
    except AttributeError:
        raise ValueError(f"use: {path!r}: module {module!r} has no {name!r}") from None


def build(spec: str | dict[str, Any]) -> nn.Module:
    """Make a loss from its specification.

    ``"dice"``; ``{"use": "dice", "smooth": 1}``; ``{"use": "package.module:Class", ...}`` with
    options of the class; ``{"sum": {"dice": 1, "cross_entropy": 0.5}}``, where a term with
    options is ``{"dice": {"weight": 1, "smooth": 1}}`` (see `losses.hybrid.SumLoss`). Raises
    ValueError with the loss, the option and the allowed values.
    """
    if not isinstance(spec, str | dict):
        raise ValueError(f"a loss is a name or a mapping with 'use' or 'sum', got {spec!r}")
    spec = {"use": spec} if isinstance(spec, str) else dict(spec)
    if "sum" in spec:
        if len(spec) > 1:
            raise ValueError(f"a sum takes no further options, got {sorted(spec.keys() - {'sum'})}")
        return resolve(SUM)(spec["sum"])
    use = spec.pop("use", None)
    if use not in LOSSES and ":" not in str(use):
        raise ValueError(
            f"unknown loss {use!r}{nearest(use, LOSSES)}; allowed: "
            f"{', '.join(LOSSES)}, or an import path 'package.module:Class'"
        )
    loss_class = resolve(LOSSES[use].path if use in LOSSES else use)
    allowed = _option_names(loss_class)
    for name in spec:
        if allowed is not None and name not in allowed:
            raise ValueError(
                f"loss {use!r} has no option {name!r}{nearest(name, allowed)}; "
                f"allowed: {', '.join(allowed) or 'none'}"
            )
    try:
        return loss_class(**spec)
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss {use!r} with options {spec}: {error}") from None


def _option_names(loss_class: type) -> list[str] | None:
    """Return the names of a class's options, or None if its signature does not list them."""
    if getattr(loss_class, "__module__", "").startswith("losses."):
        from losses._interface import options

        return list(options(loss_class))
    try:
        parameters = inspect.signature(loss_class).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def term(name: str, value: object) -> tuple[object, dict[str, Any]]:
    """Return (weight, specification) of a term ``name: value`` of a sum.

    >>> term("dice", {"weight": 2, "smooth": 1})
    (2, {'smooth': 1, 'use': 'dice'})
    """
    spec = dict(value) if isinstance(value, dict) else {"weight": value}
    weight = spec.pop("weight", 1.0)
    if "sum" not in spec:
        spec.setdefault("use", name)
    return weight, spec


def modules(spec: object) -> set[str]:
    """Return the names of the modules of all classes in a specification.

    Includes terms of a sum, options that name a loss, the default options of the suite's classes
    and their `parts`. Imports modules of the suite only; custom losses are not imported.

    >>> sorted(modules({"use": "blob", "criterion": {"sum": {"focal": 1, "my.code:Loss": 2}}}))
    ['losses.hybrid', 'losses.likelihood', 'losses.objects', 'my.code']
    """
    if isinstance(spec, list | tuple):
        return set().union(*map(modules, spec))
    if isinstance(spec, str):
        spec = {"use": spec}
    if not isinstance(spec, dict):
        return set()
    values, terms, names = dict(spec), {}, set()
    use = values.pop("use", None)
    path = SUM if "sum" in spec else LOSSES[use].path if use in LOSSES else str(use)
    if IMPORT_PATH.fullmatch(path):
        names.add(path.partition(":")[0])
    if use in LOSSES:
        from losses._interface import options

        loss_class = resolve(path)
        values = options(loss_class) | values
        terms |= getattr(loss_class, "parts", {})
    terms |= values.pop("sum", {})
    for name, value in terms.items():
        names |= modules(term(name, value)[1])
    return names.union(*map(modules, values.values()))
