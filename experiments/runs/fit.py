"""Fit a model to the training images of a cell.

The batches, their order, the initial weights and the dropout masks depend on dataset, stress and
seed, never on the loss or on other runs. A run uses one thread, so that it gives the same bytes
with one job or many.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

import losses
from experiments.errors import ConfigError
from experiments.plan.seeds import stable_seed
from experiments.runs import models, optimizers
from experiments.runs.batches import Batch, Cell, batches, set_aside, to_target, to_tensor
from experiments.runs.checkpoint import Checkpoint
from experiments.runs.overlap import dice_by_class, most_probable

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec

log = logging.getLogger("dicebench")

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


def set_process(device: str) -> None:
    """Restrict the process to one thread and deterministic operations."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Some operations have no deterministic form on CUDA; on a CPU such an operation is an error.
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")


def resolve_device(device: str) -> str:
    """Return "cuda" or "cpu"; `auto` falls back to the CPU, `cuda` raises ConfigError."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' is not available here; allowed: auto, cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def fit(
    cell: Cell,
    run: RunSpec,
    device: str,
    report: Callable[[int, float], None],
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train a model from the cell's initial weights; `report` gets each step and its loss.

    checkpoint: of the run, to continue from and to save to; the result has the same bytes as that
    of a run without interruption, on a CPU.
    """
    steps = run.training.steps
    work = Work(cell, run, device)
    maps = _maps(work.loss_fn, cell, run)
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        try:
            work.restore(state)
        except Exception as error:  # of any type: the state comes from a file
            log.warning("%s: checkpoint refused: %s", run.path, error)
            checkpoint.remove()
            return fit(cell, run, device, report, checkpoint)
        log.info("%s resumes at step %d of %d", run.path, work.step, steps)
    every = -(-steps // CURVE_POINTS)  # rounded up: the last interval is not a stub
    stream = batches(cell, run, maps, work.step)
    while work.step < steps:
        _set_seeds(stable_seed("step", *run.cell, work.step), device)
        loss = work.loss(next(stream))
        if not torch.isfinite(loss):
            return Fit(work.model, work.curve, work.step)
        work.update(loss)
        report(work.step - 1, work.recent[-1])
        if work.step % every == 0 or work.step == steps:
            point = {"step": work.step, "loss": float(np.mean(work.recent))}
            work.curve.append(point | _validation(work.model, cell, device))
            work.recent = []
        if checkpoint and checkpoint.due():
            checkpoint.save(work.step, work.state)
    # The loss checks the previous update; the weights check the last one.
    finite = all(parameter.isfinite().all() for parameter in work.model.parameters())
    return Fit(work.model, work.curve, None if finite else steps)


class Work:
    """A model in training with everything that a step changes.

    step: number of steps made. recent: their losses since the last point of the curve.
    """

    PARTS = ("model", "loss_fn", "optimizer", "schedule", "scaler")

    def __init__(self, cell: Cell, run: RunSpec, device: str) -> None:
        training, self.device, self.classes = run.training, device, len(cell.classes)
        torch.manual_seed(stable_seed("weights", *run.cell))
        model = models.build(training, cell.channels, self.classes)
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.loss_fn = losses.build(run.loss_spec).to(device)
        self.optimizer = optimizers.build(training, self.model.parameters())
        self.schedule = optimizers.schedule(training, self.optimizer)
        self.amp = training.mixed_precision and device == "cuda"
        self.scaler = torch.amp.GradScaler(device, enabled=self.amp)
        self.steps, self.step = training.steps, 0
        self.curve: list[dict[str, float]] = []
        self.recent: list[float] = []

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        _, images, masks, ignored, maps = batch
        images, target = to_tensor(images, self.device), to_target(masks, self.classes, self.device)
        extra = {}
        if maps is not None:
            extra["maps"] = torch.from_numpy(maps).permute(0, 3, 1, 2).to(self.device)
        with torch.autocast(self.device, enabled=self.amp):
            logits = self.model(images)
            if ignored is not None:
                logits, target = set_aside(ignored, logits, target)
            if hasattr(self.loss_fn, "set_progress"):  # after the model: it may draw random numbers
                self.loss_fn.set_progress(self.step / self.steps)
            return self.loss_fn(logits, target, **extra)

    def update(self, loss: Tensor) -> None:
        """Make the step of the optimizer for a loss."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.recent.append(loss.item())
        self.step += 1

    def state(self) -> dict[str, Any]:
        """Return everything that a step changes, as plain data and tensors."""
        parts = {name: dict(getattr(self, name).state_dict()) for name in self.PARTS}
        own = {name: getattr(self, name) for name in ("step", "curve", "recent")}
        return parts | own | {"attributes": attributes(self.loss_fn)}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the state that `state` has returned in another process."""
        for name in self.PARTS:
            getattr(self, name).load_state_dict(state[name])
        for name, module in self.loss_fn.named_modules():
            vars(module).update(state["attributes"][name])
        self.step, self.curve, self.recent = state["step"], state["curve"], state["recent"]


def attributes(loss_fn: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the attributes of a loss and its submodules that a call can change, by module.

    Not included: buffers and parameters, which are in its state_dict; attributes of a class or of
    a Python module; variables of a closure.
    """
    modules, own = dict(loss_fn.named_modules()), vars(nn.Module()).keys()

    def constant(value: Any) -> bool:
        if isinstance(value, dict | list | tuple) and value:
            return all(map(constant, value.values() if isinstance(value, dict) else value))
        if isinstance(value, nn.Module):
            return value in modules.values()
        suite = type(value).__module__.startswith("losses.")
        return suite or callable(value) or isinstance(value, torch.dtype | torch.device | enum.Enum)

    return {
        name: {k: v for k, v in vars(module).items() if k not in own and not constant(v)}
        for name, module in modules.items()
    }


def _set_seeds(seed: int, device: str) -> None:
    """Seed all global generators: no step depends on the random numbers of the steps before it.

    torch.manual_seed would also seed CUDA, which takes 100 us where CUDA is not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


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


def predict_splits(model: nn.Module, cell: Cell, device: str) -> dict[str, np.ndarray | None]:
    """Return the probabilities of the splits; of "train" only if the cell has clean labels."""
    return {
        "val": predict(model, cell.val_images, device, cell.val_ignored),
        "test": predict(model, cell.test_images, device),
        "train": None if cell.clean is None else predict(model, cell.images, device),
    }


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
