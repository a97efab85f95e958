"""Fit a model to the training images of a cell.

The batches, their order, the initial weights and the dropout masks depend on dataset, stress and
seed, never on the loss or on other runs. A run uses one thread, so that it gives the same bytes
with one job or many.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from experiments.runs.batches import Cell, to_tensor
from experiments.runs.checkpoint import Checkpoint
from experiments.runs.lane import AT_ONCE, CudaGraphs, Lane, NotRecorded
from experiments.runs.overlap import at_half, dice_by_class

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec

log = logging.getLogger("dicebench")

CURVE_POINTS = 6
"""Points of a learning curve, at most."""


@dataclass(frozen=True)
class Fit:
    """A fitted model, as it is evaluated, with its learning curve.

    The last point of the curve is of this model. The points before it are of the model that would
    be evaluated at that step, with batch-norm statistics of at most AT_ONCE training images.
    diverged: the step at which the loss was not finite (the number of steps: the last weights were
    not finite), or None. on_gpu: entries of the record of a run on a GPU: whether its steps were
    `captured`, and names of operations that are `nondeterministic`.
    """

    model: nn.Module
    curve: list[dict[str, float]]
    diverged: int | None
    on_gpu: dict[str, Any]


def fit(
    cell: Cell,
    run: RunSpec,
    device: str,
    report: Callable[[int, float | None], None],
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train a model from the cell's initial weights.

    report: called with each step and its loss; on a GPU with the last loss that is known.
    checkpoint: of the run, to continue from and to save to; the result has the same bytes as that
    of a run without interruption, on a CPU.
    """
    record = recorder(device)
    try:
        return _attempt(cell, run, device, report, checkpoint, record)
    except NotRecorded as error:
        log.info("%s is trained without recording its steps: %s", run.path, error)
        return _attempt(cell, run, device, report, checkpoint, None)


def recorder(device: str) -> CudaGraphs | None:
    """Return the object that records steps on a device; None on a CPU."""
    return CudaGraphs() if device == "cuda" else None


def _attempt(
    cell: Cell,
    run: RunSpec,
    device: str,
    report: Callable[[int, float | None], None],
    checkpoint: Checkpoint | None,
    record: CudaGraphs | None,
) -> Fit:
    with contextlib.ExitStack() as stack:
        if isinstance(record, CudaGraphs):
            stack.enter_context(torch.cuda.stream(record.stream))
        lane = stack.enter_context(contextlib.closing(Lane(cell, run, device, record)))
        state = checkpoint.load() if checkpoint else None
        if state is None or _restored(lane, state):
            return _fit(lane, cell, report, checkpoint)
    checkpoint.remove()
    return _attempt(cell, run, device, report, checkpoint, record)


def _restored(lane: Lane, state: dict[str, Any]) -> bool:
    """Return whether a lane could be set to the state of a checkpoint."""
    run = lane.run
    try:
        lane.restore(state)
    except Exception as error:  # of any type: the state comes from a file
        log.warning("%s: checkpoint refused: %s", run.path, error)
        return False
    log.info("%s resumes at step %d of %d", run.path, lane.step, run.training.steps)
    return True


def _fit(
    lane: Lane,
    cell: Cell,
    report: Callable[[int, float | None], None],
    checkpoint: Checkpoint | None,
) -> Fit:
    every = -(-lane.steps // CURVE_POINTS)  # rounded up: the last interval is not a stub
    while lane.step < lane.steps:
        lane.advance()
        point = lane.step % every == 0 or lane.step == lane.steps
        due = checkpoint is not None and checkpoint.due()
        if point or due or lane.device == "cpu":  # a GPU does not wait for the host in between
            diverged = lane.read()
            if diverged is not None:
                return Fit(lane.model, lane.curve, diverged, lane.on_gpu())
        report(lane.step - 1, lane.recent[-1] if lane.recent else None)
        if point:
            if lane.run.training.weights == "recalibrated":
                last = lane.step == lane.steps
                lane.recalibrate(cell.images if last else cell.images[:AT_ONCE])
            row = {"step": lane.step, "loss": float(np.mean(lane.recent))}
            lane.curve.append(row | _validation(lane.evaluated, cell, lane.device))
            lane.recent = []
        if due:
            checkpoint.save(lane.step, lane.state)
    # The loss checks the previous update; the weights check the last one.
    finite = all(tensor.isfinite().all() for tensor in lane.evaluated.state_dict().values())
    return Fit(lane.evaluated, lane.curve, None if finite else lane.steps, lane.on_gpu())


def _validation(model: nn.Module, cell: Cell, device: str) -> dict[str, float]:
    prob = predict(model, cell.val_images, device, cell.val_ignored, multilabel=cell.multilabel)
    predicted = at_half(prob, cell.multilabel)
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
    batch: int = AT_ONCE,
    *,
    multilabel: bool = False,
) -> Float[np.ndarray, "n k h w"]:
    """Return the probabilities of the classes, float32, without background.

    ignored: 1 where the probabilities are set to 0. multilabel: each channel is a sigmoid; else
    several channels are a softmax, background first.
    """
    model.eval()
    parts = []
    for i in range(0, len(images), batch):
        logits = model(to_tensor(images[i : i + batch], device)).float()
        exclusive = logits.shape[1] > 1 and not multilabel
        parts.append((logits.softmax(1)[:, 1:] if exclusive else logits.sigmoid()).cpu())
    model.train()
    prob = torch.cat(parts).numpy()
    return prob if ignored is None else np.where(ignored[:, None], np.float32(0), prob)


def predict_splits(model: nn.Module, cell: Cell, device: str) -> dict[str, np.ndarray | None]:
    """Return the probabilities of the splits; of "train" only if the cell has clean labels."""
    of = partial(predict, model, device=device, multilabel=cell.multilabel)
    return {
        "val": of(cell.val_images, ignored=cell.val_ignored),
        "test": of(cell.test_images),
        "train": None if cell.clean is None else of(cell.images),
    }


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
