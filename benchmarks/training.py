"""Compare the suite with a plain script that trains the same runs.

    python -m benchmarks.training [--device cpu|cuda] [--steps 160] [--runs 16] [--repeats 3]
    python -m benchmarks.training --device cuda --resnet

The plain script is `benchmarks.plain`; the suite is `python -m experiments train`. Both read the
same PNG files, which are prepared before; both have the same model, image size, batch size, steps,
learning rate, losses and number of validations. The runs are those of the quick study at one level
of the experiment `imbalance`. --resnet: a U-Net with a ResNet-18 at 256 pixels, 600 steps.

All calls are measured in turns, in each repetition with other seeds. A ratio is the median of those
within the repetitions. Phases are measured in calls of their own. Scores are compared seed by seed.
Writes OUT/training-DEVICE.md and .csv (with --resnet: training-resnet-DEVICE) after each
repetition; OUT is docs/benchmarks by default.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml

from benchmarks import sides
from benchmarks.losses import about
from benchmarks.report import Outcome, lines_of
from benchmarks.sides import ALONE, LOOP, SUITE, Plan, Timing
from experiments.plan.study import Study
from experiments.runs import devices, gpus

LEVEL = 0.06
"""Foreground fraction of the images."""
LOSSES = ("dice", "cross_entropy", "dice_ce")
"""Losses that the plain script has too."""
RESNET = {"encoder": "resnet18", "model_options": {}}


def config_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration of the study, without seeds."""
    config = yaml.safe_load((sides.ROOT / "config.yaml").read_text())
    experiment = config["experiments"]["imbalance"] | {"values": [LEVEL]}
    training = config["training"] | (RESNET if options.resnet else {})
    training |= {"steps": options.steps, "precision": options.precision}
    return config | {
        "study": "training",
        "losses": {loss: {} for loss in options.losses},
        "reference": options.losses[0],
        "experiments": {"imbalance": experiment},
        "image_size": options.size,
        "device": options.device,
        "training": training,
    }


def workers_of(plan: Plan, study: Study) -> int:
    """Return the number of the suite's workers."""
    most = plan.cores
    if plan.device == "cuda":
        most = min(most, study.runs_per_gpu)
    return min(most, len(study.runs))


def repetitions(plan: Plan, repeats: int, folder: Path) -> Iterator[Outcome]:
    """Yield all measurements after each repetition."""
    outcome = Outcome(plan)
    for repeat in range(repeats):
        study, out = plan.study(folder, repeat), folder / f"plain-{repeat}"
        if repeat == 0:
            outcome.loading = sides.loading(plan, study, out)
            best = min(outcome.loading, key=outcome.loading.__getitem__)
            outcome.plan = plan = replace(plan, workers=best)
        calls = sides.calls(plan, study, out)
        timings = {}
        for call in calls if repeat % 2 == 0 else reversed(calls):
            timings[call.side] = timing = sides.measure(call, plan.device)
            print(f"{call.side}: {timing.seconds:.1f} s, {timing.rate:.0f} runs/h", flush=True)
        outcome.timings.append(timings)
        outcome.plain |= {
            (line["loss"], line["seed"]): line["dice"] for line in timings[LOOP].results
        }
        outcome.suite |= sides.suite_scores(study)
        outcome.shares.append(shares(sides.records(study), timings[SUITE], workers_of(plan, study)))
        if repeat == 0:
            outcome.phases = phases(plan, study, out)
        yield outcome


def shares(records: list[dict[str, Any]], timing: Timing, workers: int) -> tuple[float, float]:
    """Return the shares of the suite's wall time, over all workers, in training and in runs."""
    wall = timing.seconds * workers
    parts = [record["seconds"] for record in records]
    train = sum(part["train"] for part in parts)
    return train / wall, sum(sum(part.values()) for part in parts) / wall


def phases(plan: Plan, study: Study, out: Path) -> dict[str, dict[str, float]]:
    """Return side -> phase -> seconds of a run, from calls that wait at the end of each phase.

    The first run of the plain process is the one of a process per run. "imports" are the seconds
    of a process, "share" is that of the steps in the time of training.
    """
    runs = study.runs[: 2 * len(study.losses)]
    lines = sides.execute([*sides.plain(plan, study, runs, out), "--phases"])
    table = {}
    for side, results in ((ALONE, lines[:1]), (LOOP, lines)):
        of_all = {name: mean(r["phases"][name] for r in results) for name in results[0]["phases"]}
        of_all["other"] = mean(r["seconds"] for r in results) - sum(of_all.values())
        table[side] = of_all | {"imports": results[0]["imports"]}
    (result,) = sides.execute(["-m", "benchmarks.phases", study.folder, str(len(runs))])
    found = {name: seconds / result["runs"] for name, seconds in result["phases"].items()}
    steps = sum(found[name] for name in result["steps"])
    found["other"] = result["seconds"] / result["runs"] - sum(found.values()) + found.pop("step")
    found["data"] += found.pop("cell")
    share = steps * result["runs"] / result["train"]
    table[SUITE] = found | {"imports": result["imports"], "share": share}
    return table


def write(outcome: Outcome, note: str, out: Path, name: str) -> list[str]:
    """Write the tables, and all numbers as CSV; return the lines of the Markdown file."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("side", "repeat", "loss", "seed", "quantity", "value"))
        writer.writerows(outcome.rows())
    lines = lines_of(outcome, note)
    (out / f"{name}.md").write_text("\n".join(lines) + "\n")
    return lines


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default)
    parser.add_argument("--resnet", action="store_true", help="ResNet-18, 256 pixels, 600 steps")
    parser.add_argument("--size", type=int, help="of the images in pixels")
    parser.add_argument("--steps", type=int, help="of a run")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES[:2])
    parser.add_argument("--runs", type=int, default=16, help="of a call: a seed has all losses")
    parser.add_argument(
        "--single", type=int, default=2, help="runs of the calls that start a process per run"
    )
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    options.size = options.size or (256 if options.resnet else 64)
    options.steps = options.steps or (600 if options.resnet else 160)
    return options


def main() -> None:
    """Measure all repetitions and write the tables."""
    options = read_options()
    devices.resolve(options.device)
    if options.device == "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.visible()[0]  # both sides use one GPU
    note = about(options.device, 1)
    plan = Plan(config_of(options), options.device, options.runs, options.single, options.cores)
    name = f"training-{'resnet-' * options.resnet}{options.device}"
    with tempfile.TemporaryDirectory() as folder:
        for outcome in repetitions(plan, options.repeats, Path(folder)):
            lines = write(outcome, note, options.out, name)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
