"""One model in training: the steps of a run on its device.

A step is forward, loss, backward. On CUDA the first steps run eagerly. Then forward and backward
are recorded once and replayed, without Python between their kernels. The loss always runs eagerly,
so it may be any Python code.
"""

from __future__ import annotations

import enum
import logging
import math
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import losses
from experiments.plan.seeds import stable_seed
from experiments.runs import feed, models, optimizers
from experiments.runs.batches import Cell, batches, set_aside, to_target, to_tensor

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec

log = logging.getLogger("dicebench")

EAGER = 3
"""Steps before a recording: they choose kernels and create the state of the optimizer."""
DECAY = 0.95
"""Share of the average that a step keeps, for `weights: averaged`."""
AT_ONCE = 32
"""Images of a batch that is not trained on."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Run a call once and return a function that repeats its tensor operations on the same memory."""


class NotRecorded(RuntimeError):
    """The steps of a run that cannot be recorded, such as those of a model that reads values."""


class CudaGraphs:
    """Recordings of CUDA operations, which share their memory and this object's stream."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, call: Callable[[], None]) -> Callable[[], None]:
        """Record a call and run it once; return the function that replays it."""
        graph = torch.cuda.CUDAGraph()
        # Another thread may make batches: its calls must not end the recording.
        with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
            call()
        graph.replay()
        return graph.replay


class Lane:
    """A model in training with everything that a step changes.

    record: records the steps; None: each runs eagerly. step: number of steps made. recent: their
    losses since the last point of the curve. nondeterministic: names of operations of a step that
    have no deterministic form on this device.
    """

    def __init__(self, cell: Cell, run: RunSpec, device: str, record: Record | None = None) -> None:
        training, self.run, self.device = run.training, run, device
        torch.manual_seed(stable_seed("weights", *run.cell))
        model = models.build(training, cell.channels, len(cell.classes), cell.multilabel)
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.loss_fn = losses.build(run.loss_spec, multilabel=cell.multilabel).to(device)
        self.optimizer = optimizers.build(
            training, self.model.parameters(), recorded=record is not None
        )
        self.schedule = optimizers.schedule(training, self.optimizer)
        self.average = _average(self.model) if training.weights == "averaged" else None
        self.precision, self.steps, self.step = training.precision, training.steps, 0
        self.curve: list[dict[str, float]] = []
        self.recent: list[float] = []
        self.nondeterministic: set[str] = set()
        highest = 1 if cell.multilabel else len(cell.classes)
        if cell.masks.max() > highest:  # checked once, not at every step
            raise ValueError(f"masks have class {cell.masks.max()} of {len(cell.classes)}")
        self._maps, self._cell = _maps(self.loss_fn, cell, run), cell
        self._record = record
        self._whole = optimizers.can_record(self.optimizer)  # else its step is not recorded
        self._gradient: Tensor | None = None
        self._pending: list[Tensor] = []  # losses that are still on the device
        self._eager = EAGER
        self._replay: list[Callable[[], None]] = []
        self._feed: feed.Feed | None = None

    def advance(self) -> None:
        """Make one step; NotRecorded if it cannot be recorded."""
        if self._feed is None:
            self._feed = self._new_feed()
        _set_seeds(stable_seed("step", *self.run.cell, self.step), self.device)
        self._feed.stage()
        with self._noted():
            self._part(0, self.forward)
            self.loss()
            self._part(1, self.backward)
            if not self._whole:
                self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        self._eager -= 1

    def _new_feed(self) -> feed.Feed:
        cell = self._cell
        if self._record is not None or self.device != "cpu":
            return feed.build(cell, self.run, self._maps, self.device, self.step)
        return feed.HostFeed(batches(cell, self.run, self._maps, self.step), len(cell.classes))

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note the non-deterministic operations of the first steps on a GPU."""
        if self.device == "cpu" or self._eager <= 0:
            yield
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            if found := re.match(r"(\S+) does not have a deterministic", str(warning.message)):
                self.nondeterministic.add(found[1])
            else:
                log.warning("%s: %s", self.run.path, warning.message)

    def _part(self, part: int, call: Callable[[], None]) -> None:
        """Run a part of the step, replay it, or record it."""
        if part < len(self._replay):
            return self._replay[part]()
        if self._record is None or self._eager > 0:
            return call()
        try:
            self._replay.append(self._record(call))
        except RuntimeError as error:
            raise NotRecorded(str(error)) from error

    def forward(self) -> None:
        """Compute the logits of a batch."""
        images, self.target, self.ignored, self.maps = self._feed.batch()
        with self._autocast():
            self.logits = self.model(images)

    def loss(self) -> None:
        """Compute the loss of the logits and its gradient."""
        leaf = self.logits.detach().requires_grad_()
        extra = {} if self.maps is None else {"maps": self.maps}
        with self._autocast(), losses.trusted():
            if self.ignored is None:
                logits, target = leaf.clone(), self.target  # a loss may change its input in place
            else:
                logits, target = set_aside(self.ignored, leaf, self.target)
            if hasattr(self.loss_fn, "set_progress"):  # after the model: it may draw random numbers
                self.loss_fn.set_progress(self.step / self.steps)
            value = self.loss_fn(logits, target, **extra)
        value.backward()
        if self._gradient is None:
            self._gradient = torch.zeros_like(leaf)
        if leaf.grad is not None:
            self._gradient.copy_(leaf.grad)
        self._pending.append(value.detach())

    def backward(self) -> None:
        """Compute the gradients of the weights; make the step of an optimizer that allows it."""
        self.optimizer.zero_grad()
        self.logits.backward(self._gradient)
        if self._whole:
            self.optimizer.step()

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated: with the weights of the last step, or their average."""
        return self.model if self.average is None else self.average.module

    def recalibrate(self, images: UInt8[np.ndarray, "n h w c"]) -> None:
        """Estimate the batch-norm statistics of the model again, from images in their order.

        A statistic is the mean over batches of about AT_ONCE images. The loss has no part in it:
        dropout masks depend on the cell. Training does not read these statistics.
        """
        _set_seeds(stable_seed("recalibrate", *self.run.cell), self.device)
        # Of equal size: some layers refuse a rest of one image.
        parts = np.array_split(images, math.ceil(len(images) / AT_ONCE))
        update_bn((to_tensor(part, self.device) for part in parts), self.model)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False
        )

    def read(self) -> int | None:
        """Read the losses of the last steps; return the first step without a finite loss, if any.

        A GPU has to finish these steps first.
        """
        if not self._pending:
            return None
        values = torch.stack(self._pending).tolist()
        first, self._pending = self.step - len(values), []
        self.recent += values
        return next((first + i for i, v in enumerate(values) if not math.isfinite(v)), None)

    @property
    def captured(self) -> bool:
        """Whether forward and backward are replayed."""
        return len(self._replay) == 2

    def on_gpu(self) -> dict[str, Any]:
        """Return the entries of the record of a run on a GPU."""
        if self.device == "cpu":
            return {}
        return {"captured": self.captured, "nondeterministic": sorted(self.nondeterministic)}

    def close(self) -> None:
        """Free the recordings and end the work on further batches."""
        if self._feed is not None:
            self._feed.close()
        self._replay.clear()
        self.optimizer.zero_grad()
        self.logits = self._gradient = None
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def state(self) -> dict[str, Any]:
        """Return everything that a step changes, as plain data and tensors."""
        parts = {name: dict(part.state_dict()) for name, part in self._parts().items()}
        own = {name: getattr(self, name) for name in ("step", "curve", "recent")}
        return parts | own | {"attributes": attributes(self.loss_fn)}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the state that `state` has returned in another process."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for name, module in self.loss_fn.named_modules():
            vars(module).update(state["attributes"][name])
        self.step, self.curve, self.recent = state["step"], state["curve"], state["recent"]

    def _parts(self) -> dict[str, Any]:
        """Return the objects with a `state_dict` that a step changes, by name."""
        names = ("model", "loss_fn", "optimizer", "schedule", "average")
        return {name: part for name in names if (part := getattr(self, name)) is not None}


def _average(model: nn.Module) -> AveragedModel:
    """Return the moving average of a model's weights and buffers, to which each step is added."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)


def attributes(loss_fn: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the attributes of a loss and its submodules that a call can change, by module.

    Not included: buffers and parameters, which are in its state_dict; attributes of a class or of
    a Python module; variables of a closure.
    """
    modules, own = dict(loss_fn.named_modules()), vars(nn.Module()).keys()

    def constant(value: Any) -> bool:
        if isinstance(value, dict | list | tuple) and value:
            return all(map(constant, value.values() if isinstance(value, dict) else value))
        if isinstance(value, nn.Module):
            return value in modules.values()
        suite = type(value).__module__.startswith("losses.")
        return suite or callable(value) or isinstance(value, torch.dtype | torch.device | enum.Enum)

    return {
        name: {k: v for k, v in vars(module).items() if k not in own and not constant(v)}
        for name, module in modules.items()
    }


def _set_seeds(seed: int, device: str) -> None:
    """Seed all global generators: no step depends on the random numbers of the steps before it.

    torch.manual_seed would also seed CUDA, which takes 100 us where CUDA is not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _maps(loss_fn: nn.Module, cell: Cell, run: RunSpec) -> np.ndarray | None:
    """Return the loss's maps of all training masks, (n, h, w, k): once per image, not per step.

    None if the loss has no maps, or if a list of transforms changes the masks: the loss then makes
    the maps of each batch.
    """
    if not hasattr(loss_fn, "maps") or isinstance(run.training.augment, list):
        return None
    classes = len(cell.classes)
    target = to_target(torch.from_numpy(np.asarray(cell.masks)), classes)
    channels = [] if target.dim() == 4 else [models.outputs(classes)]  # of class numbers
    maps = loss_fn.maps(target, *channels)
    return maps.permute(0, 2, 3, 1).numpy()
