"""Segmentation losses: called as ``loss(logits, target)``, they return a scalar.

``LOSSES`` names them all. Importing this package does not import torch; using a loss does.
"""

import difflib
import importlib

LOSSES = {
    "cross_entropy": "losses.likelihood:CrossEntropyLoss",
    "dice": "losses.overlap:DiceLoss",
    "squared_dice": "losses.overlap:SquaredDiceLoss",
    "article_dice": "losses.overlap:ArticleDiceLoss",
    "dice_ce": "losses.hybrid:DiceCELoss",
}
"""Name in a configuration -> import path, ``module:Class``."""

_CLASSES = {path.partition(":")[2]: path for path in LOSSES.values()} | {
    "SumLoss": "losses.hybrid:SumLoss"
}
__all__ = ["LOSSES", "build", "nearest", *_CLASSES]


def __getattr__(name):
    if name in _CLASSES:
        return _resolve(_CLASSES[name])
    raise AttributeError(f"module 'losses' has no attribute {name!r}")


def nearest(name, allowed):
    """`` (did you mean 'x'?)`` for an unknown name, or nothing where none is near."""
    match = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _resolve(path):
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(f"use: {path!r}: cannot import {module!r}: {error}") from None
    except AttributeError:
        raise ValueError(f"use: {path!r}: module {module!r} has no {name!r}") from None


def build(spec):
    """Make a loss from its configuration.

    ``"dice"``; ``{"use": "dice", "smooth": 1}``; ``{"use": "package.module:Class", ...}`` with
    the class's own options; ``{"sum": {"dice": 1, "cross_entropy": 0.5}}``. Raises ValueError
    that names the loss or option and what is allowed.
    """
    spec = {"use": spec} if isinstance(spec, str) else dict(spec)
    if "sum" in spec:
        return _resolve(_CLASSES["SumLoss"])(spec["sum"])
    use = spec.pop("use", None)
    if use not in LOSSES and ":" not in str(use):
        raise ValueError(
            f"unknown loss {use!r}{nearest(use, LOSSES)}; allowed: "
            f"{', '.join(LOSSES)}, or an import path 'package.module:Class'"
        )
    loss_class = _resolve(LOSSES.get(use, use))
    try:
        return loss_class(**spec)
    except TypeError as error:
        raise ValueError(f"loss {use!r} with options {spec}: {error}") from None
