"""A module for the workers' server: its workers record nothing. For `benchmarks.gpu_workers`."""

from __future__ import annotations

from collections.abc import Callable

from experiments.runs import fit, lane


class Eager(lane.CudaGraphs):
    """Calls that run each time, in place of recordings."""

    def __call__(self, call: Callable[[], None]) -> Callable[[], None]:
        """Run a call once and return it."""
        call()
        return call


fit.CudaGraphs = Eager
