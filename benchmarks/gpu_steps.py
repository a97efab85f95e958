"""Time a training step: model, precision, memory format, eager or recorded.

    python -m benchmarks.gpu_steps [--device cpu|cuda] [--seconds 0.5] [--out gpu_day]

A step is that of a run (`experiments.runs.lane`): batch, forward, Dice loss, backward, Adam. Both
modes pick their batches on the device; "recorded" replays forward and backward, "eager" calls them.
ms: wall time, median over blocks of BLOCK steps. kernel_ms, kernels: time and number of the GPU's
operations per step; busy: their share of the wall time. On a CPU: small sizes, eager only.
Writes OUT/steps-DEVICE.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import torch
import yaml
from torch.autograd import DeviceType

from benchmarks.rows import save
from experiments.data.prepare import write_cell
from experiments.plan.runs import RunSpec
from experiments.plan.study import Study
from experiments.runs import devices, feed
from experiments.runs.batches import Cell, normalize
from experiments.runs.lane import EAGER, CudaGraphs, Lane

BLOCK = 10
"""Steps between two reads of the losses, as between two points of a learning curve."""
STEPS = 1000
"""Steps of a lane, at most."""
RESNET = {"encoder": "resnet18", "model_options": {}}


class Case(NamedTuple):
    """A model with its images: side in pixels, images per batch, changed settings of training."""

    name: str
    side: int
    batch: int
    training: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name} {self.batch}@{self.side}"


CASES = {
    "cuda": [
        Case("tiny U-Net", 64, 4, {}),
        Case("ResNet-18", 256, 4, RESNET),
        Case("ResNet-18", 256, 16, RESNET),
    ],
    "cpu": [Case("tiny U-Net", 64, 4, {}), Case("ResNet-18", 64, 2, RESNET)],
}
PRECISIONS = {"cuda": ("fp32", "tf32", "bf16"), "cpu": ("fp32", "bf16")}
MODES = {"cuda": ("eager", "recorded"), "cpu": ("eager",)}
FORMATS = ("channels last", "contiguous")


def repeat(call: Callable[[], None]) -> Callable[[], None]:
    """Record nothing: run the call each time."""
    call()
    return call


def cell_and_run(case: Case, precision: str, folder: str) -> tuple[Cell, RunSpec]:
    """Return a cell of the quick study with the case's images, and a run on it."""
    config = yaml.safe_load(Path("config.yaml").read_text())
    training = {"steps": STEPS, "batch_size": case.batch, "precision": precision}
    config |= {
        "study": "steps",
        "datasets": {"controlled": {"train": 32, "val": 1, "test": 1}},
        "losses": {"dice": {}},
        "reference": "dice",
        "experiments": {"as_it_is": {"levels": {"as it is": {}}}},
        "seeds": [0],
        "image_size": case.side,
        "training": config["training"] | case.training | training,
    }
    study = Study(config, f"{folder}/{case.side}")
    (run,) = study.runs
    if not Path(study.data_folder(*run.cell)).is_dir():
        write_cell(study, study.datasets["controlled"], *run.cell[1:])
    return Cell(study.data_folder(*run.cell)), run


@contextmanager
def lane_of(cell: Cell, run: RunSpec, device: str, form: str, mode: str) -> Iterator[Lane]:
    """Yield a lane in a memory format, eager or recorded."""
    record = CudaGraphs() if mode == "recorded" else repeat
    own = torch.cuda.stream(record.stream) if mode == "recorded" else nullcontext()
    plain = mock.patch.object(feed, "normalize", lambda images: normalize(images).contiguous())
    with own, plain if form == "contiguous" else nullcontext():
        lane = Lane(cell, run, device, record)
        if form == "contiguous":
            lane.model.to(memory_format=torch.contiguous_format)
        try:
            yield lane
        finally:
            lane.close()


def block(lane: Lane) -> float:
    """Make BLOCK steps; return their seconds."""
    began = time.perf_counter()
    for _ in range(BLOCK):
        lane.advance()
    lane.read()
    return time.perf_counter() - began


def kernels(lane: Lane) -> tuple[float, int]:
    """Return seconds and number of the GPU's operations in BLOCK steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        block(lane)
        torch.cuda.synchronize()
    own = [
        event
        for event in profile.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]
    return sum(event.time_range.elapsed_us() for event in own) / 1e6, len(own)


def measure(lane: Lane, seconds: float) -> dict[str, Any]:
    """Return the measures of a lane's steps, timed for so many seconds."""
    gpu = lane.device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    while lane.step < EAGER + BLOCK:
        lane.advance()
    lane.read()
    times, end = [block(lane)], time.perf_counter() + seconds
    while time.perf_counter() < end and lane.step + 2 * BLOCK <= lane.steps:
        times.append(block(lane))
    ms = [1e3 * seconds / BLOCK for seconds in (median(times), min(times), max(times))]
    row = dict(zip(("ms", "low", "high"), (round(value, 3) for value in ms), strict=True))
    if gpu:
        busy, number = kernels(lane)
        row |= {
            "kernel_ms": round(1e3 * busy / BLOCK, 3),
            "kernels": round(number / BLOCK),
            "busy": round(1e3 * busy / BLOCK / ms[0], 3),
            "mib": round(torch.cuda.max_memory_reserved() / 2**20),
        }
    return row


def rows(device: str, seconds: float, folder: str) -> Iterator[dict[str, Any]]:
    """Yield the measures of every combination."""
    for case in CASES[device]:
        for precision in PRECISIONS[device]:
            devices.set_process(device, precision)
            cell, run = cell_and_run(case, precision, folder)
            for form in FORMATS:
                for mode in MODES[device]:
                    with lane_of(cell, run, device, form, mode) as lane:
                        found = measure(lane, seconds)
                        captured = lane.captured and mode == "recorded"
                    if device == "cuda":
                        torch.cuda.empty_cache()
                    names = {"case": str(case), "precision": precision, "format": form}
                    yield {**names, "mode": mode, "captured": captured, **found}


def headlines(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each case and memory format: ms by precision and mode."""
    kinds = dict.fromkeys((row["case"], row["format"]) for row in found)
    for case, form in kinds:
        parts: dict[str, list[str]] = {}
        for row in found:
            if (row["case"], row["format"]) == (case, form):
                busy = f" ({row['busy']:.0%})" if "busy" in row else ""
                parts.setdefault(row["precision"], []).append(f"{row['ms']:.2f}{busy}")
        text = "; ".join(f"{name} {' / '.join(values)}" for name, values in parts.items())
        modes = " / ".join(dict.fromkeys(row["mode"] for row in found))
        yield f"{case}, {form}: {modes} ms{' (busy)' * ('busy' in found[0])}: {text}"


def main() -> None:
    """Measure everything; write the table after each row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=tuple(CASES), default="cuda")
    parser.add_argument("--seconds", type=float, default=0.5, help="to time each combination for")
    parser.add_argument("--out", type=Path, default=Path("gpu_day"))
    options = parser.parse_args()
    path = options.out / f"steps-{options.device}.csv"
    with tempfile.TemporaryDirectory() as folder:
        found = save(rows(options.device, options.seconds, folder), path)
    for line in headlines(found):
        print(f"headline: {line}")


if __name__ == "__main__":
    main()
