"""The two sides of `benchmarks.training`: their commands, data, times and scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.usage import Usage, busy
from experiments.data.prepare import run as prepare
from experiments.files import write_whole
from experiments.layout import CONFIG, COUNTS_FILE
from experiments.plan.runs import RunSpec
from experiments.plan.study import Study
from experiments.runs.fit import CURVE_POINTS
from experiments.runs.records import read_record

ROOT = Path(__file__).parents[1]
ALONE, LOOP, SUITE = "plain: a process per run", "plain: one process", "suite"
AT_ONCE, LOOPS = "plain: a process per run, {n} at once", "plain: {n} processes at once"
DEFAULT = ", threads of torch's choice"
WORKERS = (0, 2, 4)
"""Numbers of processes of a DataLoader that are tried."""
MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """One comparison.

    config: of the study, without seeds. runs: number of runs of a call. single: number of runs of
    the calls that start a process per run. cores: processes, or jobs, at a time. workers: processes
    of the DataLoader.
    """

    config: dict[str, Any]
    device: str
    runs: int
    single: int
    cores: int
    workers: int = 0

    def study(self, folder: Path, repeat: int) -> Study:
        """Return the study of a repetition, which has seeds of its own; prepare its data."""
        count = max(1, self.runs // len(self.config["losses"]))
        seeds = list(range(repeat * count, (repeat + 1) * count))
        study = Study({**self.config, "seeds": seeds}, str(folder / f"repeat-{repeat}"))
        prepare(study)
        write_whole(study.file(CONFIG), study.json)
        return study


@dataclass(frozen=True)
class Call:
    """Commands to be timed together.

    side: its name. runs: of all commands. at_once: number of commands at a time. threads: of a
    process; 0: torch's default.
    """

    side: str
    commands: list[list[str]]
    runs: int
    at_once: int = 1
    threads: int = 1


@dataclass
class Timing:
    """A timed call. memory: MiB; gpu_memory: MiB; gpu_busy: share of the time; None if unknown."""

    side: str
    runs: int
    seconds: float
    memory: float
    gpu_memory: float | None = None
    gpu_busy: float | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Runs per hour."""
        return 3600 * self.runs / self.seconds


def calls(plan: Plan, study: Study, out: Path) -> list[Call]:
    """Return the calls of a repetition."""
    runs, n = study.runs, plan.cores
    each = [plain(plan, study, [run], out) for run in runs]
    few = each[: plan.single]
    loop = [plain(plan, study, runs, out)]
    found = [Call(ALONE, few, len(few)), Call(LOOP, loop, len(runs))]
    if n > 1:
        shares = [plain(plan, study, runs[i::n], out, 0) for i in range(min(n, len(runs)))]
        many = [plain(plan, study, [run], out, 0) for run in runs[: max(plan.single, n)]]
        found += [
            Call(AT_ONCE.format(n=n), many, len(many), n),
            Call(LOOPS.format(n=n), shares, len(runs), n),
        ]
        if plan.device == "cpu":
            found += [
                Call(ALONE + DEFAULT, few, len(few), threads=0),
                Call(LOOP + DEFAULT, loop, len(runs), threads=0),
            ]
    (job,) = study.jobs
    suite = ["-m", "experiments", "train", study.folder, job, "--jobs", str(n)]
    return [*found, Call(SUITE, [suite], len(runs))]


def plain(
    plan: Plan, study: Study, runs: Sequence[RunSpec], out: Path, workers: int | None = None
) -> list[str]:
    """Return the command of the plain script for these runs."""
    training = study.training
    options = {
        "device": plan.device,
        "architecture": training.architecture,
        "encoder": training.encoder,
        "model-options": json.dumps(training.model_options),
        "steps": training.steps,
        "batch-size": training.batch_size,
        "learning-rate": training.learning_rate,
        "precision": training.precision,
        "every": -(-training.steps // CURVE_POINTS),
        "workers": plan.workers if workers is None else workers,
        "out": out,
    }
    words = ["-m", "benchmarks.plain"]
    for run in runs:
        words += ["--run", study.data_folder(*run.cell), run.loss, str(run.seed)]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def execute(words: Sequence[str], threads: int = 1) -> list[dict[str, Any]]:
    """Run a command of Python; return its lines of JSON. SystemExit if it fails.

    A line has `imports`: seconds from the start of the command to the end of its imports.
    """
    environment = os.environ | {
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "OMP_NUM_THREADS": str(threads),
    }
    if not threads:
        del environment["OMP_NUM_THREADS"]
    began = time.time()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stderr[-3000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [line | {"imports": line["imported"] - began} for line in lines]


def measure(call: Call, device: str) -> Timing:
    """Time a call."""
    own = [] if call.side == SUITE else ["--threads", str(call.threads)]
    words = [[*command, *own] for command in call.commands]
    with Usage(device) as usage, ThreadPoolExecutor(call.at_once) as pool:
        began = time.perf_counter()
        results = list(pool.map(lambda one: execute(one, call.threads), words))
        seconds = time.perf_counter() - began
    timing = Timing(call.side, call.runs, seconds, usage.memory / MIB)
    timing.results = [line for lines in results for line in lines]
    if usage.gpu:
        percent, memory = zip(*usage.gpu, strict=True)
        timing.gpu_memory, timing.gpu_busy = max(memory) - memory[0], busy(percent)
    return timing


def loading(plan: Plan, study: Study, out: Path) -> dict[int, float]:
    """Return the seconds of one run of the plain script by number of DataLoader processes."""
    return {
        workers: execute(plain(plan, study, study.runs[:1], out, workers))[0]["seconds"]
        for workers in WORKERS
        if workers <= plan.cores
    }


def records(study: Study) -> list[dict[str, Any]]:
    """Return the records of a study; SystemExit if a run failed."""
    found = [read_record(study.run_folder(run)) for run in study.runs]
    for run, record in zip(study.runs, found, strict=True):
        if record["status"] != "ok":
            raise SystemExit(f"{run.path}: {record['status']}: {record.get('reason')}")
    return found


def suite_scores(study: Study) -> dict[tuple[str, int], float]:
    """Return (loss, seed) -> Dice over all pixels of the test images, at 0.5."""
    scores = {}
    for run in study.runs:
        table = pd.read_csv(study.run_folder(run) / COUNTS_FILE, dtype={"threshold": str})
        tp, fp, fn = table.loc[table.threshold == "0.5", ["tp", "fp", "fn"]].sum()
        scores[run.loss, run.seed] = 2 * tp / max(1, 2 * tp + fp + fn)
    return scores
