"""Time and memory of forward + backward of each loss beside its nearest peers.

    python -m benchmarks.losses [--device cpu|cuda] [--threads 2] [--only dice] [--compile dice]

All of a shape's losses are measured in turn, again and again, so that a busy spell of the machine
meets each of them; the figure is the median. A peer that takes class indices is set against ours
with class indices, one that takes probabilities against ours with those. Memory is the most that
one forward and backward pass holds beyond logits and target. Writes OUT/losses-DEVICE-THREADS.csv
and .md (default docs/benchmarks). Two threads on a machine that is busy otherwise wait for each
other at every operation: measure on an idle one.
"""

import argparse
import csv
import importlib.metadata
import platform
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch.nn import functional as F

from losses import build

SHAPES = [(16, 1, 512, 512), (8, 4, 512, 512), (2, 4, 96, 96, 96), (4, 1, 64, 64)]
PEERS = ("monai", "smp", "kornia", "torch", "ours, compiled")
OURS, INDEXED = "ours", "ours, indices"
COLUMNS = ("shape", "loss", "library", "ms", "low_ms", "high_ms", "ratio", "mib", "memory_ratio")


def cases(shape):
    """loss -> library -> (loss function, whether its target is class indices)."""
    import kornia.losses as kornia
    import monai.losses as monai
    import segmentation_models_pytorch.losses as smp

    one = shape[1] == 1
    act = {"sigmoid": True} if one else {"softmax": True}
    mode = "binary" if one else "multiclass"
    index = not one

    def smp_loss(make, **options):
        return make(mode, **options), index

    ce = F.binary_cross_entropy_with_logits if one else F.cross_entropy
    found = {
        "dice": {
            "monai": (monai.DiceLoss(**act), False),
            "smp": smp_loss(smp.DiceLoss),
        },
        "squared_dice": {"monai": (monai.DiceLoss(squared_pred=True, **act), False)},
        "jaccard": {
            "monai": (monai.DiceLoss(jaccard=True, **act), False),
            "smp": smp_loss(smp.JaccardLoss),
        },
        "tversky": {
            "monai": (monai.TverskyLoss(**act), False),
            "smp": smp_loss(smp.TverskyLoss),
        },
        "generalized_dice": {"monai": (monai.GeneralizedDiceLoss(**act), False)},
        "cross_entropy": {
            "torch": (ce, index),
            "smp": (smp.SoftBCEWithLogitsLoss(), False)
            if one
            else (smp.SoftCrossEntropyLoss(smooth_factor=0.0), True),
        },
        "label_smoothing": {}
        if one
        else {
            "torch": (torch.nn.CrossEntropyLoss(label_smoothing=0.1), True),
            "smp": (smp.SoftCrossEntropyLoss(smooth_factor=0.1), True),
        },
        "focal": {
            "monai": (monai.FocalLoss(use_softmax=not one), False),
            "smp": smp_loss(smp.FocalLoss),
            "kornia": (
                lambda x, y: kornia.binary_focal_loss_with_logits(x, y, 0.5, 2.0, "mean"),
                False,
            )
            if one
            else (lambda x, y: kornia.focal_loss(x, y, None, 2.0, "mean"), True),
        },
        "dice_ce": {"monai": (monai.DiceCELoss(**act), False)},
        "squared_dice_ce": {"monai": (monai.DiceCELoss(squared_pred=True, **act), False)},
        "dice_focal": {"monai": (monai.DiceFocalLoss(**act), False)},
        "lovasz": {"smp": smp_loss(smp.LovaszLoss)},
        "lovasz per image": {
            "smp": smp_loss(smp.LovaszLoss, per_image=True),
            "kornia": (kornia.lovasz_hinge_loss if one else kornia.lovasz_softmax_loss, True),
        },
        "hausdorff": {"monai": (monai.HausdorffDTLoss(include_background=True, **act), False)},
        "boundary": {"monai": (monai.BoundaryLoss(**act), False)},
    }
    if not one and len(shape) == 4:  # Kornia's are of images alone.
        found["dice"]["kornia"] = (lambda x, y: kornia.dice_loss(x, y, average="macro"), True)
        found["tversky"]["kornia"] = (lambda x, y: kornia.tversky_loss(x, y, 0.5, 0.5), True)
    return found


SLOW = {"hausdorff", "boundary", "lovasz", "lovasz per image"}
"""Seconds a step elsewhere: measured at the first shape of each kind of channel, three times."""


def inputs(shape, device):
    """Logits, class indices and the same as floats (N, C, *space)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape, generator=generator)
    index = (torch.rand(shape[0], *shape[2:], generator=generator) * max(2, shape[1])).long()
    if shape[1] == 1:
        index = (logits[:, 0] > 3).long()
        hot = index.unsqueeze(1).float()
    else:
        hot = torch.stack([index == c for c in range(shape[1])], 1).float()
    return [v.to(device) for v in (logits, index, hot)]


FLOOR = "floor"
"""Both inputs read once and a tensor like the gradient written once: no loss can take less."""


def step(loss, logits, target, **maps):
    """One forward and backward pass (of FLOOR: a sum); the seconds it took."""
    logits = logits.detach().requires_grad_(loss is not FLOOR)
    _wait(logits)
    start = time.perf_counter()
    if loss is FLOOR:
        torch.add(logits, target)
    else:
        loss(logits, target, **maps).backward()
    _wait(logits)
    return time.perf_counter() - start


def _wait(x):
    if x.is_cuda:
        torch.cuda.synchronize()


def peak_memory(run, device):
    """The most bytes that `run` holds at once beyond what was there."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    # On a CPU the profiler reports each tensor storage as it comes and goes.
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def measure(shape, device, repeats, only, compiled):
    """Rows of one shape."""
    logits, index, hot = inputs(shape, device)
    runs = {} if only else {(FLOOR, OURS): (FLOOR, hot, {})}
    for name, peers in cases(shape).items():
        if only and name not in only:
            continue
        if name in SLOW and len(shape) > 4:
            continue
        if name == "label_smoothing" and not peers:
            continue
        own = build({"use": "lovasz", "per": "image"} if name == "lovasz per image" else name)
        maps = {"maps": own.maps(hot.cpu()).to(device)} if hasattr(own, "maps") else {}
        runs[name, OURS] = (own, hot, maps)
        if shape[1] > 1 and any(by_index for _, by_index in peers.values()):
            runs[name, INDEXED] = (own, index, maps)
        if name in compiled:
            runs[name, "ours, compiled"] = (torch.compile(build(name)), hot, {})
        for library, (loss, by_index) in peers.items():
            runs[name, library] = (loss, index if by_index else hot, {})
    memory = {
        key: peak_memory(lambda run=run: step(run[0], logits, run[1], **run[2]), device)
        for key, run in runs.items()
    }
    seconds = {key: [] for key in runs}
    for k in range(repeats + 1):
        for key, (loss, target, maps) in runs.items():
            if key[0] in SLOW and k > 2:
                continue
            seconds[key].append(step(loss, logits, target, **maps))
    for (name, library), (_, target, _) in runs.items():
        times = sorted(1e3 * s for s in seconds[name, library][1:])
        own = (name, INDEXED if target is index and (name, INDEXED) in runs else OURS)
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
        }


def about(device, threads):
    """The machine and the versions, one line."""
    packages = ("torch", "monai", "segmentation-models-pytorch", "kornia")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    load = f", load {_load()} before" if device == "cpu" else ""
    return f"{name}, {threads} threads, Python {platform.python_version()}, {versions}{load}"


def _processor():
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _load():
    import os

    return " ".join(f"{v:.1f}" for v in os.getloadavg()) if hasattr(os, "getloadavg") else "?"


def write(rows, note, out, name):
    """The rows as CSV and as a Markdown table, a line for each loss and shape."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        f"{note}.",
        "",
        "Forward + backward, median ms; beside each peer how many times our time (our memory) it",
        "takes, so more than 1 is slower (larger) than ours. `floor` reads both inputs once and",
        "writes a tensor like the gradient once.",
        "",
        "| shape | loss | ours (by indices), ms | ours, MiB | " + " | ".join(PEERS) + " |",
        "|---" * (4 + len(PEERS)) + "|",
    ]
    table = {}
    for row in rows:
        table.setdefault((row["shape"], row["loss"]), {})[row["library"]] = row
    for (shape, loss), found in table.items():
        peers = [
            f"{found[p]['ratio']:.1f}x ({found[p]['memory_ratio']:.1f}x)" if p in found else ""
            for p in PEERS
        ]
        own = found[OURS]
        ms = f"{own['ms']:.2f}" + (f" ({found[INDEXED]['ms']:.2f})" if INDEXED in found else "")
        lines.append(f"| {shape} | {loss} | {ms} | {own['mib']:.1f} | " + " | ".join(peers) + " |")
    (out / f"{name}.md").write_text("\n".join(lines) + "\n")
    return lines


def main():
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
    note, rows = about(options.device, options.threads), []
    for shape in SHAPES:
        repeats = options.repeats if shape[-1] > 64 else 5 * options.repeats
        rows += measure(shape, options.device, repeats, options.only, options.compile)
    name = f"losses-{options.device}-{options.threads}"
    print("\n".join(write(rows, note, options.out, name)))


if __name__ == "__main__":
    main()
