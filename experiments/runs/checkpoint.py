"""Checkpoints: the state of a run in training, so that a killed run continues.

A checkpoint is ``checkpoint/STEP.safetensors`` in the run's folder: tensors, and the rest of the
state as JSON in the file's metadata. ``checkpoint/checkpoint.json``, written last, has the identity
of the run and the SHA-256 of the two newest checkpoints. No file is unpickled.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.files import file_sha256, write_whole
from experiments.layout import CHECKPOINT, CHECKPOINT_INFO

log = logging.getLogger("dicebench")


class Checkpoint:
    """The checkpoints of a run.

    folder: of the run. identity: plain data that a checkpoint must share. every: seconds between.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], every: float) -> None:
        self.folder, self.every = Path(folder) / CHECKPOINT, every
        self.identity = json.loads(json.dumps(identity))
        self._newest: list[tuple[int, str]] = []  # step and SHA-256 of at most two
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Return whether `every` seconds have passed since the start or the last checkpoint."""
        return time.monotonic() - self._saved >= self.every

    def load(self) -> dict[str, Any] | None:
        """Return the newest whole state with this identity, or None; log and remove other files."""
        self._newest, state = self._listed(), None
        while self._newest and state is None:
            try:
                state = self._read(*self._newest[0])
            except Exception as error:  # a damaged or forged file can cause any type of error
                log.warning("%s: refused: %s", self._path(self._newest.pop(0)[0]), error)
        for path in self._tidy():
            log.warning("%s: removed: it belongs to no complete checkpoint of this run", path)
        self._saved = time.monotonic()
        return state

    def save(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state after a number of steps: plain data and tensors.

        The previous checkpoint is kept. No error is raised: a full disk skips this checkpoint, a
        state that cannot be stored ends the checkpoints of the run; both are logged.
        """
        path, self._newest = self._path(step), self._newest[:1]
        self._tidy()
        try:
            tensors: dict[str, Tensor] = {}
            metadata = {"state": json.dumps(_pack(state(), "state", tensors))}
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path, metadata)
            path.chmod(self.folder.stat().st_mode & 0o666)  # safetensors makes it private
            newest = [(step, file_sha256(path)), *self._newest]
            listed = [{"step": step, "sha256": digest} for step, digest in newest]
            info = {"identity": self.identity, "checkpoints": listed}
            write_whole(self.folder / CHECKPOINT_INFO, json.dumps(info, indent=1) + "\n")
            self._newest = newest
        except (OSError, SafetensorError) as error:
            log.warning("%s: no checkpoint at step %d: %s", self.folder, step, error)
        except Exception as error:  # of any type: the state has objects of custom losses
            log.warning("%s: no checkpoints of this run: %s", self.folder, error)
            self.every = math.inf
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove all checkpoints of the run."""
        self._newest = []
        self._tidy()
        with suppress(FileNotFoundError):
            self.folder.rmdir()

    def _path(self, step: int) -> Path:
        return self.folder / f"{step}.safetensors"

    def _listed(self) -> list[tuple[int, str]]:
        path = self.folder / CHECKPOINT_INFO
        try:
            info = json.loads(path.read_bytes())
            own, other = self.identity, info["identity"]
            if differ := [k for k in {**own, **other} if own.get(k) != other.get(k)]:
                raise ValueError(f"it is of a run with another {', '.join(differ)}")
            return [(int(c["step"]), str(c["sha256"])) for c in info["checkpoints"]]
        except FileNotFoundError:
            return []
        except Exception as error:  # not JSON, or JSON of another form
            log.warning("%s: refused: %s", path, error)
            return []

    def _read(self, step: int, digest: str) -> dict[str, Any]:
        path = self._path(step)
        if file_sha256(path) != digest:
            raise ValueError(f"its SHA-256 differs from that in {CHECKPOINT_INFO}")
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return _unpack(json.loads(file.metadata()["state"]), tensors)

    def _tidy(self) -> list[Path]:
        """Remove and return all files, also those of a killed process, except the newest."""
        kept = {self._path(step) for step, _ in self._newest}
        kept |= {self.folder / CHECKPOINT_INFO} if kept else set()
        old = sorted({*self.folder.glob("*")} - kept)
        for path in old:
            path.unlink(missing_ok=True)
        return old


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON and add its tensors to `tensors`; TypeError if it cannot be stored.

    Strides are stored too: a fused optimizer expects those of a parameter in its state.
    """
    if type(value) in (type(None), bool, int, float, str):
        return value
    if type(value) is dict:
        return {"dict": [_pack([k, v], f"{name}.{k}", tensors) for k, v in value.items()]}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_pack(v, name, tensors) for v in value]}
    if isinstance(value, np.ndarray | np.generic):
        return {"array": _pack(torch.from_numpy(np.array(value)), name, tensors)}
    if type(value) not in (Tensor, nn.Parameter):
        raise TypeError(f"{name}: {type(value).__name__} cannot be stored")
    key = f"{len(tensors)}.{name}"
    tensors[key] = value.detach().clone(memory_format=torch.contiguous_format).cpu()
    return {
        "tensor": [key, list(torch.empty_like(value, device="meta").stride()), value.device.type]
    }


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that `_pack` has stored."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        name, stride, device = content
        stored = tensors[name]
        new = torch.empty_strided(stored.shape, stride, dtype=stored.dtype, device=device)
        return new.copy_(stored)
    if kind == "array":
        return _unpack(content, tensors).numpy()[()]
    return {"dict": dict, "list": list, "tuple": tuple}[kind](_unpack(v, tensors) for v in content)
