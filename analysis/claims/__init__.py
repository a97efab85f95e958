"""The claims, a file each: the docstring is the claim, CLAIM says how it is measured."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

REFERENCE = "cross_entropy"
"""What a loss is held against."""
NAMES = ("definition", "imbalance", "boundary", "object_size", "noise", "threshold")


@dataclass(frozen=True)
class Claim:
    """How a claim becomes a number.

    Trained levels (controlled, field): estimate = sign * sum over levels of
    weight * mean(metric of the loss - metric of cross-entropy), counted so that the claim says it
    is at least `smallest`. Mechanism: a quantity of `analysis.mechanism`, counted alike, and
    `mechanism_smallest`.
    """

    title: str
    smallest: float | None = None
    unit: str = ""
    says: str = ""
    experiment: str | None = None
    metric: str = "dice"
    also: str = "area_ratio"
    weights: Callable = None
    """levels -> [(weight, level)]; empty where the experiment cannot answer."""
    sign: int = 1
    against_tuned: bool = False
    """Whether cross-entropy is taken at its tuned threshold whatever the loss's is."""
    mechanism_smallest: float | None = None
    mechanism_sign: int = 1
    mechanism_says: str = ""
    about: str = "dice"
    """The loss that the claim is about."""


def load():
    """name -> (Claim, the claim in words)."""
    modules = {name: importlib.import_module(f"analysis.claims.{name}") for name in NAMES}
    return {name: (module.CLAIM, module.__doc__.strip()) for name, module in modules.items()}


def ends(levels):
    """The levels with the least and the greatest value, or nothing where there are not two."""
    numeric = sorted((level for level in levels if level.value is not None), key=lambda v: v.value)
    return (numeric[0], numeric[-1]) if len(numeric) > 1 else None


def evenly(levels):
    """Every level, of equal weight."""
    return [(1 / len(levels), level) for level in levels]
