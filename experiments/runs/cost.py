"""The cost of a study before it starts: models, time, memory and disk.

The time follows from a few real steps of each kind of model, with generated images and
cross-entropy; no custom loss is imported. On a CPU it is processor time: other work does not count.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from experiments.data import controlled
from experiments.errors import ConfigError
from experiments.plan.knobs import CONTROLLED_FRACTION
from experiments.runs import devices, evaluate, gpus, models
from experiments.runs.fit import fit, predict
from experiments.runs.progress import duration
from experiments.runs.sizes import Pace, Sizes, used
from experiments.runs.truth import Truth

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

UNTIMED = {"steps", "learning_rate", "schedule", "encoder_weights"}
"""Training settings that do not change the time of a step."""
STEPS, BUDGET = 10, 2.0
"""Most steps that are timed for a kind of model, and seconds for the steps of all kinds."""
PREDICTED, COUNTED = 32, 8
"""Images that are predicted, and images that are counted, for the time of one."""


@dataclass(frozen=True)
class Cost:
    """The cost of all runs of a study, with those that are already valid.

    steps: fewest and most of a run. seconds: with `jobs` processes on CPUs; on GPUs, where nothing
    is known of several at a time, with one. memory: bytes of a process. disk: bytes of the study.
    gpus: number of GPUs, on which the models are trained `jobs` at a time; 0: on CPUs.
    """

    models: int
    steps: tuple[int, int]
    jobs: int
    seconds: float
    memory: int
    disk: int
    gpus: int = 0

    def words(self) -> str:
        """Return the cost in one line: "220 models of 160 steps; about 18 min with ..."."""
        steps = " to ".join(map(str, sorted(set(self.steps))))
        times = f"{duration(self.seconds * (1 if self.gpus else self.jobs))} with 1 process"
        memory = f"{_size(self.memory)} of memory per process"
        if self.gpus:
            times += f"; {self.jobs} at a time on {self.gpus} GPU{'s' * (self.gpus > 1)}"
        elif self.jobs > 1:
            times += f", {duration(self.seconds)} with {self.jobs}"
        if self.jobs > 1:
            memory += f", {_size(self.memory * self.jobs)} in total"
        models = f"{self.models} model{'s' * (self.models > 1)} of {steps} steps"
        return f"{models}; about {times}; {memory}; {_size(self.disk)} of disk"


def announce(study: Study) -> str:
    """Log the cost of a study and return it in words; log a warning if the disk is too small."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        cost = estimate(study, cpus or 1)
    except (RuntimeError, MemoryError, ConfigError) as error:  # no reason to refuse the study
        log.warning("the cost of the study is unknown: %s", error)
        return f"cost unknown: {error}"
    text = f"{cost.words()} (CPUs here: {cpus})"
    if study.adaptive:
        text += f"; at most {len(study.possible)} models after all looks"
    log.info("%s", text)
    folder = Path(study.folder)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < cost.disk and free < (needed := cost.disk - used(folder)):
        warning = "the disk of %s has %s left; the study needs about %s more"
        log.warning(warning, folder, _size(free), _size(needed))
    return text


def estimate(study: Study, jobs: int) -> Cost:
    """Time the models of a study and return its cost with `jobs` processes; on GPUs maybe fewer.

    The process computes as a run does from then on: in one thread, with deterministic operations.
    """
    device = devices.resolve(study.device)
    free = gpus.free_memory() if device == "cuda" else {}
    jobs, sizes = min(jobs, len(study.runs)), sizes_of(study)
    kinds = kinds_of(study.runs, sizes)
    seconds, disk, largest = 0.0, sum(own.data() for own in sizes.values()), 0
    for runs in kinds:
        pace = measure(sizes[runs[0].dataset], runs[0], device, BUDGET / len(kinds))
        seconds += sum(sizes[run.dataset].seconds(run, pace) for run in runs)
        disk += sum(sizes[run.dataset].record(run, pace) for run in runs)
        largest = max(largest, *(sizes[run.dataset].gpu(pace) for run in runs))
    if free:
        jobs = min(jobs, len(gpus.share(free, largest, study.runs_per_gpu)))
    seconds /= 1 if free else jobs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = peak * (1 if sys.platform == "darwin" else 1024)
    memory += max(own.memory() for own in sizes.values())
    steps = [run.training.steps for run in study.runs]
    limits = min(steps), max(steps)
    return Cost(len(steps), limits, jobs, seconds, memory, round(disk), len(free))


def sizes_of(study: Study) -> dict[str, Sizes]:
    """Return the sizes of each dataset of a study."""
    return {name: Sizes(study, dataset) for name, dataset in study.datasets.items()}


def kinds_of(runs: Sequence[RunSpec], sizes: Mapping[str, Sizes]) -> list[list[RunSpec]]:
    """Return the runs by kind of model: those of a kind have equal times and memory."""
    kinds: dict[str, list[RunSpec]] = {}
    for run in runs:
        own, fields = sizes[run.dataset], run.training.model_dump(exclude=UNTIMED)
        size = own.channels, own.classes, own.layers, own.pixels(run.stress)
        kind = json.dumps([size, fields], sort_keys=True, default=str)
        kinds.setdefault(kind, []).append(run)
    return list(kinds.values())


def peak(study: Study, runs: Sequence[RunSpec]) -> int:
    """Return the bytes of GPU memory of the largest of these runs, from some steps of each kind.

    A run that does not fit takes all the memory.
    """
    sizes, largest = sizes_of(study), 0
    for kind in kinds_of(runs, sizes):
        try:
            pace = measure(sizes[kind[0].dataset], kind[0], "cuda", math.inf)
        except torch.OutOfMemoryError:
            return torch.cuda.mem_get_info()[1]
        largest = max(largest, *(sizes[run.dataset].gpu(pace) for run in kind))
    return largest


def measure(sizes: Sizes, run: RunSpec, device: str, budget: float) -> Pace:
    """Return the pace of a run's model; budget: seconds after which no further step is timed."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    rng, side, channels = np.random.default_rng(0), sizes.study.side(run.stress), sizes.channels
    scenes = [controlled.scene(rng, side, CONTROLLED_FRACTION, "large") for _ in range(COUNTED)]
    images, masks = map(np.stack, zip(*scenes, strict=True))
    images = images[..., None].repeat(channels, -1)
    multilabel = sizes.dataset.multilabel
    target = masks[..., None].repeat(sizes.classes, -1) if multilabel else masks
    cell = SimpleNamespace(images=images, masks=target, ignored=None, channels=channels)
    cell.classes, cell.multilabel = sizes.dataset.class_names, multilabel
    fields = {"steps": 10**6, "learning_rate": 1e-6, "encoder_weights": None}
    training = run.training.model_copy(update=fields)
    run = replace(run, training=training, loss_spec={"use": "cross_entropy"})
    devices.set_process(device, training.precision)
    now = _now_on_gpu if device == "cuda" else time.process_time
    step = _seconds_of_step(cell, run, device, budget, now)
    model = models.build(training, channels, sizes.classes, multilabel)
    model = model.to(device, memory_format=torch.channels_last)
    many = np.resize(images, (PREDICTED, *images.shape[1:]))
    seconds = _seconds(now, predict, model, many, device)
    if seconds < budget:  # the first call takes longer
        seconds = _seconds(now, predict, model, many, device)
    prob = 0.1 + 0.8 * np.roll(masks, 2, axis=1)[:, None].astype(np.float32)
    truths = {"": [Truth("", mask) for mask in masks]}
    count = _seconds(now, evaluate.count, prob, truths, {"": 0.4})
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    gpu = torch.cuda.max_memory_reserved() if device == "cuda" else 0
    return Pace(step, seconds / PREDICTED, count / COUNTED, weights, gpu)


def _now_on_gpu() -> float:
    """Return the time after all work on the GPU."""
    torch.cuda.synchronize()
    return time.perf_counter()


class _Enough(Exception):
    """Enough steps are timed."""


def _seconds_of_step(
    cell: Any, run: RunSpec, device: str, budget: float, now: Callable[[], float]
) -> float:
    """Return the median time of a step after the first one."""
    times = [now()]

    def report(step: int, loss: float) -> None:
        times.append(now())
        if step == STEPS or (step and times[-1] - times[0] > budget):
            raise _Enough

    with contextlib.suppress(_Enough):
        fit(cell, run, device, report)
    return float(np.median(np.diff(times)[1:]))


def _seconds(now: Callable[[], float], call: Callable[..., Any], *args: Any) -> float:
    began = now()
    call(*args)
    return now() - began


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size > 9.5e8 else f"{size / 1e6:.0f} MB"
