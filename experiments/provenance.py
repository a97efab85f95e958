"""Where a run's numbers come from: the code they were made with, the commit, versions, device."""

import inspect
import json
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import losses
from experiments import results
from experiments.plan import fingerprint

PACKAGES = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "numpy", "scipy")


@cache
def code(loss_spec):
    """Fingerprint of the source that a run's numbers come from: the training and its loss."""
    here = Path(__file__).parent
    files = {here / f"{name}.py" for name in ("train", "models", "evaluate", "objects")}
    for module in losses.build(json.loads(loss_spec)).modules():
        for base in type(module).__mro__:
            if base.__module__.split(".")[0] in ("builtins", "torch"):
                continue
            files.add(Path(inspect.getsourcefile(base)))
            if base.__module__.startswith("losses."):
                files.add(Path(losses.__file__).parent / "_base.py")
    return fingerprint({file.name: results.sha256(file.read_bytes()) for file in sorted(files)})


@cache
def origin(device):
    """Where a record comes from: commit, versions, device."""

    def git(*words):
        done = subprocess.run(
            ["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "versions": {"python": sys.version.split()[0], **{p: version(p) for p in PACKAGES}},
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
