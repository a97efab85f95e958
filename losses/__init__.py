"""Segmentation losses: called as ``loss(logits, target)``, they return a scalar.

``LOSSES`` names them all. Importing this package does not import torch; using a loss does.

    >>> loss = build("dice_ce")
    >>> loss(logits, target).backward()

A training loop may do two things more, for the losses that offer them. ``loss.maps(target)`` makes
maps (N, C, *space) of a target once per image, which ``loss(logits, target, maps=maps)`` reads;
``loss.set_progress(t)``, t from 0 to 1, tells a schedule how far the training is.
"""

import difflib
import importlib
import inspect

LOSSES = {
    "cross_entropy": "losses.likelihood:CrossEntropyLoss",
    "weighted_cross_entropy": "losses.likelihood:WeightedCrossEntropyLoss",
    "label_smoothing": "losses.likelihood:LabelSmoothingLoss",
    "focal": "losses.likelihood:FocalLoss",
    "topk": "losses.likelihood:TopKLoss",
    "generalized_cross_entropy": "losses.likelihood:GeneralizedCrossEntropyLoss",
    "dice": "losses.overlap:DiceLoss",
    "squared_dice": "losses.overlap:SquaredDiceLoss",
    "article_dice": "losses.overlap:ArticleDiceLoss",
    "jaccard": "losses.overlap:JaccardLoss",
    "tversky": "losses.overlap:TverskyLoss",
    "focal_tversky": "losses.overlap:FocalTverskyLoss",
    "generalized_dice": "losses.overlap:GeneralizedDiceLoss",
    "log_cosh_dice": "losses.overlap:LogCoshDiceLoss",
    "noise_robust_dice": "losses.overlap:NoiseRobustDiceLoss",
    "dice_plus_plus": "losses.overlap:DicePlusPlusLoss",
    "jdt": "losses.overlap:JDTLoss",
    "boundary": "losses.boundary:BoundaryLoss",
    "hausdorff": "losses.boundary:HausdorffLoss",
    "lovasz": "losses.boundary:LovaszLoss",
    "blob": "losses.objects:BlobLoss",
    "inverse_size_dice": "losses.objects:InverseSizeDiceLoss",
    "dice_ce": "losses.hybrid:DiceCELoss",
    "squared_dice_ce": "losses.hybrid:SquaredDiceCELoss",
    "dice_focal": "losses.hybrid:DiceFocalLoss",
    "dice_topk": "losses.hybrid:DiceTopKLoss",
    "combo": "losses.hybrid:ComboLoss",
    "unified_focal": "losses.hybrid:UnifiedFocalLoss",
    "ce_to_dice": "losses.hybrid:ScheduledLoss",
    "dice_boundary": "losses.hybrid:DiceBoundaryLoss",
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
    the class's own options; ``{"sum": {"dice": 1, "cross_entropy": 0.5}}``, where a term with
    options is ``{"dice": {"weight": 1, "smooth": 1}}`` (see `losses.hybrid.SumLoss`). Raises
    ValueError that names the loss, the option and what is allowed.
    """
    if not isinstance(spec, str | dict):
        raise ValueError(f"a loss is a name or a mapping with 'use' or 'sum', got {spec!r}")
    spec = {"use": spec} if isinstance(spec, str) else dict(spec)
    if "sum" in spec:
        if len(spec) > 1:
            raise ValueError(f"a sum takes no further options, got {sorted(spec.keys() - {'sum'})}")
        return _resolve(_CLASSES["SumLoss"])(spec["sum"])
    use = spec.pop("use", None)
    if use not in LOSSES and ":" not in str(use):
        raise ValueError(
            f"unknown loss {use!r}{nearest(use, LOSSES)}; allowed: "
            f"{', '.join(LOSSES)}, or an import path 'package.module:Class'"
        )
    loss_class = _resolve(LOSSES.get(use, use))
    allowed = _options(loss_class)
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


def _options(loss_class):
    """The names of a class's options, or None where they cannot be told."""
    if getattr(loss_class, "__module__", "").startswith("losses."):
        return list(importlib.import_module("losses._base").options(loss_class))
    try:
        parameters = inspect.signature(loss_class).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
