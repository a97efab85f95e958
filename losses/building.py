"""From a specification in a configuration to a loss.

The module of a loss is imported when the loss is built, so importing this module loads no torch.
A loss is a class of torch.nn.Module, or a function of logits and target.

    >>> build({"use": "tversky", "alpha": 0.3}).alpha
    0.3
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .registry import LOSSES

if TYPE_CHECKING:
    from torch import nn

OWN = f"{__package__}."
"""Start of the names of this package's modules: ``losses.``, or ``dicebench.losses.``"""
SUM = f"{OWN}hybrid:SumLoss"
MULTI_LABEL = f"{OWN}multilabel:MultiLabelLoss"
IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
ALLOWED = "allowed: a class of torch.nn.Module or a function, of a library or of a file of yours"


def nearest(name: object, allowed: Iterable[object]) -> str:
    """Return `` (did you mean 'x'?)`` for an unknown name, or "" if no name is similar.

    >>> nearest("dicee", LOSSES)
    " (did you mean 'dice'?)"
    """
    match = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def check_path(path: str) -> None:
    """Raise ValueError unless an import path may name a loss. Nothing is imported.

    Its module must be found, and be neither of the standard library nor of torch outside torch.nn.

    >>> check_path("torch.nn:L1Loss")
    >>> check_path("subprocess:Popen")
    Traceback (most recent call last):
    ValueError: use: 'subprocess:Popen': the module 'subprocess' of the standard library ...
    """
    if not IMPORT_PATH.fullmatch(path):
        raise ValueError(
            f"use: {path!r} is not allowed; allowed: an import path 'package.module:Name'"
        )
    module = path.partition(":")[0]
    _check_origin(path, module)
    top = module.partition(".")[0]
    if top == "__main__" or importlib.util.find_spec(top) is None:
        raise ValueError(
            f"use: {path!r}: cannot import {module!r}: there is no module {top!r} on the Python "
            "path; allowed: a module whose file is in the current folder or in a folder on "
            "PYTHONPATH, or a library that is installed"
        )


def _check_origin(path: str, module: str) -> None:
    """Raise ValueError for a module that defines no loss."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise ValueError(
            f"use: {path!r}: the module {top!r} of the standard library has no losses; {ALLOWED} "
            "(give a file of your own a name that the standard library does not use)"
        )
    if top == "torch" and not f"{module}.".startswith("torch.nn."):
        raise ValueError(f"use: {path!r}: {module!r} has no losses; allowed: torch.nn")


def resolve(path: str) -> type[nn.Module] | FunctionType:
    """Import the class or function of an import path ``module:Name``.

    ValueError if the module may not hold a loss (`check_path`; then it is not imported), if it
    cannot be imported, or if the name is neither a class of torch.nn.Module nor a function.
    """
    check_path(path)
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(f"use: {path!r}: cannot import {module!r}: {error}") from None
    except AttributeError:
        raise ValueError(f"use: {path!r}: module {module!r} has no {name!r}") from None
    from torch import nn

    if not inspect.isfunction(found) and not (
        isinstance(found, type) and issubclass(found, nn.Module)
    ):
        kind = f"class {name}" if isinstance(found, type) else f"{type(found).__name__} {name}"
        raise ValueError(f"use: {path!r}: the {kind} is no loss; {ALLOWED}")
    _check_origin(path, found.__module__)
    return found


def build(
    spec: str | dict[str, Any] | Callable, *, multilabel: bool | dict[str, Any] = False
) -> nn.Module:
    """Make a loss from its specification.

    ``"dice"``; ``{"use": "dice", "smooth": 1}``; ``{"use": "package.module:Name", ...}`` with
    options of the class or function; ``{"sum": {"dice": 1, "cross_entropy": 0.5}}``, where a term
    with options is ``{"dice": {"weight": 1, "smooth": 1}}`` (see `losses.hybrid.SumLoss`). From
    Python a function of logits and target (or any callable), a class of torch.nn.Module or a loss
    may take the place of a name. Raises ValueError with the loss, the option and the allowed
    values.
    multilabel: True for classes that may overlap, with a sigmoid per channel. The loss is then the
    mean over the channels of its value for each (`losses.multilabel.MultiLabelLoss`), with the
    options of that class if a dict. A custom loss receives the full logits and target. A
    specification may set it too, ``{"use": "dice", "multilabel": True}``.
    """
    if not isinstance(spec, str | dict) and not callable(spec):
        raise ValueError(f"a loss is a name or a mapping with 'use' or 'sum', got {spec!r}")
    spec = dict(spec) if isinstance(spec, dict) else {"use": spec}
    if "sum" in spec or spec.get("use") in list(LOSSES):
        multilabel = spec.pop("multilabel", multilabel)
    loss = _sum(spec) if "sum" in spec else _single(spec)
    return loss if multilabel is False else _multilabel(loss, multilabel)


def _sum(spec: dict[str, Any]) -> nn.Module:
    terms = spec.pop("sum")
    if more := spec.keys() - {"reduction"}:
        raise ValueError(f"a sum takes no further options, got {sorted(more)}")
    return resolve(SUM)(terms, **spec)


def _single(spec: dict[str, Any]) -> nn.Module:
    use = spec.pop("use", None)
    if callable(use):
        found = use
    else:
        check_use(use)
        found = resolve(LOSSES[use].path if use in LOSSES else use)
    allowed = _option_names(found)
    for name in spec:
        if allowed is not None and name not in allowed:
            raise ValueError(
                f"loss {use!r} has no option {name!r}{nearest(name, allowed)}; "
                f"allowed: {', '.join(allowed) or 'none'}"
            )
    try:
        return _made(found, spec)
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss {use!r} with options {spec}: {error}") from None


def _is_module(found: Callable) -> bool:
    from torch import nn

    return isinstance(found, nn.Module)


def in_suite(loss: nn.Module) -> bool:
    """Return whether a loss is one of the suite's, and no function or subclass of a user."""
    from ._interface import FunctionLoss

    return type(loss).__module__.startswith(OWN) and not isinstance(loss, FunctionLoss)


def _multilabel(loss: nn.Module, options: bool | dict[str, Any]) -> nn.Module:
    """Return a loss for classes that overlap; custom losses, also terms of a sum, are unchanged."""
    from .multilabel import MultiLabelLoss

    if options is not True and not isinstance(options, dict):
        raise ValueError(f"multilabel must be True, False or a mapping of options, got {options!r}")
    if not in_suite(loss) or isinstance(loss, MultiLabelLoss):
        return loss
    if _has_custom_term(loss):
        for name, part in loss.losses.items():
            loss.set_term(name, _multilabel(part, options))
        return loss
    try:
        return MultiLabelLoss(loss, **({} if options is True else options))
    except (TypeError, ValueError) as error:
        raise ValueError(f"multilabel: {error}") from None


def _has_custom_term(loss: nn.Module) -> bool:
    """Return whether a term of a sum of the suite, at any depth, is a custom loss."""
    terms = getattr(loss, "losses", {}).values()
    return any(not in_suite(term) or _has_custom_term(term) for term in terms)


def check_use(use: object) -> None:
    """Raise ValueError unless `use` is the name of a loss or has the form of an import path."""
    if not isinstance(use, str) or (use not in LOSSES and not IMPORT_PATH.fullmatch(use)):
        raise ValueError(
            f"unknown loss {use!r}{nearest(use, LOSSES)}; allowed: "
            f"{', '.join(LOSSES)}, or an import path 'package.module:Name'"
        )


def _made(found: Callable, options: dict[str, Any]) -> nn.Module:
    """Return the loss of a class or a function with its options, or a loss that is given."""
    from torch import nn

    from ._interface import FunctionLoss

    if isinstance(found, nn.Module):
        return found
    if not isinstance(found, type):
        return FunctionLoss(found, options)
    if not issubclass(found, nn.Module):
        raise TypeError(f"the class {found.__name__} is no loss; {ALLOWED}")
    return found(**options)


def _option_names(found: Callable) -> list[str] | None:
    """Return the names of a loss's options, or None if its signature does not list them."""
    if isinstance(found, type) and found.__module__.startswith(OWN):
        from ._options import options

        return list(options(found))
    if _is_module(found):
        return []  # it has its options
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    if not isinstance(found, type):
        parameters = parameters[2:]  # without logits and target
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
    """Return the names of the modules of all classes and functions in a specification.

    Includes terms of a sum, options that name a loss, the default options of the suite's classes
    and their `parts`. No loss is imported: the suite's classes are read as text.

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
    use = str(values.pop("use", None))
    path = SUM if "sum" in spec else LOSSES[use].path if use in LOSSES else use
    if IMPORT_PATH.fullmatch(path):
        names.add(path.partition(":")[0])
    if use in LOSSES:
        options, parts = declared(path)
        values = options | values
        terms |= parts
    terms |= values.pop("sum", {})
    for name, value in terms.items():
        names |= modules(term(name, value)[1])
    return names.union(*map(modules, values.values()))


def declared(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the default options and the `parts` of a class of the suite, read from its source.

    Options whose default is no literal are left out. A class's own come before inherited ones.

    >>> declared("losses.objects:BlobLoss")
    ({'ignore_index': None, 'reduction': 'mean', 'criterion': 'dice'}, {})
    """
    module, _, name = path.partition(":")
    statement = _statements(module).get(name)
    if isinstance(statement, ast.ImportFrom):
        return declared(f"{OWN if statement.level else ''}{statement.module}:{name}")
    if not isinstance(statement, ast.ClassDef):
        return {}, {}  # a class of another package, such as torch.nn.Module
    options, parts, inherits = _own(statement)
    for base in map(ast.unparse, statement.bases):
        more, of_base = declared(f"{module}:{base}")
        parts = parts or of_base
        options = more | options if inherits else options
    return options, parts


@cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """Return name -> statement that defines or imports it, of a module of this package."""
    if not module.startswith(OWN):
        return {}
    file = Path(__file__).with_name(f"{module.rpartition('.')[2]}.py")
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found |= dict.fromkeys((alias.name for alias in node.names), node)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = node
    return found


def _own(statement: ast.ClassDef) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Return the options and `parts` of a class's own body, and whether it takes inherited ones."""
    options, parts, inherits = {}, {}, True
    for node in statement.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="defaults"), value=ast.Dict() as value):
                options |= ast.literal_eval(value)
            case ast.AnnAssign(target=ast.Name(id="parts"), value=ast.Dict() as value):
                parts = ast.literal_eval(value)
            case ast.FunctionDef(name="__init__", args=args):
                for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
                    with suppress(TypeError, ValueError):  # no default, or no literal
                        options.setdefault(argument.arg, ast.literal_eval(default))
                inherits = args.kwarg is not None
    return options, parts, inherits
