"""The work of one run in a worker: lock the run, make it valid, return the result.

The process that starts the workers imports this module, so it loads no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import locks
from experiments.errors import ConfigError
from experiments.files import is_disk_error, now
from experiments.layout import CHECKPOINT, CONFIG, RUN_LOCK
from experiments.plan.study import Study
from experiments.runs import provenance, records
from experiments.runs.forking import describe
from experiments.runs.validity import State, validity

if TYPE_CHECKING:
    from experiments.plan.study import RunSpec, Workspace

PRELOAD = ("experiments.runs.run",)
"""Modules that are imported once, before the workers are forked."""
GPU_ERROR = re.compile(
    "^OutOfMemoryError:|^AcceleratorError:|CUDA error|CUDA unknown error|CUDA driver"
    "|NVIDIA driver|No CUDA GPUs|CUDNN_STATUS|CUBLAS_STATUS"
)
"""Descriptions of errors of a GPU. Errors of a CPU have other words."""


class Stop(Exception):
    """A run cannot be trained now: its data, disk, lock or configuration. Nothing is recorded."""


def work(
    workspace: Workspace, run: RunSpec, code: dict[str, str], patience: float = 0
) -> dict[str, Any]:
    """Make a run valid; return the parts of its record that the job logs.

    code: `provenance.code` at the start of the job. patience: seconds to wait if another process
    trains the run. The result is then {"busy": holder}; after Stop it is {"stop": reason}.
    """
    workspace = replace(workspace, folder=os.path.abspath(workspace.folder))  # a loss may chdir
    folder = workspace.run_folder(run)
    try:
        with locks.lock(folder / RUN_LOCK) as held:
            check = partial(check_present, workspace, run, code, held)
            record = _make_valid(workspace, run, check)
            return {key: record.get(key) for key in ("status", "reason", "curve", "seconds")}
    except locks.Busy as busy:
        time.sleep(patience)
        return {"busy": busy.holder}
    except (Stop, ConfigError) as stop:  # ConfigError: the device of the study cannot be used
        return {"stop": str(stop)}
    except OSError as error:
        if not is_disk_error(error):
            raise
        return {"stop": f"{error.filename or folder}: {error.strerror}"}


def _make_valid(workspace: Workspace, run: RunSpec, check: Callable[[], None]) -> dict[str, Any]:
    found = validity(workspace, run)
    if found.state is State.VALID:  # another process trained it in the meantime
        shutil.rmtree(workspace.run_folder(run) / CHECKPOINT, ignore_errors=True)
        return found.record
    check()
    from experiments.runs import run as runs

    if found.state is not State.EVALUATE:
        return runs.train(workspace, run, check)
    try:
        return runs.evaluate_kept(workspace, run, check)
    except (Stop, OSError):
        raise
    except Exception as error:  # the stored predictions stay
        raise Stop(f"its evaluation failed: {describe(error)}") from None


def check_present(
    workspace: Workspace, run: RunSpec, code: dict[str, str], held: Callable[[], bool]
) -> None:
    """Raise Stop unless lock, configuration and code are those that the job started with.

    A worker that outlives the call of its study would overwrite newer records.
    """
    if not held():
        raise Stop("another process took over the lock of the run")
    path = Path(workspace.folder, CONFIG)
    if path.is_file() and path.read_text() != workspace.config:
        try:
            runs = Study.open(workspace.folder).runs
        except ConfigError as error:
            raise Stop(f"the configuration of the study changed: {error}") from None
        if run.fingerprint not in {other.fingerprint for other in runs if other.path == run.path}:
            raise Stop("the configuration of the study changed since the job started")
    if provenance.code(run.loss_spec) != code:
        raise Stop("the code of the run changed since the job started")


def machine_failure(error: BaseException) -> str | None:
    """Return the reason if an error is a failure of the GPU and not of the run, else None.

    Nothing is recorded then: the error leaves `work`, and its process does no other work.

    >>> machine_failure(RuntimeError("CUDA error: device-side assert triggered"))
    'RuntimeError: CUDA error: device-side assert triggered'
    >>> machine_failure(MemoryError("no room"))
    """
    reason = describe(error)
    return reason if is_of_gpu(reason) else None


def is_of_gpu(reason: str) -> bool:
    """Return whether an error is a failure of a GPU; reason: its description."""
    return bool(GPU_ERROR.search(reason))


def record_death(workspace: Workspace, run: RunSpec, reason: str) -> dict[str, Any]:
    """Record that the process of a run ended before the run did; return the record."""
    seconds: dict[str, float] = {}
    record = provenance.begin(run) | {"status": "failed", "reason": reason, "seconds": seconds}
    record |= {"written": now(), "device": workspace.device}
    records.write_record(workspace.run_folder(run), record)
    return record


def title(run: RunSpec) -> str:
    """Return a run's name in log lines."""
    dataset, stress, seed = run.cell
    return " ".join(filter(None, (dataset, stress, run.loss, run.setting.name, f"seed {seed}")))
