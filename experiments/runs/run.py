"""One run: fit, predict, evaluate, and write the record whether it succeeds or fails."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import nn

from experiments.data import prepared
from experiments.files import is_disk_error, now
from experiments.layout import COUNTS_FILE, EXAMPLES_FILE, PREDICTIONS, WEIGHTS
from experiments.runs import devices, evaluate, pictures, predictions, provenance, records, workers
from experiments.runs.batches import Cell, open_cell
from experiments.runs.checkpoint import Checkpoint
from experiments.runs.fit import fit, predict_splits, weights_hash
from experiments.runs.forking import describe
from experiments.runs.predictions import Predictions
from experiments.runs.worker import Stop, machine_failure, title

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec, Workspace

log = logging.getLogger("dicebench")

REPORT_EVERY = 20.0
"""Seconds between log lines about a run in progress."""
IDENTITY = ("fingerprint", "data", "versions", "device", "machine")
"""Entries of a record that a checkpoint must match, besides the training code."""


def train(
    workspace: Workspace, run: RunSpec, check: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Train and evaluate one run; return its record.

    An error of the run is logged and recorded as its status, not raised. check: called before the
    record is written; it may raise Stop. Raises Stop if the data changed, and OSError if the disk
    is full.
    """
    kind = devices.resolve(workspace.device)
    devices.set_process(kind, run.training.precision)
    folder, data = workspace.run_folder(run), workspace.data_folder(*run.cell)
    record = provenance.begin(run) | devices.describe(kind)
    files: dict[str, bytes] = {}
    clock = Clock()
    cell = _open(data)
    record["data"] = cell.content
    identity = {key: record[key] for key in IDENTITY} | {"code": record["code"]["train"]}
    checkpoint = Checkpoint(folder, identity, workspace.checkpoint)
    clock.lap("load")
    try:
        workers.beat("train")
        fitted = fit(cell, run, kind, ProgressLogger(run), checkpoint)
        workers.beat("evaluate")
        clock.lap("train")
        record |= {"status": "ok" if fitted.diverged is None else "diverged", "curve": fitted.curve}
        record |= fitted.on_gpu
        if fitted.diverged is None:
            outputs, kept = _keep(
                workspace.keep,
                fitted.model,
                Predictions(**predict_splits(fitted.model, cell, kind)),
            )
            results, files = _evaluate(outputs, cell)
            record |= results | {"weights": weights_hash(fitted.model)}
            files |= kept
        else:
            record["step"] = fitted.diverged
    except Exception as error:
        if is_disk_error(error) or machine_failure(error):
            raise
        log.exception("run %s failed", run.path)
        record |= {"status": "failed", "reason": reason(error)}
    clock.lap("evaluate")
    record |= {"written": now(), "seconds": clock.seconds()}
    check()
    records.write_record(folder, record, files)
    if record["status"] != "failed":  # else the next try continues from it
        checkpoint.remove()
    return record


def evaluate_kept(
    workspace: Workspace, run: RunSpec, check: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Evaluate the stored predictions of a valid run with the present code; return its record.

    The record then has "evaluated": time and commit of this evaluation. ValueError if the
    predictions cannot be used.
    """
    devices.set_process(devices.resolve(workspace.device), run.training.precision)
    folder = workspace.run_folder(run)
    record = records.read_record(folder, files=False)
    kept = {n: sha for n, sha in record["files"].items() if n in (PREDICTIONS, WEIGHTS)}
    clock = Clock()
    cell = _open(workspace.data_folder(*run.cell))
    results, files = _evaluate(predictions.load((folder / PREDICTIONS).read_bytes()), cell)
    clock.lap("evaluate")
    origin = provenance.origin()
    record |= results | {"code": provenance.code(run.loss_spec)}
    record["evaluated"] = {
        "written": now(),
        "commit": origin["commit"],
        "dirty": origin["dirty"],
    }
    record["seconds"] |= clock.seconds()
    check()
    records.write_record(folder, record, files, kept)
    return record


def _open(folder: str) -> Cell:
    """Open the cell in a stressed folder; Stop if its files changed since they were written."""
    try:
        return open_cell(folder, prepared.content(folder))
    except (OSError, ValueError, KeyError) as error:
        raise Stop(f"{error}; the same command prepares the data again") from None


def reason(error: Exception) -> str:
    """Return the reason of a failure.

    >>> reason(MemoryError("no room"))
    'out of memory: MemoryError: no room'
    """
    text = describe(error)
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return f"out of memory: {text}" if memory or "DefaultCPUAllocator" in text else text


def _keep(
    keep: tuple[str, ...], model: nn.Module, outputs: Predictions
) -> tuple[Predictions, dict[str, bytes]]:
    """Return the predictions to evaluate, and the files that `keep` names.

    Stored predictions are evaluated as they are stored, so that a later evaluation of the file
    gives the same bytes.
    """
    files = {}
    if "predictions" in keep:
        files[PREDICTIONS] = predictions.save(outputs)
        outputs = predictions.load(files[PREDICTIONS])
    if "weights" in keep:
        state = {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}
        files[WEIGHTS] = safetensors.torch.save(state)
    return outputs, files


def _evaluate(outputs: Predictions, cell: Cell) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the record's entries and the files of an evaluation."""
    evaluation = evaluate.evaluate(outputs, cell)
    entries = {k: v for k, v in vars(evaluation).items() if k != "counts" and v is not None}
    return entries, {
        COUNTS_FILE: records.encode_counts(evaluation.counts),
        EXAMPLES_FILE: pictures.encode(outputs.test[: records.EXAMPLES]),
    }


class Clock:
    """Seconds of the parts of a run."""

    def __init__(self) -> None:
        self._laps = [("start", time.perf_counter())]

    def lap(self, name: str) -> None:
        """End the part `name`."""
        self._laps.append((name, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part."""
        pairs = itertools.pairwise(self._laps)
        return {name: round(end - start, 3) for (_, start), (name, end) in pairs}


class ProgressLogger:
    """Log the progress of a run every REPORT_EVERY seconds."""

    def __init__(self, run: RunSpec) -> None:
        self.run, self.last = run, time.monotonic()

    def __call__(self, step: int, loss: float | None) -> None:
        """Take a step and its loss."""
        workers.beat()
        if time.monotonic() - self.last > REPORT_EVERY:
            self.last = time.monotonic()
            steps = self.run.training.steps
            log.info("... %s step %d of %d, loss %.4f", title(self.run), step + 1, steps, loss)
