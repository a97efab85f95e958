"""The device that runs are trained on, and its settings in a process."""

from __future__ import annotations

import os
import platform
import warnings
from pathlib import Path
from typing import Any

import cv2
import torch

from experiments.errors import ConfigError
from experiments.origin.machine import cpu
from experiments.runs.gpus import VISIBLE

SIGNS = ("/dev/nvidia0", "/proc/driver/nvidia/version")
"""Files of a machine with an NVIDIA GPU."""


def resolve(wanted: str) -> str:
    """Return "cuda" or "cpu", the kind of device that `wanted` ("auto", "cpu", "cuda") means here.

    ConfigError: "cuda" cannot be used, or "auto" on a machine with a GPU that torch cannot use.
    """
    if wanted == "cpu":
        return "cpu"
    problem = unusable()
    if problem is None:
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(f"device: 'cuda' cannot be used: {problem}; allowed: auto, cpu")
    if sign := allotted():
        raise ConfigError(
            f"device: 'auto' found a GPU ({sign}), but torch cannot use it: {problem}; "
            "repair it, or set device=cpu to train on the CPU"
        )
    return "cpu"


def unusable() -> str | None:
    """Return the reason why torch cannot use CUDA in this process; None if it can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    return " ".join(str(w.message) for w in caught) or "torch finds no GPU"


def allotted() -> str | None:
    """Return a sign that this process is meant to use a GPU, or None."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return f"{VISIBLE}={visible}" if visible.strip() not in ("", "-1") else None
    if jobs := os.environ.get("SLURM_JOB_GPUS"):
        return f"SLURM_JOB_GPUS={jobs}"
    return next((sign for sign in SIGNS if Path(sign).exists()), None)


def set_process(device: str, precision: str = "fp32") -> None:
    """Restrict the process to one thread, deterministic operations and a precision."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Some operations have no deterministic form on CUDA; on a CPU such an operation is an error.
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = False  # hundreds of kernels per step
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def describe(device: str) -> dict[str, Any]:
    """Return the entries of a record about device and processor of this process.

    device: "cpu" or the GPU's name. Another instruction set (`machine.capability`) or another GPU
    (`machine.gpu`) gives other bytes.
    """
    machine = {
        "arch": platform.machine(),
        "cpu": cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device == "cpu":
        return {"device": "cpu", "machine": machine}
    properties = torch.cuda.get_device_properties(0)
    gpu = {
        "capability": f"{properties.major}.{properties.minor}",
        "memory": properties.total_memory,
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
    }
    return {"device": properties.name, "machine": machine | {"gpu": gpu}}


def _driver() -> str | None:
    """Return the version of the NVIDIA driver."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    return next((word for word in text.split() if word.count(".") >= 1 and word[0].isdigit()), None)
