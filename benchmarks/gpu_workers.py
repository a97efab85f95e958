"""Count models per hour by number of workers on one GPU, recorded and eager.

    python -m benchmarks.gpu_workers [--device cpu|cuda] [--workers 1 2 4 8] [--runs 48]

The runs are those of the quick study at one level of the experiment `imbalance`, trained by
`experiments.runs.jobs` as in a study. per_hour: from the end of run number `workers` to the last,
without the start of the workers; seconds: of the whole job. gpu_busy, gpu_mib: by nvidia-smi.
Writes OUT/workers-DEVICE.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.rows import save
from benchmarks.usage import Usage, busy
from experiments.data.prepare import run as prepare
from experiments.plan.runs import RunSpec
from experiments.plan.study import Study
from experiments.runs import devices, gpus, jobs, worker

LEVEL = 0.06
"""Foreground fraction of the images."""
LOSSES = (
    *("cross_entropy", "dice", "dice_ce", "squared_dice"),
    *("jaccard", "tversky", "focal", "topk"),
)
MODES = {
    "recorded": ("experiments.runs.run",),
    "eager": ("experiments.runs.run", "benchmarks.gpu_eager"),
}
"""Modules that the workers' server imports."""


def study_of(options: argparse.Namespace, folder: str) -> Study:
    """Return a study of at least so many runs, with its data."""
    config = yaml.safe_load(Path("config.yaml").read_text())
    study = Study(
        config
        | {
            "study": "workers",
            "losses": {name: {} for name in LOSSES},
            "experiments": {"imbalance": config["experiments"]["imbalance"] | {"values": [LEVEL]}},
            "seeds": list(range(-(-options.runs // len(LOSSES)))),
            "device": options.device,
            "training": config["training"] | {"steps": options.steps},
        },
        folder,
    )
    prepare(study)
    return study


def train(study: Study, runs: Sequence[RunSpec], workers: int) -> list[float]:
    """Train runs that were trained before, or not; return the times of their ends in order."""
    for run in runs:
        shutil.rmtree(study.run_folder(run), ignore_errors=True)
    jobs.train_all(study, runs, jobs=workers)
    return sorted(Path(study.record(run)).stat().st_mtime for run in runs)


def measure(study: Study, workers: int, mode: str, most: int) -> dict[str, Any]:
    """Return the row of a number of workers."""
    runs = study.runs[: min(most, 8 * (workers + 1))]
    with Usage(study.device) as usage:
        began = time.perf_counter()
        ends = train(study, runs, workers)
        seconds = time.perf_counter() - began
    rate = (len(ends) - workers) / (ends[-1] - ends[workers - 1])
    share = busy([percent for percent, _ in usage.gpu])
    memory = [mib for _, mib in usage.gpu]
    return {
        "workers": workers,
        "mode": mode,
        "runs": len(runs),
        "seconds": round(seconds, 2),
        "per_hour": round(3600 * rate),
        "memory_mib": round(usage.memory / 2**20),
        "gpu_busy": None if share is None else round(share, 3),
        "gpu_mib": max(memory) - memory[0] if memory else None,
    }


def place_workers(device: str) -> None:
    """Let a job have as many workers as it asks for, all on the first GPU."""
    place = {gpus.VISIBLE: gpus.visible()[0]} if device == "cuda" else {}
    os.environ.update(place)
    gpus.places = lambda study, runs, number: [place] * number


def rows(options: argparse.Namespace, study: Study) -> Iterator[dict[str, Any]]:
    """Yield the row of each mode and number of workers."""
    for mode in MODES if options.device == "cuda" else ("eager",):
        worker.PRELOAD = MODES[mode]
        train(study, study.runs[:1], 1)  # starts the server
        for workers in options.workers:
            yield measure(study, workers, mode, options.runs)


def headlines(found: list[dict[str, Any]]) -> list[str]:
    """Return a line for each mode: models per hour and GPU use by number of workers."""
    lines = []
    for mode in dict.fromkeys(row["mode"] for row in found):
        parts = [
            f"{row['workers']}: {row['per_hour']:,}"
            + (f" ({row['gpu_busy']:.0%}, {row['gpu_mib']:,} MiB)" if row["gpu_busy"] else "")
            for row in found
            if row["mode"] == mode
        ]
        lines.append(f"{mode}, models per hour by workers: {'; '.join(parts)}")
    return lines


def main() -> None:
    """Measure every number of workers; write the table after each row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--runs", type=int, default=48, help="of a row, at most")
    parser.add_argument("--steps", type=int, default=160, help="of a run")
    parser.add_argument("--out", type=Path, default=Path("gpu_day"))
    options = parser.parse_args()
    place_workers(devices.resolve(options.device))
    path = options.out / f"workers-{options.device}.csv"
    with tempfile.TemporaryDirectory() as folder:
        found = save(rows(options, study_of(options, folder)), path)
    for line in headlines(found):
        print(f"headline: {line}")


if __name__ == "__main__":
    main()
