"""The batches of a cell: images and labels decoded once, picked and augmented per step."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from experiments.data import prepared
from experiments.files import file_sha256, reserve, whole_file, write_whole
from experiments.layout import CLEAN, IGNORED
from experiments.plan.seeds import stable_seed

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec

LARGE = 2**28
"""Bytes above which the images of a split are mapped from a file instead of loaded."""
IGNORED_LOGIT = -15.0
"""Logit written over ignored pixels, so that no loss gets a gradient from them."""

Batch = tuple[
    Int[np.ndarray, " n"],
    UInt8[np.ndarray, "n h w c"],
    UInt8[np.ndarray, "n h w *k"],
    UInt8[np.ndarray, "n h w"] | None,
    Float[np.ndarray, "n h w k"] | None,
]
"""Image numbers, images, masks, ignored pixels, and maps of the loss."""


class Cell:
    """The images and labels that all losses of a (dataset, stress, seed) share, decoded once.

    Images are (n, h, w, c). Masks are class numbers (n, h, w), or with `multilabel` a mask of each
    class, (n, h, w, k). clean: true training labels, if they
    are noisy; ignored: 1 at ignored pixels; None if the folder lacks them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.data = data = prepared.read_cell(folder)
        self.content = data.info["content"]
        self.classes, self.multilabel = data.classes, data.multilabel
        self.images, self.masks = self._stack("train", "images"), self._stack("train", "masks")
        self.clean, self.ignored = self._layer("train", CLEAN), self._layer("train", IGNORED)
        self.val_images, self.val_masks = self._stack("val", "images"), self._stack("val", "masks")
        self.val_ignored = self._layer("val", IGNORED)
        self.test_images = self._stack("test", "images")
        self.channels = self.images.shape[-1]

    def _stack(self, split: str, part: str) -> np.ndarray:
        data, stems = self.data, self.data.split[split]
        read = data.image if part == "images" else data.target
        path = data.folder / f".{self.content[:16]}-{split}-{part}.npy"
        arrays = stack(map(read, stems), (len(stems), *read(stems[0]).shape), path)
        return arrays[..., None] if part == "images" and arrays.ndim == 3 else arrays

    def _layer(self, split: str, name: str) -> np.ndarray | None:
        if not (self.data.folder / name).is_dir():
            return None
        return np.stack([self.data.mask(stem, name) for stem in self.data.split[split]])


def stack(
    arrays: Iterable[UInt8[np.ndarray, "*_"]], shape: tuple[int, ...], path: Path
) -> UInt8[np.ndarray, "n ..."]:
    """Return arrays of one shape as one array; above LARGE bytes it is mapped from file `path`.

    shape: of the result. The file is written whole; other processes reuse it and share its pages.
    A file that does not have the hash next to it is made again. OSError if the disk has no room.
    """
    if np.prod(shape, dtype=np.int64) <= LARGE:
        return np.stack(list(arrays))
    hashed = path.with_suffix(".sha256")
    if not (path.exists() and hashed.exists() and hashed.read_text() == file_sha256(path)):
        with whole_file(path) as temporary:
            mapped = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            reserve(temporary)  # else a full disk is the signal SIGBUS, which ends the process
            for i, array in enumerate(arrays):
                mapped[i] = array
            mapped.flush()
            write_whole(hashed, file_sha256(temporary))
    return np.load(path, mmap_mode="r")


@lru_cache(maxsize=2)
def open_cell(folder: str, content: str) -> Cell:
    """Return the cell in a folder; the last two are kept, because their runs follow each other.

    content: the hash of its files. ValueError if they have another one.
    """
    if prepared.measure(folder) != content:
        raise ValueError(f"{folder}: files changed since they were written")
    return Cell(folder)


def to_tensor(images: UInt8[np.ndarray, "n h w c"], device: str) -> Float[Tensor, "n c h w"]:
    """Return images on a device, as `normalize` returns them."""
    return normalize(torch.from_numpy(np.ascontiguousarray(images)).to(device))


def normalize(images: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n c h w"]:
    """Return images as float32 with zero mean and unit scale, about."""
    images = (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    return images.contiguous(memory_format=torch.channels_last)


def to_target(masks: Shaped[Tensor, "n h w *k"], classes: int) -> Shaped[Tensor, "n *k h w"]:
    """Return class numbers, or masks of classes that may overlap, in the form that losses take.

    One class: (n, 1, h, w) float32, the foreground's probability. Several: (n, h, w) int64.
    Several that may overlap: (n, k, h, w) float32.
    """
    if masks.dim() == 4:
        return masks.permute(0, 3, 1, 2).float().contiguous()
    return masks[:, None].float() if classes == 1 else masks.long()


def set_aside(
    ignored: Bool[Tensor, "n h w"],
    logits: Float[Tensor, "n k h w"],
    target: Shaped[Tensor, "n *k h w"],
) -> tuple[Float[Tensor, "n k h w"], Shaped[Tensor, "n *k h w"]]:
    """Return logits and target that are certain background at ignored pixels, without gradient."""
    background = logits.new_full((1, logits.shape[1], 1, 1), IGNORED_LOGIT)
    numbers = target.dim() < logits.dim()  # then the first channel is the background
    if numbers:
        background[:, 0] = 0
    logits = torch.where(ignored[:, None], background, logits)
    return logits, target.masked_fill(ignored if numbers else ignored[:, None], 0)


def symmetric(
    arrays: Shaped[np.ndarray, "n side side *rest"], element: int
) -> Shaped[np.ndarray, "n side side *rest"]:
    """Return a view of arrays under one of the eight symmetries of the square, 0 to 7.

    Quarter turns (element % 4), mirrored from 4 on. The foreground fraction does not change.

    >>> symmetric(np.array([[[1, 2], [3, 4]]]), 4).tolist()
    [[[2, 1], [4, 3]]]
    """
    arrays = np.rot90(arrays, element % 4, axes=(1, 2))
    return arrays[:, :, ::-1] if element >= 4 else arrays


def choices(
    images: int, run: RunSpec
) -> Iterator[tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]]:
    """Yield the numbers of the images of each step, and a random number for each of them.

    images: number of training images. The random number is a symmetry of the square, 0 to 7, or
    the seed of a list of transforms. Both depend on the cell, never on the loss.
    """
    training = run.training
    order_rng = np.random.default_rng(stable_seed("order", *run.cell))
    augment_rng = np.random.default_rng(stable_seed("augment", *run.cell))
    bound = 2**63 if isinstance(training.augment, list) else 8 if training.augment else 1
    order = []
    for _ in range(training.steps):
        while len(order) < training.batch_size:
            order += order_rng.permutation(images).tolist()
        picked, order = np.array(order[: training.batch_size]), order[training.batch_size :]
        yield picked, augment_rng.integers(bound, size=len(picked))


def batches(
    cell: Cell, run: RunSpec, maps: Float[np.ndarray, "all h w k"] | None = None, start: int = 0
) -> Iterator[Batch]:
    """Yield the batches of a run, one per step; they depend on the cell, never on the loss.

    maps: computed by the loss from each training mask. They are augmented like the mask; a list
    of transforms cannot do that, so there the maps of a batch are None. start: first step; the
    batches before it are not made.
    """
    parts = [cell.images, cell.masks, cell.ignored, maps]
    by_list = isinstance(run.training.augment, list)
    if by_list:
        from experiments.runs import augment  # albumentations takes seconds to import

        compose = augment.build(run.training.augment)
    for picked, draws in itertools.islice(choices(len(cell.images), run), start, None):
        if by_list:
            batch = [None if part is None else part[picked] for part in parts[:3]]
            yield picked, *augment.apply(compose, draws.tolist(), *batch), None
        else:
            yield picked, *_square(parts, picked, draws)


def _square(
    parts: list[np.ndarray | None], picked: np.ndarray, elements: np.ndarray
) -> list[np.ndarray | None]:
    """Return the picked images of each part, each under its own symmetry of the square.

    One array operation per symmetry: for small images, a call per image takes longer than the
    pixels do.
    """
    batch = [
        None if part is None else np.empty((len(picked), *part.shape[1:]), part.dtype)
        for part in parts
    ]
    for element in np.unique(elements):
        rows = np.flatnonzero(elements == element)
        for whole, part in zip(batch, parts, strict=True):
            if part is not None:
                whole[rows] = symmetric(part[picked[rows]], element)
    return batch
