"""Step `mechanism`: measure losses without any training.

Each quantity is measured on a constructed prediction, in an image of 64x64 (128x128 for
`perfect`), or is a prediction of least expected loss (`experiments.runs.minimiser`). Gradients are
those of the logits, as in training; a share is a part of the sum of their absolute values over all
pixels. Each function of MEASURES yields pairs of x and value. A custom loss is measured in a
process of its own.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import nn

import losses
from experiments.files import write_whole
from experiments.layout import MAPS, MECHANISM
from experiments.plan.losses import custom_modules
from experiments.runs import minimiser
from experiments.runs.workers import Died, call_alone

if TYPE_CHECKING:
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

COMPARED = ("cross_entropy", "dice", "squared_dice", "article_dice")
"""Losses that are measured in every study, for comparison with the article's formula."""
COLUMNS = ("quantity", "loss", "x", "value")
LIMIT = 600
"""Seconds for the measurement of a custom loss, at most."""
SIDE = 64
RADIUS = 12.0
"""Radius in pixels of the disk that boundaries are measured on."""
BAND = 2.0
SURE = 0.9
"""Probability of the true class in a prediction that follows the truth."""
LARGE_SIDE = 32
"""Side in pixels of the large square next to the small ones."""

Image = Float[np.ndarray, "h w"]
Pairs = Iterator[tuple[float, float]]
Measured = dict[str, Any]
"""values: quantity -> pairs of x and value; map: |dL/dlogit| on the picture, or None."""


def run(study: Study) -> None:
    """Write ``mechanism.csv`` and ``mechanism_maps.npz``."""
    specs = study.losses | {name: name for name in COMPARED if name not in study.losses}
    limit = min(study.timeout.step, LIMIT)
    measured = {
        name: measure_custom(name, spec, limit) if custom_modules(spec) else measure(name, spec)
        for name, spec in specs.items()
    }
    write_whole(study.file(MECHANISM), table(measured).to_csv(index=False))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **maps(measured))
    write_whole(study.file(MAPS), buffer.getvalue())


def slope(loss: nn.Module, prob: Image, target: Image) -> Image:
    """Return dL / dlogit of a prediction."""
    logits = torch.from_numpy(prob).float().logit()[None, None].requires_grad_()
    loss(logits, torch.from_numpy(target).float()[None, None]).backward()
    return logits.grad[0, 0].double().numpy()


def gradient(loss: nn.Module, prob: Image, target: Image) -> Image:
    """Return |dL / dlogit| of a prediction."""
    return np.abs(slope(loss, prob, target))


def share(part: Float[np.ndarray, " n"], whole: Image) -> float:
    """Return the sum of a part over that of the whole; NaN if the whole is 0."""
    return part.sum() / whole.sum() if whole.sum() > 0 else np.nan


def first_pixels(n: int, side: int) -> Image:
    """Return a target with its first n pixels as foreground.

    >>> first_pixels(3, 2).tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    return (np.arange(side * side) < n).astype(float).reshape(side, side)


def perfect(loss: nn.Module) -> Pairs:
    """Measure the loss of a perfect prediction; x: foreground pixels."""
    for n in (1, 10, 100, 1000, 10_000):
        target = torch.from_numpy(first_pixels(n, 128)).float()[None, None]
        yield n, loss(60 * (2 * target - 1), target).item()


def object_gradient(loss: nn.Module) -> Pairs:
    """Measure the summed |dL / dp| of an object; x: its pixels. p: 0.5 on it, 0.01 elsewhere."""
    for n in (1, 4, 16, 64, 256, 1024):
        target = first_pixels(n, SIDE)
        prob = 0.01 + 0.49 * target
        yield n, (gradient(loss, prob, target) / (prob * (1 - prob)))[target > 0].sum()


def foreground_share(loss: nn.Module) -> Pairs:
    """Measure the share of the foreground at p = 0.5; x: foreground fraction."""
    for f in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        target = first_pixels(round(f * SIDE**2), SIDE)
        pull = gradient(loss, np.full(target.shape, 0.5), target)
        yield target.mean(), share(pull[target > 0], pull)


def disk(width: float) -> tuple[Image, Image, Image]:
    """Return distance to the boundary (negative inside), target and soft prediction of a disk."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = np.hypot(y, x) - RADIUS
    prob = 1 / (1 + np.exp(distance.clip(-30, 30) / width))
    return distance, (distance < 0).astype(float), prob


def boundary_share(loss: nn.Module) -> Pairs:
    """Measure the share within 2 px of the boundary of a disk; x: width of its soft edge, px."""
    for width in (0.5, 1.0, 2.0, 4.0):
        distance, target, prob = disk(width)
        pull = gradient(loss, prob.clip(1e-6, 1 - 1e-6), target)
        yield width, share(pull[np.abs(distance) <= BAND], pull)


def by_distance(loss: nn.Module) -> Pairs:
    """Measure the share per pixel, over that of an average pixel, at an edge width of 1 px.

    x: distance to the boundary of a disk, px, negative inside.
    """
    distance, target, prob = disk(1.0)
    pull = gradient(loss, prob.clip(1e-6, 1 - 1e-6), target)
    for centre in np.arange(-10, 11):
        ring = np.abs(distance - centre) <= 0.5
        yield float(centre), pull[ring].mean() / pull.mean() if pull.sum() > 0 else np.nan


def two_squares(side: int) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Return the masks of a small square and of a large one that do not touch."""
    small, large = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    large[8 : 8 + LARGE_SIDE, 4 : 4 + LARGE_SIDE] = True
    small[24 : 24 + side, 46 : 46 + side] = True
    return small, large


def small_over_large(loss: nn.Module) -> Pairs:
    """Measure the gradient of a small square's pixel over that of a large square's.

    x: side of the small square, px. p: 0.5 on both, 0.01 elsewhere.
    """
    for side in (1, 2, 4, 8, 16):
        small, large = two_squares(side)
        target = (small | large).astype(float)
        pull = gradient(loss, 0.01 + 0.49 * target, target)
        yield side, pull[small].mean() / pull[large].mean() if pull[large].sum() > 0 else np.nan


def noisy_share(loss: nn.Module) -> Pairs:
    """Measure the share of flipped labels; x: share of labels flipped. p: 0.9 for the truth."""
    truth = first_pixels(round(0.06 * SIDE**2), SIDE)
    prob = np.where(truth > 0, SURE, 1 - SURE)
    for rate in (0.01, 0.03, 0.1, 0.2, 0.3):
        shares = []
        for seed in range(5):
            flipped = np.random.default_rng(seed).random(truth.shape) < rate
            pull = gradient(loss, prob, np.where(flipped, 1 - truth, truth))
            shares.append(share(pull[flipped], pull))
        yield rate, np.mean(shares)


def size_pull(loss: nn.Module) -> Pairs:
    """Measure |sum of dL / dlogit| over the sum of |dL / dlogit|; x: share of labels flipped.

    p: the probability of the label, so that a loss that keeps the size of regions has 0.
    """
    truth = first_pixels(round(0.06 * SIDE**2), SIDE)
    for rate in (0.01, 0.03, 0.1, 0.2, 0.3):
        pulls = []
        for seed in range(5):
            flipped = np.random.default_rng(seed).random(truth.shape) < rate
            pull = slope(
                loss, np.where(truth > 0, 1 - rate, rate), np.where(flipped, 1 - truth, truth)
            )
            pulls.append(share(pull, np.abs(pull)))
        yield rate, abs(np.mean(pulls))


MEASURES = {
    "perfect": perfect,
    "gradient": object_gradient,
    "foreground_share": foreground_share,
    "boundary_share": boundary_share,
    "by_distance": by_distance,
    "small_over_large": small_over_large,
    "noisy_share": noisy_share,
    "size_pull": size_pull,
    **minimiser.MEASURES,
}
"""Quantity -> function; its docstring defines the quantity and x."""


def picture() -> tuple[Image, Image, Image]:
    """Return the target, labels with a few flipped, and a blurred prediction, for the maps."""
    small, large = two_squares(4)
    target = (small | large).astype(float)
    prob = ndimage.gaussian_filter(target, 2).clip(0.01, 0.99)
    flipped = np.random.default_rng(0).random(target.shape) < 0.01
    return target, np.where(flipped, 1 - target, target), prob


def measure(name: str, spec: Any) -> Measured:
    """Return the values of a loss for each quantity, and its map.

    A loss that cannot be measured (a custom loss may require other shapes) has NaN values and no
    map.
    """
    values = {}
    for quantity, function in MEASURES.items():
        try:
            values[quantity] = list(function(losses.build(spec)))
        except Exception as error:
            log.warning("%s of %s: %s: %s", quantity, name, type(error).__name__, error)
    _, labels, prob = picture()
    try:
        pull = gradient(losses.build(spec), prob, labels)
    except Exception as error:
        log.warning("map of %s: %s: %s", name, type(error).__name__, error)
        return {"values": values, "map": None}
    return {"values": values, "map": (pull / pull.sum() if pull.sum() > 0 else pull).tolist()}


def measure_custom(name: str, spec: Any, limit: float) -> Measured:
    """Return `measure` of a loss in a process of its own, which ends after `limit` seconds."""
    try:
        return call_alone(measure, name, spec, preload=[__name__], limit=limit)
    except Died as died:
        log.warning("%s is not measured: its call ended by %s", name, died)
        return {"values": {}, "map": None}


def table(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return rows of COLUMNS for losses, name -> `measure` of it."""
    rows = [
        (quantity, name, *pair)
        for quantity in MEASURES
        for name, result in measured.items()
        for pair in result["values"].get(quantity, [(np.nan, np.nan)])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def maps(measured: Mapping[str, Measured]) -> dict[str, Image]:
    """Return the picture, and for each loss |dL/dlogit| on it as a share of the total."""
    pictures = dict(zip(("target", "labels", "prediction"), picture(), strict=True))
    found = {f"loss {name}": result["map"] for name, result in measured.items()}
    return pictures | {name: np.array(m) for name, m in found.items() if m is not None}
