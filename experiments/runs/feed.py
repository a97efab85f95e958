"""The batches of a run as tensors on the device of its model.

`Feed.stage` runs on the host before each step. `Feed.batch` uses tensor operations only, so a CUDA
graph can record it. All feeds of a run give the same bytes.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from experiments.runs.batches import (
    Batch,
    Cell,
    batches,
    choices,
    normalize,
    symmetric,
    to_target,
)

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec

SHARE = 1 / 3
"""Part of a device's free memory that a cell may take."""
AHEAD = 4
"""Batches that are made ahead of a GPU."""


class Tensors(NamedTuple):
    """A batch on the device. ignored, maps: None if the cell or the loss has none."""

    images: Float[Tensor, "n c h w"]
    target: Shaped[Tensor, "n *k h w"]
    ignored: Bool[Tensor, "n h w"] | None
    maps: Float[Tensor, "n k h w"] | None


class Feed:
    """The batches of a run."""

    def stage(self) -> None:
        """Get the next batch ready, on the host."""

    def batch(self) -> Tensors:
        """Return the batch of this step."""
        raise NotImplementedError

    def close(self) -> None:
        """End the work on further batches."""


def build(
    cell: Cell, run: RunSpec, maps: Float[np.ndarray, "all h w k"] | None, device: str, start: int
) -> Feed:
    """Return the feed of a run on a GPU from step `start` on.

    The cell lies in the device's memory if it takes at most SHARE of it and no list of transforms
    is used. Otherwise its batches are made on the host.
    """
    parts = (cell.images, cell.masks, cell.ignored, maps)
    size = sum(part.nbytes for part in parts if part is not None)
    if isinstance(run.training.augment, list) or size > SHARE * _free(device):
        return StagedFeed(batches(cell, run, maps, start), len(cell.classes), device)
    return DeviceFeed(cell, run, maps, device, start)


def _free(device: str) -> float:
    """Return the free bytes of a device's memory."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else math.inf


def _tensors(parts: list[Tensor | None], classes: int) -> Tensors:
    """Return a batch from its parts as stored: images, masks, ignored pixels, maps."""
    images, masks, ignored, maps = parts
    return Tensors(
        normalize(images),
        to_target(masks, classes),
        None if ignored is None else ignored.bool(),
        None if maps is None else maps.permute(0, 3, 1, 2),
    )


class HostFeed(Feed):
    """Batches on the CPU."""

    def __init__(self, stream: Iterator[Batch], classes: int) -> None:
        self.stream, self.classes = stream, classes
        self.parts: list[Tensor | None] = []

    def stage(self) -> None:
        """Make the next batch."""
        _, *parts = next(self.stream)
        self.parts = [None if part is None else torch.from_numpy(part) for part in parts]

    def batch(self) -> Tensors:
        """Return the batch of this step."""
        return _tensors(self.parts, self.classes)


class StagedFeed(Feed):
    """Batches that a thread makes on the host, copied to fixed places on the device.

    Copies start from pinned memory, so the host does not wait for them.
    """

    def __init__(self, stream: Iterator[Batch], classes: int, device: str) -> None:
        self.classes, self.device = classes, device
        self.parts: list[Tensor | None] = []
        self._ready: queue.Queue[list[Tensor | None] | BaseException] = queue.Queue(AHEAD)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(stream,), daemon=True)
        self._thread.start()

    def _make(self, stream: Iterator[Batch]) -> None:
        try:
            for _, *parts in stream:
                self._put([None if part is None else self._pinned(part) for part in parts])
        except BaseException as error:
            self._put(error)

    def _pinned(self, part: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(part))
        return tensor.pin_memory() if self.device == "cuda" else tensor

    def _put(self, item: list[Tensor | None] | BaseException) -> None:
        while not self._ended.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def stage(self) -> None:
        """Copy the next batch to the device; raise the error of the thread that makes them."""
        parts = self._ready.get()
        if isinstance(parts, BaseException):
            raise parts
        if not self.parts:
            self.parts = [
                None if part is None else torch.empty_like(part, device=self.device)
                for part in parts
            ]
        for place, part in zip(self.parts, parts, strict=True):
            if part is not None:
                place.copy_(part, non_blocking=True)

    def batch(self) -> Tensors:
        """Return the batch of this step."""
        return _tensors(self.parts, self.classes)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()


class DeviceFeed(Feed):
    """Batches picked on the device: images, order and symmetries of all steps lie there.

    turns: for each of the eight symmetries, the pixel that moves to each place. step: the number
    of the batch, on the device.
    """

    def __init__(
        self,
        cell: Cell,
        run: RunSpec,
        maps: Float[np.ndarray, "all h w k"] | None,
        device: str,
        start: int = 0,
    ) -> None:
        self.classes, side = len(cell.classes), cell.images.shape[1]
        self.parts = [
            None if part is None else torch.from_numpy(np.ascontiguousarray(part)).to(device)
            for part in (cell.images, cell.masks, cell.ignored, maps)
        ]
        picked, elements = zip(*choices(len(cell.images), run), strict=True)
        self.picked = torch.from_numpy(np.stack(picked)).to(device)
        self.elements = torch.from_numpy(np.stack(elements)).to(device)
        square = np.arange(side**2).reshape(1, side, side)
        turns = np.stack([symmetric(square, element)[0].ravel() for element in range(8)])
        self.turns = torch.from_numpy(turns).to(device)
        self.step, self._next = torch.full((1,), start, device=device), start

    def stage(self) -> None:
        """Count the step."""
        self.step.fill_(self._next)
        self._next += 1

    def batch(self) -> Tensors:
        """Return the batch of this step."""
        numbers = self.picked.index_select(0, self.step)[0]
        places = self.turns.index_select(0, self.elements.index_select(0, self.step)[0])
        parts = [None if part is None else _cut(part, numbers, places) for part in self.parts]
        return _tensors(parts, self.classes)


def _cut(
    part: Shaped[Tensor, "all h w *k"], numbers: Int[Tensor, " n"], places: Int[Tensor, "n l"]
) -> Shaped[Tensor, "n h w *k"]:
    """Return the picked images of a part, with the pixel at `places` at each place."""
    picked = part.index_select(0, numbers)
    pixels = picked.view(*places.shape, -1)
    return pixels.gather(1, places[..., None].expand_as(pixels)).view(picked.shape)
