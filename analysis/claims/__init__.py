"""The article's claims, a file each: the docstring is the claim, CLAIM says how it is measured."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

NAMES = ("imbalance", "boundary", "object_size", "noise")


@dataclass(frozen=True)
class Claim:
    """How a claim becomes a number.

    estimate = sum over levels of weight * mean(metric of the loss - metric of cross-entropy),
    counted so that the claim says it is at least `smallest`.
    """

    experiment: str
    title: str
    metric: str
    also: str
    unit: str
    smallest: float
    says: str
    weights: Callable
    """levels -> [(weight, level)]; empty where the experiment cannot answer."""


def load():
    """name -> (Claim, the claim in words)."""
    modules = {name: importlib.import_module(f"analysis.claims.{name}") for name in NAMES}
    return {name: (module.CLAIM, module.__doc__.strip()) for name, module in modules.items()}


def ends(levels):
    """The levels with the least and the greatest value, or nothing where there are not two."""
    numeric = sorted((level for level in levels if level.value is not None), key=lambda v: v.value)
    return (numeric[0], numeric[-1]) if len(numeric) > 1 else None
