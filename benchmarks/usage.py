"""Memory and GPU that the processes of a call use, sampled from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from statistics import mean

import psutil

PAUSE = 0.25
"""Seconds between two samples, at least."""
SHARE = 50
"""Seconds of pause for each second that a sample takes: sampling uses 2% of a core at most."""
QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "250")


class Usage(threading.Thread):
    """Samples while the body of `with` runs.

    memory: largest sum of bytes of all child processes; memory that they share counts once. gpu:
    pairs of utilisation in percent and MiB in use, empty if nvidia-smi does not give them.
    """

    def __init__(self, device: str) -> None:
        super().__init__(daemon=True)
        self.memory, self.gpu = 0, []
        self._device, self._ended = device, threading.Event()
        self._monitor: subprocess.Popen[str] | None = None

    def __enter__(self) -> Usage:
        if self._device == "cuda" and shutil.which("nvidia-smi"):
            gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
            self._monitor = subprocess.Popen(
                ["nvidia-smi", "-i", gpu, *QUERY],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        if self._monitor:
            self._monitor.terminate()
            self.gpu = numbers(self._monitor.communicate()[0])

    def run(self) -> None:
        """Sample the memory until the body has ended."""
        pause = PAUSE
        while not self._ended.wait(pause):
            began = time.perf_counter()
            self.memory = max(self.memory, self._sample())
            pause = max(PAUSE, SHARE * (time.perf_counter() - began))

    def _sample(self) -> int:
        total = 0
        for process in psutil.Process().children(recursive=True):
            if self._monitor and process.pid == self._monitor.pid:
                continue
            with contextlib.suppress(psutil.Error):  # it has ended
                memory = process.memory_full_info()
                total += getattr(memory, "pss", memory.rss)
        return total


def numbers(text: str) -> list[tuple[int, int]]:
    r"""Return the lines of nvidia-smi that are pairs of numbers.

    >>> numbers("87, 1024\n[N/A], 1024\n")
    [(87, 1024)]
    """
    lines = [line.split(",") for line in text.splitlines() if line.count(",") == 1]
    return [(int(a), int(b)) for a, b in lines if a.strip().isdigit() and b.strip().isdigit()]


def busy(percent: Sequence[int]) -> float | None:
    """Return the mean utilisation between its first and its last sample above 0, as a share.

    None without such a sample.

    >>> busy([0, 100, 0, 50, 0, 0]), busy([0])
    (0.5, None)
    """
    active = [i for i, value in enumerate(percent) if value > 0]
    return mean(percent[active[0] : active[-1] + 1]) / 100 if active else None
