"""Train the runs of a chunk: `python -m experiments.chunk CONFIG CHUNK --jobs N`.

What is done and still valid is kept; the rest is trained, several runs at a time.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from experiments import prepared, provenance, results
from experiments.plan import Study
from experiments.train import log, name_of, resolve_device, train


def is_done(study, run):
    """Whether a run's record is whole and of this configuration, data and code."""
    try:
        record = results.read_record(Path(study.folder, run.path))
    except results.RecordError:
        return False
    return (
        record["fingerprint"] == run.fingerprint
        and record["status"] != "failed"
        and record.get("data") == prepared.content(study.data_folder(*run.cell))
        and record.get("code") == provenance.code(run.loss_spec)
    )


class Progress:
    """How many of the study's runs are done, and how long the rest will take at this pace."""

    def __init__(self, study, pending):
        paths = {run.path for run in pending}
        others = [run for run in study.runs if run.path not in paths]
        self.total = len(study.runs)
        self.done = sum(Path(study.record(run)).exists() for run in others)
        self.began, self.finished = time.monotonic(), 0

    def finish(self, run, record):
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
            name_of(run),
            record["status"],
            f", loss {last['loss']:.4f}, validation Dice {last['val_dice']:.3f}" if last else "",
            sum(record["seconds"].values()),
            f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s",
        )


def train_all(study, runs, jobs):
    """Train what is not done yet, `jobs` runs at a time; returns how many were trained."""
    pending = []
    for run in runs:
        if is_done(study, run):
            os.utime(study.record(run))  # as new as what it was checked against
        else:
            pending.append(run)
    if len(pending) < len(runs):
        log.info("%d of %d runs are already there", len(runs) - len(pending), len(runs))
    if not pending:
        return 0
    # What the records say of the code is read here, before anyone edits it.
    provenance.origin(resolve_device(study.device))
    for run in pending:
        provenance.code(run.loss_spec)
    progress = Progress(study, pending)
    jobs = min(jobs, len(pending))
    log.info("training %d runs, %d at a time", len(pending), jobs)
    if jobs == 1:
        for run in pending:
            progress.finish(run, train(study, run))
        return len(pending)
    # A forked worker starts with everything imported.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting = {pool.submit(train, study, run): run for run in pending}
        for future in as_completed(waiting):
            progress.finish(waiting[future], future.result())
    return len(pending)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("chunk")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--log", help="a file that gets what the terminal gets")
    args = parser.parse_args()
    handlers = [logging.StreamHandler()]
    if args.log:
        handlers.append(logging.FileHandler(args.log, "w"))
    logging.basicConfig(
        level=logging.INFO, handlers=handlers, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    study = Study.read(args.config)
    try:
        train_all(study, study.chunks[args.chunk].runs, args.jobs)
    except ValueError as error:
        raise SystemExit(f"dicebench: {error}") from None


if __name__ == "__main__":
    main()
