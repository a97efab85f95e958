"""Measure time and memory of forward + backward of each loss and its peers in other libraries.

    python -m benchmarks.losses [--device cpu|cuda] [--threads 2] [--only dice] [--compile dice]

All losses of a shape are measured in turns, so that a busy spell of the machine affects each of
them; the result is the median. A peer that takes class indices is compared with ours on class
indices, one that takes probabilities with ours on those. Memory is the peak of one forward and
backward pass, without logits and target. Writes OUT/losses-DEVICE-THREADS.csv and .md (default
docs/benchmarks). Measure on an idle machine: on a busy one, two threads wait for each other at
every operation.

On CUDA the time is that between two synchronisations, which for small inputs is the time that
Python takes. The device time next to it is that of the operations alone. Targets are trusted
(`losses.trusted`), as in a study.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.metadata
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import monai.losses as monai
import segmentation_models_pytorch.losses as smp
import torch
from torch import Tensor
from torch.nn import functional as F

from losses import build, trusted
from losses._interface import Logits, Target

try:
    import kornia.losses as kornia
except ImportError:
    kornia = None

Shape = tuple[int, ...]
SHAPES = [(16, 1, 512, 512), (8, 4, 512, 512), (2, 4, 96, 96, 96), (4, 1, 64, 64)]
PEERS = ("monai", "smp", "kornia", "torch", "ours, compiled")
OURS, INDEXED = "ours", "ours, indices"
SLOW = {"hausdorff", "boundary", "lovasz", "lovasz per image"}
"""Take seconds a step in other libraries: measured three times, and not on volumes."""
FLOOR = "floor"
"""Reads both inputs once and writes a tensor like the gradient once: no loss can take less."""
PAUSE = 20_000_000
"""Cycles that the GPU waits, about 10 ms, while the operations of a step are queued."""


class Peer(NamedTuple):
    """A loss of another library."""

    loss: Callable[[Tensor, Tensor], Tensor]
    by_index: bool
    """Whether its target is class indices."""


class Run(NamedTuple):
    """A measured call."""

    loss: Callable[..., Tensor] | str
    target: Tensor
    maps: dict[str, Tensor]


def cases(shape: Shape) -> dict[str, dict[str, Peer]]:
    """Return loss -> library -> its peer, for logits of this shape."""
    families = (_overlap, _likelihood, _others)
    return {
        loss: {library: p for library, p in peers.items() if library != "kornia" or kornia}
        for family in families
        for loss, peers in family(shape).items()
    }


def _monai(make: Callable, channels: int, **options) -> Peer:
    activation = {"sigmoid": True} if channels == 1 else {"softmax": True}
    return Peer(make(**activation, **options), False)


def _smp(make: Callable, channels: int, **options) -> Peer:
    return Peer(make("binary" if channels == 1 else "multiclass", **options), channels > 1)


def _overlap(shape: Shape) -> dict[str, dict[str, Peer]]:
    c = shape[1]
    peers = {
        "dice": {"monai": _monai(monai.DiceLoss, c), "smp": _smp(smp.DiceLoss, c)},
        "squared_dice": {"monai": _monai(monai.DiceLoss, c, squared_pred=True)},
        "jaccard": {
            "monai": _monai(monai.DiceLoss, c, jaccard=True),
            "smp": _smp(smp.JaccardLoss, c),
        },
        "tversky": {"monai": _monai(monai.TverskyLoss, c), "smp": _smp(smp.TverskyLoss, c)},
        "generalized_dice": {"monai": _monai(monai.GeneralizedDiceLoss, c)},
    }
    if c > 1 and len(shape) == 4:  # Kornia's losses do not take volumes.
        peers["dice"]["kornia"] = Peer(lambda x, y: kornia.dice_loss(x, y, average="macro"), True)
        peers["tversky"]["kornia"] = Peer(lambda x, y: kornia.tversky_loss(x, y, 0.5, 0.5), True)
    return peers


def _likelihood(shape: Shape) -> dict[str, dict[str, Peer]]:
    c = shape[1]
    if c == 1:
        return {
            "cross_entropy": {
                "torch": Peer(F.binary_cross_entropy_with_logits, False),
                "smp": Peer(smp.SoftBCEWithLogitsLoss(), False),
            },
            "focal": {
                "monai": Peer(monai.FocalLoss(), False),
                "smp": _smp(smp.FocalLoss, c),
                "kornia": Peer(
                    lambda x, y: kornia.binary_focal_loss_with_logits(x, y, 0.5, 2.0, "mean"), False
                ),
            },
        }
    return {
        "cross_entropy": {
            "torch": Peer(F.cross_entropy, True),
            "smp": Peer(smp.SoftCrossEntropyLoss(smooth_factor=0.0), True),
        },
        "label_smoothing": {
            "torch": Peer(torch.nn.CrossEntropyLoss(label_smoothing=0.1), True),
            "smp": Peer(smp.SoftCrossEntropyLoss(smooth_factor=0.1), True),
        },
        "focal": {
            "monai": Peer(monai.FocalLoss(use_softmax=True), False),
            "smp": _smp(smp.FocalLoss, c),
            "kornia": Peer(lambda x, y: kornia.focal_loss(x, y, None, 2.0, "mean"), True),
        },
    }


def _others(shape: Shape) -> dict[str, dict[str, Peer]]:
    c = shape[1]
    lovasz = "lovasz_hinge_loss" if c == 1 else "lovasz_softmax_loss"
    peers = {
        "dice_ce": {"monai": _monai(monai.DiceCELoss, c)},
        "squared_dice_ce": {"monai": _monai(monai.DiceCELoss, c, squared_pred=True)},
        "dice_focal": {"monai": _monai(monai.DiceFocalLoss, c)},
        "lovasz": {"smp": _smp(smp.LovaszLoss, c)},
        "lovasz per image": {
            "smp": _smp(smp.LovaszLoss, c, per_image=True),
            "kornia": Peer(lambda x, y: getattr(kornia, lovasz)(x, y), True),
        },
        "hausdorff": {"monai": _monai(monai.HausdorffDTLoss, c, include_background=True)},
        "boundary": {"monai": _monai(monai.BoundaryLoss, c)},
    }
    return {n: p for n, p in peers.items() if n not in SLOW or len(shape) == 4}


def inputs(shape: Shape, device: str) -> tuple[Logits, Target, Target]:
    """Return logits, class indices and the same as probabilities."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape, generator=generator)
    index = (torch.rand(shape[0], *shape[2:], generator=generator) * max(2, shape[1])).long()
    if shape[1] == 1:
        index = (logits[:, 0] > 3).long()
        hot = index.unsqueeze(1).float()
    else:
        hot = torch.stack([index == c for c in range(shape[1])], 1).float()
    return logits.to(device), index.to(device), hot.to(device)


def runs_of(
    shape: Shape, device: str, only: Collection[str] | None, compiled: Collection[str]
) -> tuple[Tensor, dict[tuple[str, str], Run]]:
    """Return the logits, and (loss, library) -> the run to measure on them."""
    logits, index, hot = inputs(shape, device)
    runs = {} if only else {(FLOOR, OURS): Run(FLOOR, hot, {})}
    for name, peers in cases(shape).items():
        if only and name not in only:
            continue
        own = build({"use": "lovasz", "per": "image"} if name == "lovasz per image" else name)
        maps = {"maps": own.maps(hot.cpu()).to(device)} if hasattr(own, "maps") else {}
        runs[name, OURS] = Run(own, hot, maps)
        if shape[1] > 1 and any(peer.by_index for peer in peers.values()):
            runs[name, INDEXED] = Run(own, index, maps)
        if name in compiled:
            runs[name, "ours, compiled"] = Run(torch.compile(build(name)), hot, {})
        for library, peer in peers.items():
            runs[name, library] = Run(peer.loss, index if peer.by_index else hot, {})
    return logits, runs


def step(run: Run, logits: Tensor) -> float:
    """Run one forward and backward pass (of FLOOR: a sum) and return its seconds."""
    logits = logits.detach().requires_grad_(run.loss is not FLOOR)
    _wait(logits)
    start = time.perf_counter()
    _call(run, logits)
    _wait(logits)
    return time.perf_counter() - start


def device_ms(run: Run, logits: Tensor) -> float:
    """Return the milliseconds of the operations of one step on the GPU.

    They are queued while the GPU pauses, so the time that Python takes does not count, unless the
    loss reads a value on the host.
    """
    logits = logits.detach().requires_grad_(run.loss is not FLOOR)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(PAUSE)
    start.record()
    _call(run, logits)
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _call(run: Run, logits: Tensor) -> None:
    if run.loss is FLOOR:
        torch.add(logits, run.target)
    else:
        run.loss(logits, run.target, **run.maps).backward()


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def peak_memory(call: Callable[[], object], device: str) -> int:
    """Return the most bytes allocated at once during a call, beyond those before it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    # On a CPU the profiler reports each allocation and release.
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    allocated = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            peak = max(peak, allocated)
    return peak


def measure(
    shape: Shape,
    device: str,
    repeats: int,
    only: Collection[str] | None = None,
    compiled: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one shape; the first step of each run is a warm-up."""
    logits, runs = runs_of(shape, device, only, compiled)
    memory = {
        key: peak_memory(lambda run=run: step(run, logits), device) for key, run in runs.items()
    }
    seconds, on_device = ({key: [] for key in runs} for _ in range(2))
    for k in range(repeats + 1):
        for key, run in runs.items():
            if key[0] not in SLOW or k <= 2:
                seconds[key].append(step(run, logits))
                if device == "cuda":
                    on_device[key].append(device_ms(run, logits))
    for (name, library), run in runs.items():
        times = sorted(1e3 * s for s in seconds[name, library][1:])
        indexed = run.target.dim() < len(shape) and (name, INDEXED) in runs
        own = (name, INDEXED if indexed else OURS)
        median = statistics.median(times)
        yield {
            "shape": "x".join(map(str, shape)),
            "loss": name,
            "library": library,
            "ms": round(median, 3),
            "low_ms": round(times[0], 3),
            "high_ms": round(times[-1], 3),
            "ratio": round(median / statistics.median(1e3 * s for s in seconds[own][1:]), 2),
            "mib": round(memory[name, library] / 2**20, 2),
            "memory_ratio": round(memory[name, library] / memory[own], 2),
            **_device_columns(on_device[name, library], on_device[own]),
        }


def _device_columns(times: list[float], own: list[float]) -> dict[str, float]:
    """Return the columns of the time on the GPU; none of a CPU."""
    if not times:
        return {}
    median = statistics.median(times[1:])
    ratio = median / statistics.median(own[1:])
    return {"device_ms": round(median, 4), "device_ratio": round(ratio, 2)}


def about(device: str, threads: int) -> str:
    """Return the machine and the versions of the libraries, one line."""
    packages = ["torch", "monai", "segmentation-models-pytorch"] + ["kornia"] * bool(kornia)
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    load = f", load {_load()} before" if device == "cpu" else ""
    return f"{name}, {threads} threads, Python {platform.python_version()}, {versions}{load}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _load() -> str:
    return " ".join(f"{v:.1f}" for v in os.getloadavg()) if hasattr(os, "getloadavg") else "?"


def write(rows: list[dict[str, Any]], note: str, out: Path, name: str) -> list[str]:
    """Write the rows as CSV and as a Markdown table, a line for each loss and shape.

    Returns the lines of the Markdown file.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        f"{note}.",
        "",
        "Forward + backward, median ms; for each peer its time (its memory) divided by ours, so",
        "more than 1 is slower (larger) than ours. `floor` reads both inputs once and writes a",
        "tensor like the gradient once."
        + " After a semicolon: the operations on the GPU alone." * ("device_ms" in rows[0]),
        "",
        "| shape | loss | ours (by indices), ms | ours, MiB | " + " | ".join(PEERS) + " |",
        "|---" * (4 + len(PEERS)) + "|",
    ]
    table = {}
    for row in rows:
        table.setdefault((row["shape"], row["loss"]), {})[row["library"]] = row
    for (shape, loss), by_library in table.items():
        peers = [_ratios(by_library[p]) if p in by_library else "" for p in PEERS]
        own, indexed = by_library[OURS], by_library.get(INDEXED)
        ms = "; ".join(
            f"{own[key]:.{digits}f}" + (f" ({indexed[key]:.{digits}f})" if indexed else "")
            for key, digits in {"ms": 2, "device_ms": 3}.items()
            if key in own
        )
        lines.append(f"| {shape} | {loss} | {ms} | {own['mib']:.1f} | " + " | ".join(peers) + " |")
    (out / f"{name}.md").write_text("\n".join(lines) + "\n")
    return lines


def _ratios(row: dict[str, Any]) -> str:
    on_device = f"; {row['device_ratio']:.1f}x" if "device_ratio" in row else ""
    return f"{row['ratio']:.1f}x ({row['memory_ratio']:.1f}x){on_device}"


def main() -> None:
    """Measure all shapes and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="names of losses")
    parser.add_argument("--compile", nargs="*", default=(), help="also these by torch.compile")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    if kornia is None:
        print("kornia is not installed: measured without its losses")
    note, rows = about(options.device, options.threads), []
    with trusted() if options.device == "cuda" else contextlib.nullcontext():
        for shape in SHAPES:
            repeats = options.repeats if shape[-1] > 64 else 5 * options.repeats
            rows += measure(shape, options.device, repeats, options.only, options.compile)
    name = f"losses-{options.device}-{options.threads}"
    print("\n".join(write(rows, note, options.out, name)))


if __name__ == "__main__":
    main()
