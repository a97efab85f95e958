"""Step `train`: train the runs of a job, several at a time; valid runs are kept."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data import prepared
from experiments.errors import ConfigError
from experiments.layout import PREDICTIONS, WEIGHTS
from experiments.runs import predictions, provenance
from experiments.runs.fit import resolve_device
from experiments.runs.records import RecordError, read_record
from experiments.runs.run import evaluate_kept, title, train
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.study import RunSpec, Study

log = logging.getLogger("dicebench")

KEPT = {"predictions": PREDICTIONS, "weights": WEIGHTS}
"""Words of the setting `keep`, and their files."""


class Validity(Enum):
    """State of a run: valid, or the work that makes it valid."""

    VALID = "valid"
    EVALUATE = "evaluate"
    TRAIN = "train"


def run(study: Study, name: str | None = None, jobs: int = 1) -> None:
    """Train the runs of job `name` that are not valid, `jobs` runs at a time."""
    if name not in study.jobs:
        raise ConfigError(
            f"unknown job {name!r}{nearest(name, study.jobs)}; allowed: {', '.join(study.jobs)}"
        )
    train_all(study, study.jobs[name].runs, jobs)


def validity(study: Study, run: RunSpec) -> Validity:
    """Return whether a run is valid, by its record: whole, of this configuration, data and code.

    If only the code of the evaluation differs, stored predictions are evaluated without training.
    """
    folder = study.run_folder(run)
    try:
        record = read_record(folder)
    except RecordError:
        return Validity.TRAIN
    code = provenance.code(run.loss_spec)
    if (
        record["fingerprint"] != run.fingerprint
        or record["status"] == "failed"
        or record.get("data") != prepared.content(study.data_folder(*run.cell))
        or record["code"]["train"] != code["train"]
    ):
        return Validity.TRAIN
    if record["status"] == "diverged":
        return Validity.VALID  # there is nothing to evaluate or to keep
    if not {KEPT[word] for word in study.keep} <= record["files"].keys():
        return Validity.TRAIN
    if record["code"]["evaluate"] == code["evaluate"]:
        return Validity.VALID
    return Validity.EVALUATE if _readable(folder / PREDICTIONS) else Validity.TRAIN


def _readable(path: Path) -> bool:
    """Return whether stored predictions exist and were made for the present thresholds."""
    try:
        predictions.load(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True


def train_all(study: Study, runs: Sequence[RunSpec], jobs: int) -> int:
    """Train or evaluate the runs that are not valid, `jobs` at a time; return their number."""
    pending = {}
    for run in runs:
        state = validity(study, run)
        if state is Validity.VALID:
            os.utime(study.record(run))  # up to date for Snakemake
        else:
            pending[run.path] = run, (train if state is Validity.TRAIN else evaluate_kept)
    if len(pending) < len(runs):
        log.info("%d of %d runs are valid", len(runs) - len(pending), len(runs))
    if not pending:
        return 0
    # Read the code now, before anyone edits it; workers inherit the fingerprints.
    provenance.origin(resolve_device(study.device))
    for run, _ in pending.values():
        provenance.code(run.loss_spec)
    progress = Progress(study, pending)
    jobs = min(jobs, len(pending))
    training = sum(work is train for _, work in pending.values())
    log.info(
        "%d runs to train, %d to evaluate, %d at a time", training, len(pending) - training, jobs
    )
    if jobs == 1:
        for run, work in pending.values():
            progress.finish(run, work(study, run))
        return len(pending)
    # A forked worker starts with all imports done.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting = {pool.submit(work, study, run): run for run, work in pending.values()}
        for future in as_completed(waiting):
            progress.finish(waiting[future], future.result())
    return len(pending)


class Progress:
    """Number of the study's runs that are done, and the time left at the present pace."""

    def __init__(self, study: Study, pending: dict[str, Any]) -> None:
        others = [run for run in study.runs if run.path not in pending]
        self.total = len(study.runs)
        self.done = sum(Path(study.record(run)).exists() for run in others)
        self.began, self.finished = time.monotonic(), 0

    def finish(self, run: RunSpec, record: dict[str, Any]) -> None:
        """Count a run and log its result."""
        self.done, self.finished = self.done + 1, self.finished + 1
        pace = (time.monotonic() - self.began) / self.finished
        left = pace * (self.total - self.done)
        curve = record.get("curve") or [{}]
        last = curve[-1]
        log.info(
            "[%*d/%d] %s: %s%s, %.1f s; about %s left",
            len(str(self.total)),
            self.done,
            self.total,
            title(run),
            record["status"],
            f", loss {last['loss']:.4f}, validation Dice {last['val_dice']:.3f}" if last else "",
            sum(record["seconds"].values()),
            f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s",
        )
