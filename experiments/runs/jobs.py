"""Step `train`: train the runs of a job, several at a time; valid runs are kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import locks
from experiments.errors import ConfigError
from experiments.layout import RUN_LOCK
from experiments.plan.losses import custom_modules
from experiments.runs import gpus, provenance, worker, workers
from experiments.runs.progress import Progress
from experiments.runs.validity import State, validity
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

PATIENCE = 2.0
"""Seconds between two attempts at a run that another process trains."""


class Unfinished(ValueError):
    """Runs that could not be trained: their data, disk, lock or configuration."""


def run(study: Study, name: str | None = None, jobs: int = 1) -> list[str]:
    """Train the runs of job `name` that are not valid, `jobs` runs at a time.

    Returns the runs that failed: the next call tries them again. Raises Unfinished if some runs
    could not be trained.
    """
    if name not in study.jobs:
        raise ConfigError(
            f"unknown job {name!r}{nearest(name, study.jobs)}; allowed: {', '.join(study.jobs)}"
        )
    return train_all(study, study.jobs[name].runs, jobs).failed


def train_all(study: Study, runs: Sequence[RunSpec], jobs: int) -> Training:
    """Train or evaluate the runs that are not valid, `jobs` at a time.

    Raises Unfinished if some could not be trained.
    """
    training = Training(study, runs)
    training.run(jobs)
    return training


class Training:
    """The work of making runs valid.

    done: number of runs that were trained or evaluated. failed: their paths. stopped: path ->
    reason of the runs that could not be trained. repeated: paths of runs that are repeated once,
    alone in a new process, after all others: something else may have ended them.
    """

    def __init__(self, study: Study, runs: Sequence[RunSpec]) -> None:
        self.study = study
        self.code = {run.path: provenance.code(run.loss_spec) for run in runs}
        found = {run: validity(study.workspace, run) for run in runs}
        self.pending = {run.path: run for run, v in found.items() if v.state is not State.VALID}
        self.progress = Progress(study, self.pending)
        self.done, self.failed, self.stopped, self.repeated = 0, [], {}, []
        states = [validity.state for validity in found.values()]
        log.info(
            "%d runs are valid, %d to train, %d to evaluate",
            states.count(State.VALID),
            states.count(State.TRAIN) + states.count(State.FAILED),
            states.count(State.EVALUATE),
        )

    def run(self, jobs: int) -> None:
        """Work through the runs, `jobs` at a time, on GPUs not more than these can take."""
        if self.pending:
            runs = list(self.pending.values())
            places = gpus.places(self.study, runs, min(jobs, len(runs)))
            if any(places):  # a run in a process of its own takes the place of a shared one
                runs.sort(key=lambda run: bool(custom_modules(run.loss_spec)))
            with self.progress.bar():
                self._work([run.path for run in runs], places)
                self._work(self.repeated, places[:1])
        if self.failed:
            log.warning("%d runs failed; the next call tries them again", len(self.failed))
        if self.stopped:
            reasons = "\n".join(f"  {path}: {text}" for path, text in self.stopped.items())
            raise Unfinished(
                f"{len(self.stopped)} runs are not trained; run the same command again:\n{reasons}"
            )

    def _work(self, paths: Sequence[str], places: Sequence[dict[str, str]]) -> None:
        limits = self.study.timeout.step, self.study.timeout.run
        with workers.Pool(len(places), worker.PRELOAD, *limits, places) as pool:
            for path in paths:
                pool.submit(self._task(path))
            for outcome in pool:
                if again := self._take(outcome):
                    pool.submit(again)

    def _task(self, path: str, patience: float = 0) -> workers.Task:
        run = self.pending[path]
        args = self.study.workspace, run, self.code[path], patience
        alone = path in self.repeated or bool(custom_modules(run.loss_spec))
        return workers.Task(path, worker.work, args, alone)

    def _take(self, outcome: workers.Outcome) -> workers.Task | None:
        """Take the outcome of a run; return the task if it is to be tried again."""
        path, run, died = outcome.key, self.pending[outcome.key], outcome.died
        if died and path not in self.repeated and _may_be_innocent(run, died):
            self.repeated.append(path)
            words = "%s ended by %s; it is repeated alone, after all others"
            log.warning(words, worker.title(run), _first_line(died))
            return None
        result = outcome.value if died is None else self._died(run, died)
        if "busy" in result:
            self.progress.wait(run, result["busy"])
            return self._task(path, PATIENCE)
        if "stop" in result:
            self.stopped[path] = result["stop"]
            log.error("%s is not trained: %s", worker.title(run), result["stop"])
            return None
        self.done += 1
        if result["status"] == "failed":
            self.failed.append(path)
        self.progress.finish(run, result)
        return None

    def _died(self, run: RunSpec, reason: str) -> dict[str, Any]:
        """Record that the worker of a run died, unless the GPU is to blame; return the result."""
        if worker.is_of_gpu(reason) and not custom_modules(run.loss_spec):
            return {"stop": _first_line(reason)}
        workspace, code = self.study.workspace, self.code[run.path]
        try:
            with locks.lock(workspace.run_folder(run) / RUN_LOCK) as held:
                found = validity(workspace, run)
                if found.state is State.VALID:  # another process trained it in the meantime
                    return found.record
                if found.state is State.EVALUATE:  # the stored predictions stay
                    return {"stop": reason}
                worker.check_present(workspace, run, code, held)
                return worker.record_death(workspace, run, reason)
        except (locks.Busy, worker.Stop) as error:
            return {"stop": f"{reason}; {error}"}


def _may_be_innocent(run: RunSpec, reason: str) -> bool:
    """Return whether something else than the run may have ended its worker: the run is repeated.

    That is the GPU, which other processes use too, or the end of a shared worker by a signal.
    """
    shared = not custom_modules(run.loss_spec)
    killed = reason == workers.SERVER_ENDED or (shared and reason.startswith("signal"))
    return killed or worker.is_of_gpu(reason)


def _first_line(text: str) -> str:
    """Return the first line of a reason; those of CUDA go on with advice."""
    return text.partition("\n")[0]
