"""The GPUs of this machine and the runs that each can take at a time.

The process that starts the workers imports this module, so it loads no torch. A worker looks for
the GPUs: the caller never touches CUDA.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.errors import ConfigError
from experiments.runs import worker
from experiments.runs.workers import Died, call_alone

if TYPE_CHECKING:
    from experiments.plan.config import Training
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable: the GPUs that a process may use, by number, UUID or MIG entry."""
PROCESS = 2**30
"""Bytes of a GPU's memory that a process takes without the tensors of its run."""


def places(study: Study, runs: Sequence[RunSpec], jobs: int) -> list[dict[str, str]]:
    """Return the environment variables of each worker for these runs: at most `jobs` workers.

    On GPUs, each worker has one of them. ConfigError if the device or the precision of a run cannot
    be used. With ``device: cpu`` no process is started to look for GPUs.
    """
    found: dict[str, Any] = {}
    if study.device != "cpu":
        try:
            limit = study.timeout.step
            found = call_alone(look, study, runs, preload=worker.PRELOAD, limit=limit)
        except Died as died:
            raise ConfigError(f"device: the search for GPUs ended by {died}") from None
    if "problem" in found:
        raise ConfigError(found["problem"])
    if not found:
        refuse_precision("cpu", [run.training for run in runs])
        return [{}] * jobs
    return share(found["free"], found["peak"], study.runs_per_gpu)[:jobs]


def look(study: Study, runs: Sequence[RunSpec]) -> dict[str, Any]:
    """Return the GPUs that the runs of a study can use, as plain data; {} if they use the CPU.

    free: `free_memory`. peak: bytes of GPU memory of the largest run, measured by some steps of
    each kind of model. problem: the reason why the device cannot be used.
    """
    from experiments.runs import devices

    try:
        device = devices.resolve(study.device)
    except ConfigError as error:
        return {"problem": str(error)}
    if device == "cpu":
        return {}
    from experiments.runs import cost

    return {"free": free_memory(), "peak": cost.peak(study, runs)}


def visible() -> list[str]:
    """Return the GPUs of this process, each as a value of CUDA_VISIBLE_DEVICES.

    MIG entries are returned all, though a process can use the first one only.
    """
    import torch

    count = torch.cuda.device_count()
    names = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    migs = [name for name in names if name.startswith("MIG-")]
    return migs or names[:count] or [str(i) for i in range(count)]


def free_memory() -> dict[str, int]:
    """Return the free bytes of each visible GPU; of each MIG entry, those of the first one."""
    import torch

    free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
    return {name: free[min(i, len(free) - 1)] for i, name in enumerate(visible())}


def share(free: Mapping[str, int], peak: int, runs_per_gpu: int) -> list[dict[str, str]]:
    """Return the environment variables of the workers that GPUs can take, the GPUs in turn.

    free: bytes of each GPU. peak: bytes of a run's tensors. Each GPU takes one worker at least.

    >>> [place[VISIBLE] for place in share({"0": 2**33, "GPU-8f": 2**30}, 2**30, 2)]
    ['0', 'GPU-8f', '0']
    """
    number = {
        name: max(1, min(runs_per_gpu, size // (PROCESS + peak))) for name, size in free.items()
    }
    return [{VISIBLE: name} for i in range(runs_per_gpu) for name in number if i < number[name]]


def refuse_precision(device: str | None, trainings: Sequence[Training]) -> None:
    """Raise ConfigError if a precision cannot be used on a device; None: it is not known."""
    if device == "cpu" and any(training.precision == "tf32" for training in trainings):
        raise ConfigError("training.precision: 'tf32' needs a GPU; allowed on a CPU: fp32, bf16")
