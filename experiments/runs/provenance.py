"""Where a run's numbers come from: code, commit, versions and device."""

import hashlib
import json
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from experiments.plan.seeds import fingerprint
from experiments.plan.sources import closure
from losses import building

PACKAGES = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "numpy", "scipy")


def code(loss_spec: dict[str, Any]) -> dict[str, str]:
    """Return fingerprints of the source that a run's numbers come from.

    train: everything that training imports, and the loss with its parts. evaluate: everything
    that evaluation imports. A custom loss counts with the project's modules that it imports.
    """
    return dict(_code(json.dumps(loss_spec, sort_keys=True)))


@cache
def _code(loss_spec: str) -> tuple[tuple[str, str], ...]:
    losses = sorted(building.modules(json.loads(loss_spec)))
    return (
        ("train", _hash("experiments.runs.fit", *losses)),
        ("evaluate", _hash("experiments.runs.evaluate")),
    )


def _hash(*modules: str) -> str:
    """Return a fingerprint of the files that modules import.

    Without the table of the losses' names: a run's loss counts with its module.
    """
    files = closure(*modules)
    files.pop("losses.registry", None)
    return fingerprint(
        {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    )


@cache
def origin(device: str) -> dict[str, Any]:
    """Return the commit, versions and device of a record."""

    def git(*words: str) -> str | None:
        result = subprocess.run(
            ["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
        )
        return result.stdout.strip() if result.returncode == 0 else None

    status = git("status", "--porcelain")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "versions": {"python": sys.version.split()[0], **{p: version(p) for p in PACKAGES}},
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
