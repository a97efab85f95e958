"""Two GPUs that do not exist: a module that the workers' server imports, in tests only.

A run "on a GPU" is trained on the CPU. Its device is named by the worker's CUDA_VISIBLE_DEVICES. A
file ``trouble/LOSS`` in the working folder has the trouble of each attempt at the loss's run, and
each attempt adds lines to the file ``attempts``.
"""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from experiments.runs import cost, gpus, run
from experiments.runs.sizes import Pace

FREE, RUN = 7 * 2**30, 2**30
VISIBLE = gpus.VISIBLE
ERRORS = {
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "assert": RuntimeError("CUDA error: device-side assert triggered\nCompile with ..."),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "own": RuntimeError("no such thing"),
    "cpu memory": MemoryError("no room"),
}

really_available, really_fit, really_predict = (
    torch.cuda.is_available,
    run.fit,
    run.predict_splits,
)


def is_available():
    really_available()  # from here on, a forked child of this process cannot use CUDA
    return True


def properties(number):
    if torch.cuda._is_in_bad_fork():
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")
    return SimpleNamespace(name=f"GPU {os.environ[VISIBLE]}", major=9, minor=0, total_memory=FREE)


def note(**entries):
    with open("attempts", "a") as file:
        file.write(json.dumps(entries | {"pid": os.getpid(), "time": time.time()}) + "\n")


def fit(cell, spec, kind, *rest):
    path = Path("trouble", spec.loss)
    before = [json.loads(line) for line in Path("attempts").read_text().splitlines()]
    number = sum(line["run"] == spec.path for line in before if "visible" in line)
    note(run=spec.path, loss=spec.loss, visible=os.environ.get(VISIBLE))
    troubles = path.read_text().splitlines() if path.exists() else []
    trouble = troubles[number] if number < len(troubles) else ""
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        if trouble:
            raise ERRORS[trouble]
        torch.cuda.is_available = lambda: False  # the optimizer asks
        return really_fit(cell, spec, "cpu", *rest)
    finally:
        torch.cuda.is_available = is_available
        note(run=spec.path, loss=spec.loss)


torch.cuda.is_available = is_available
torch.cuda.device_count = lambda: 2
torch.cuda.mem_get_info = lambda number=0: (FREE, FREE)
torch.cuda.get_device_properties = properties
cost.measure = lambda sizes, spec, device, budget: Pace(0.1, 0, 0, 0, RUN - 2**20)
run.fit = fit
run.predict_splits = lambda model, cell, kind: really_predict(model, cell, "cpu")
