"""Train the runs of a study one after another and print the seconds by phase, as one JSON line.

    python -m benchmarks.phases FOLDER [RUNS]

For `benchmarks.training`. The functions of a run are wrapped from outside. On a GPU each phase
waits for the device, so such a run is slower than others.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import optimizer

from experiments.plan.study import Study
from experiments.runs import feed, fit, run
from experiments.runs.lane import Lane

IMPORTED = time.time()
PARTS = ("forward", "backward")
"""Names of a lane's parts."""
STEPS = ("data", "forward", "loss", "backward", "optimiser", "step")
"""Phases of training steps; "step" is the rest of them."""


class Clock:
    """Seconds by phase. A phase within another one counts for itself only."""

    def __init__(self, gpu: bool = False, now: Callable[[], float] = time.perf_counter) -> None:
        self.gpu, self.now = gpu, now
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._last = 0.0

    def begin(self, phase: str) -> None:
        """Enter a phase."""
        self._lap()
        self._open.append(phase)

    def end(self) -> None:
        """Leave the phase that was entered last."""
        self._lap()
        self._open.pop()

    def _lap(self) -> None:
        if self.gpu and not torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        now = self.now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._last
        self._last = now

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the body for a phase."""
        self.begin(phase)
        try:
            yield
        finally:
            self.end()

    def timed(self, phase: str, call: Callable) -> Callable:
        """Return a function whose calls count for a phase."""

        @functools.wraps(call)
        def wrapped(*args, **options) -> Any:
            with self(phase):
                return call(*args, **options)

        return wrapped


def wrap(clock: Clock) -> None:
    """Let the functions of a run count their time."""
    places = {
        "cell": [(run, "open_cell")],
        "data": [
            (kind, name)
            for kind in feed.Feed.__subclasses__()
            for name in ("__init__", "stage", "batch")
            if name in vars(kind)
        ],
        "loss": [(Lane, "loss")],
        "step": [(Lane, "advance")],
        "evaluation": [
            (fit, "_validation"),
            *((run, name) for name in ("predict_splits", "_evaluate", "weights_hash")),
        ],
        "writing": [(run.records, "write_record")],
    }
    for phase, functions in places.items():
        for owner, name in functions:
            setattr(owner, name, clock.timed(phase, getattr(owner, name)))
    part = Lane._part

    def timed_part(lane: Lane, number: int, call: Callable[[], None]) -> None:
        with clock(PARTS[number]):
            part(lane, number, call)

    Lane._part = timed_part
    optimizer.register_optimizer_step_pre_hook(lambda *_: clock.begin("optimiser"))
    optimizer.register_optimizer_step_post_hook(lambda *_: clock.end())


def main(folder: str, count: str = "0") -> None:
    """Train the first `count` runs of a study, or all."""
    study = Study.open(folder)
    clock = Clock(run.devices.resolve(study.device) == "cuda")
    wrap(clock)
    runs = study.runs[: int(count) or None]
    began, train = time.perf_counter(), 0.0
    for one in runs:
        train += run.train(study.workspace, one)["seconds"]["train"]
    result = {"runs": len(runs), "imported": IMPORTED, "steps": STEPS, "phases": clock.seconds}
    print(json.dumps(result | {"train": train, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
