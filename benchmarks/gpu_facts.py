"""Print the machine, the versions of libraries, and the ceilings of the device.

    python -m benchmarks.gpu_facts [--device cpu|cuda]

Ceilings: a large matrix product per precision, a copy, and the time of a small operation, one by
one and replayed from a recording.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable

import torch

PACKAGES = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "snakemake", "monai")
SIDE, COPIED = {"cpu": 1024, "cuda": 8192}, {"cpu": 2**26, "cuda": 2**31}
"""Rows of the matrices; bytes of the tensor that is copied."""
SMALL = 1000
"""Small operations that are timed together."""


def seconds(call: Callable[[], object], device: str, repeats: int = 5) -> float:
    """Return the least seconds of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        wait(device)
        began = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def wait(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def products(device: str) -> str:
    """Return the TFLOP/s of a matrix product in each precision."""
    n, found = SIDE[device], []
    for precision in ("fp32", "tf32", "bf16") if device == "cuda" else ("fp32", "bf16"):
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a = torch.randn(n, n, device=device)
        a = a.bfloat16() if precision == "bf16" else a
        rate = 2 * n**3 / seconds(lambda a=a: a @ a, device) / 1e12
        found.append(f"{precision} {rate:.3g}")
    torch.backends.cuda.matmul.allow_tf32 = False
    return f"matrix product, TFLOP/s: {', '.join(found)}"


def copies(device: str) -> str:
    """Return the bytes per second of a copy, read and written."""
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rate = 2 * source.numel() / seconds(lambda: target.copy_(source), device)
    return f"copy, read and written: {rate / 1e12:.3g} TB/s"


def small_operations(device: str) -> str:
    """Return the microseconds of a small operation."""
    x = torch.zeros(64, device=device)

    def add() -> None:
        for _ in range(SMALL):
            x.add_(1)

    text = f"small operation: {1e6 * seconds(add, device) / SMALL:.1f} us"
    if device == "cpu":
        return text
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        add()
    return f"{text}, replayed {1e6 * seconds(graph.replay, device) / SMALL:.1f} us"


def about(device: str) -> list[str]:
    """Return lines about the machine and its libraries."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    lines = [f"Python {platform.python_version()}, {', '.join(versions)}"]
    if device == "cuda":
        own = torch.cuda.get_device_properties(0)
        lines.append(
            f"{own.name}, {own.total_memory / 2**30:.0f} GiB, capability {own.major}.{own.minor}, "
            f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
            f"{os.cpu_count()} cores"
        )
    return lines


def main() -> None:
    """Print everything; lines of `headline:` are for the table of the day."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    device = parser.parse_args().device
    for line in about(device):
        print(f"headline: {line}", flush=True)
    ceilings = [measure(device) for measure in (products, copies, small_operations)]
    print(f"headline: {'; '.join(ceilings)}")


if __name__ == "__main__":
    main()
