"""Fit a model to the training images of a cell.

The batches, initial weights and their order depend on dataset, stress and seed, never on the loss
or on other runs. A run uses one thread, so that it gives the same bytes with one job or many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

import losses
from experiments.errors import ConfigError
from experiments.plan.seeds import stable_seed
from experiments.runs import models, optimizers
from experiments.runs.batches import Cell, batches, set_aside, to_target, to_tensor
from experiments.runs.overlap import dice_by_class, most_probable

if TYPE_CHECKING:
    from experiments.plan.study import RunSpec

CURVE_POINTS = 6
"""Points of a learning curve, at most."""


@dataclass(frozen=True)
class Fit:
    """A fitted model with its learning curve.

    diverged: the step at which the loss was not finite (the number of steps: the last weights were
    not finite), or None.
    """

    model: nn.Module
    curve: list[dict[str, float]]
    diverged: int | None


def resolve_device(device: str) -> str:
    """Return "cuda" or "cpu"; `auto` falls back to the CPU, `cuda` raises ConfigError."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' is not available here; allowed: auto, cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def fit(cell: Cell, run: RunSpec, device: str, report: Callable[[int, float], None]) -> Fit:
    """Train a model from the cell's initial weights; `report` gets each step and its loss."""
    training, classes = run.training, len(cell.classes)
    torch.manual_seed(stable_seed("weights", *run.cell))
    model = models.build(training, cell.channels, classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    loss_fn = losses.build(run.loss_spec).to(device)
    optimizer = optimizers.build(training, model.parameters())
    schedule = optimizers.schedule(training, optimizer)
    amp = training.mixed_precision and device == "cuda"
    scaler = torch.amp.GradScaler(device, enabled=amp)
    every = -(-training.steps // CURVE_POINTS)  # rounded up: the last interval is not a stub
    curve, recent = [], []
    for step, batch in enumerate(batches(cell, run, _maps(loss_fn, cell, run))):
        _, images, masks, ignored, maps = batch
        images, target = to_tensor(images, device), to_target(masks, classes, device)
        extra = {}
        if maps is not None:
            extra["maps"] = torch.from_numpy(maps).permute(0, 3, 1, 2).to(device)
        if hasattr(loss_fn, "set_progress"):
            loss_fn.set_progress(step / training.steps)
        with torch.autocast(device, enabled=amp):
            logits = model(images)
            if ignored is not None:
                logits, target = set_aside(ignored, logits, target)
            loss = loss_fn(logits, target, **extra)
        if not torch.isfinite(loss):
            return Fit(model, curve, step)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        recent.append(loss.item())
        report(step, recent[-1])
        if (step + 1) % every == 0 or step + 1 == training.steps:
            curve.append({"step": step + 1, "loss": float(np.mean(recent))})
            curve[-1] |= _validation(model, cell, device)
            recent = []
    # The loss checks the previous update; the weights check the last one.
    finite = all(parameter.isfinite().all() for parameter in model.parameters())
    return Fit(model, curve, None if finite else training.steps)


def _maps(loss_fn: nn.Module, cell: Cell, run: RunSpec) -> np.ndarray | None:
    """Return the loss's maps of all training masks, (n, h, w, k): once per image, not per step.

    None if the loss has no maps, or if a list of transforms changes the masks: the loss then makes
    the maps of each batch.
    """
    if not hasattr(loss_fn, "maps") or isinstance(run.training.augment, list):
        return None
    classes = len(cell.classes)
    channels = [models.outputs(classes)] if classes > 1 else []
    maps = loss_fn.maps(to_target(cell.masks, classes), *channels)
    return maps.permute(0, 2, 3, 1).numpy()


def _validation(model: nn.Module, cell: Cell, device: str) -> dict[str, float]:
    predicted = most_probable(predict(model, cell.val_images, device, cell.val_ignored))
    return {
        "val_dice": float(np.mean(dice_by_class(predicted, cell.val_masks))),
        "val_fraction": float(predicted.any(1).mean()),
    }


@torch.no_grad()
def predict(
    model: nn.Module,
    images: UInt8[np.ndarray, "n h w c"],
    device: str,
    ignored: UInt8[np.ndarray, "n h w"] | None = None,
    batch: int = 32,
) -> Float[np.ndarray, "n k h w"]:
    """Return the probabilities of the classes, float32, without background.

    ignored: 1 where the probabilities are set to 0.
    """
    model.eval()
    parts = []
    for i in range(0, len(images), batch):
        logits = model(to_tensor(images[i : i + batch], device)).float()
        several = logits.shape[1] > 1
        parts.append((logits.softmax(1)[:, 1:] if several else logits.sigmoid()).cpu())
    model.train()
    prob = torch.cat(parts).numpy()
    return prob if ignored is None else np.where(ignored[:, None], np.float32(0), prob)
