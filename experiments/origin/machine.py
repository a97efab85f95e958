"""The machine of a call, without names of hosts and users. Standard library only."""

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

ARITHMETIC = re.compile(r"s?sse\d?|sse4_\d|avx\w*|fma\w*|f16c|amx\w*|neon|asimd\w*|sve\w*|v?bf16")
"""Instruction sets that a result can depend on."""
VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
)
"""Environment variables that a result can depend on."""


@cache
def machine() -> dict[str, Any]:
    """Return the system, Python, processor, its instruction sets, CPUs and bytes of memory."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "arch": platform.machine(),
        "cpu": cpu(),
        "instructions": instructions(),
        "cpus": os.cpu_count(),
        "memory": _memory(),
    }


def cpu() -> str | None:
    """Return the model of the processor, or None if it is unknown."""
    name = _cpuinfo("model name") or _sysctl("machdep.cpu.brand_string") or platform.processor()
    return name or None


def instructions() -> list[str]:
    """Return the instruction sets of the processor that a result can depend on."""
    words = _cpuinfo("flags") or _cpuinfo("Features") or _sysctl("machdep.cpu.features") or ""
    return sorted({word for word in words.lower().split() if ARITHMETIC.fullmatch(word)})


def variables() -> dict[str, str]:
    """Return the environment variables that a result can depend on, as far as they are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


@cache
def _cpuinfo(field: str) -> str | None:
    """Return a field of Linux's description of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    match = re.search(rf"^{field}\s*:\s*(.+)$", text, re.MULTILINE)
    return match and match[1].strip()


@cache
def _sysctl(field: str) -> str | None:
    """Return a field of macOS's description of the processor."""
    if platform.system() != "Darwin":
        return None
    command = ["sysctl", "-n", field]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
