"""Augmentation by a list of albumentations transforms, seeded per sample.

A sample's transforms depend on its seed alone, so a cell's batches are the same for every loss,
number of jobs and order of runs.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import albumentations
import numpy as np
from jaxtyping import UInt8

from experiments.errors import ConfigError
from losses import nearest

SETTING = "training.augment"
PROBES = 8
"""Samples that `check` transforms."""


def names() -> list[str]:
    """Return the names of all transforms of albumentations."""
    return sorted(
        name
        for name, cls in vars(albumentations).items()
        if inspect.isclass(cls)
        and issubclass(cls, albumentations.BasicTransform)
        and cls.__module__ != albumentations.BasicTransform.__module__
    )


def build(specs: Sequence[Mapping[str, Mapping[str, Any]]]) -> albumentations.Compose:
    """Return the transforms of a list of {name: options}, one after another.

    ConfigError names every unknown name and option, and the allowed ones.
    """
    transforms, problems = [], []
    for name, options in _pairs(specs):
        try:
            transforms.append(_transform(name, options))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return albumentations.Compose(transforms, additional_targets={"ignored": "mask"})


def _pairs(specs: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, dict(options or {})) for spec in specs for name, options in spec.items()]


def _transform(name: str, options: dict[str, Any]) -> albumentations.BasicTransform:
    if name not in names():
        raise ConfigError(
            f"{SETTING}: unknown transform {name!r}{nearest(name, names())}; "
            f"allowed: {', '.join(names())}"
        )
    cls = getattr(albumentations, name)
    allowed = list(inspect.signature(cls).parameters)
    problems = [
        f"{SETTING}.{name}: unknown option {option!r}{nearest(option, allowed)}; "
        f"allowed: {', '.join(allowed)}"
        for option in options
        if option not in allowed
    ]
    if problems:
        raise ConfigError(problems)
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        text = re.sub(r"For further information visit \S+", "", str(error))
        raise ConfigError(f"{SETTING}.{name}: {options}: {' '.join(text.split())}") from None


def apply(
    compose: albumentations.Compose,
    seeds: Sequence[int],
    images: UInt8[np.ndarray, "n h w c"],
    masks: UInt8[np.ndarray, "n h w *k"],
    ignored: UInt8[np.ndarray, "n h w"] | None = None,
) -> tuple[
    UInt8[np.ndarray, "n h w c"], UInt8[np.ndarray, "n h w *k"], UInt8[np.ndarray, "n h w"] | None
]:
    """Return transformed images, masks and ignored pixels of a batch, one seed per sample.

    ValueError if a transform changes the size or type of an image.
    """
    layers = {"image": images, "mask": masks}
    if ignored is not None:
        layers["ignored"] = ignored
    results = {name: np.empty_like(layer) for name, layer in layers.items()}
    for i, seed in enumerate(seeds):
        sample = _apply_one(compose, seed, {name: layer[i] for name, layer in layers.items()})
        for name, result in results.items():
            problem = _changes(result[i], sample[name])
            if problem:
                raise ValueError(f"{SETTING}: the list {problem}")
            result[i] = sample[name]
    return results["image"], results["mask"], results.get("ignored")


def _apply_one(
    compose: albumentations.Compose, seed: int, sample: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    # All transforms share the two generators: a seed each would make their draws equal.
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return compose(**sample)


def _changes(before: np.ndarray, after: np.ndarray) -> str | None:
    if after.shape == before.shape and after.dtype == before.dtype:
        return None
    return (
        f"changes {before.dtype} {before.shape} to {after.dtype} {tuple(after.shape)}; "
        "allowed: transforms that keep the size and type"
    )


def check(
    specs: Sequence[Mapping[str, Mapping[str, Any]]], side: int, channels: Sequence[int]
) -> None:
    """Build and apply every transform; ConfigError has all problems, each with its transform.

    side: of the images in pixels. channels: channel counts of which at least one has to work.
    """
    build(specs)
    problems = []
    for name, options in _pairs(specs):
        results = [_problem(name, options, side, c) for c in channels]
        if all(results):
            problems.append(f"{SETTING}.{name}: {results[0]}")
    if problems:
        raise ConfigError(problems)


def _problem(name: str, options: dict[str, Any], side: int, channels: int) -> str | None:
    """Return the first problem of a transform on some samples, or None."""
    transform = _transform(name, options)
    transform.p = 1.0
    compose = albumentations.Compose([transform])
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(side, side, channels), dtype=np.uint8)
    for seed in range(PROBES):
        # Two values far from each other and from 0 reveal interpolation and fill values.
        value = (101, 202)[seed % 2]
        mask = np.zeros((side, side), np.uint8)
        mask[side // 4 : side // 2, side // 4 : -side // 4] = value
        try:
            sample = _apply_one(compose, seed, {"image": image, "mask": mask})
        except Exception as error:
            return f"fails on an image of shape {image.shape}: {type(error).__name__}: {error}"
        problem = _changes(image, sample["image"]) or _changes(mask, sample["mask"])
        if problem:
            return problem
        added = set(np.unique(sample["mask"]).tolist()) - {0, value}
        if added:
            return (
                f"adds the mask values {sorted(added)[:5]} to 0 and {value}; allowed: transforms "
                "that keep a mask's values (mask_interpolation 0, fill_mask 0)"
            )
    return None
