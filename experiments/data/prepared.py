"""Read a prepared folder (its layout: `experiments.layout`), the only form of data in a study.

Images are PNG files, grey or RGB. Masks hold 0 and 255. A folder without ``dataset.json``, or
without splits in it, is split by a hash of its images' content (`experiments.data.splits`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8, UInt16
from PIL import Image

from experiments.data.splits import join_groups, split_groups
from experiments.layout import (
    CLEAN,
    DESCRIPTION,
    FOREGROUND,
    IGNORED,
    IMAGES,
    INSTANCES,
    LABELS,
    MASKS,
    check_folder,
)

EXACT_MODES = ("L", "RGB", "I;16")
"""Pillow modes that are read unchanged; all others are converted to RGB."""


@dataclass(frozen=True)
class Prepared:
    """A prepared folder: its path, the folder of its masks, its description and its splits.

    info: content of ``dataset.json``. split: "train", "val", "test" -> stems.
    """

    folder: Path
    masks: str
    info: dict[str, Any]
    split: dict[str, list[str]]

    def has(self, layer: str) -> bool:
        """Return whether the folder has a layer, such as CLEAN or IGNORED."""
        return (self.folder / layer).is_dir()

    def image(self, stem: str) -> UInt8[np.ndarray, "h w *c"]:
        """Return an image: (h, w) if it is grey, else (h, w, 3)."""
        return _pixels(self.folder / IMAGES / f"{stem}.png")

    def mask(self, stem: str, layer: str | None = None) -> UInt8[np.ndarray, "h w"]:
        """Return a mask of 0 and 1 from `layer` (default: `masks`); ValueError on other values."""
        path = self.folder / (layer or self.masks) / f"{stem}.png"
        mask = _pixels(path)
        if mask.dtype != np.uint8 or mask.ndim != 2 or not np.isin(mask, (0, 255)).all():
            values = np.unique(mask)[:8].tolist()
            raise ValueError(f"{path}: mask values {values}; allowed: one channel of 0 and 255")
        return mask // 255

    def labels(self, stem: str) -> Integer[np.ndarray, "h w"]:
        """Return the class id of each pixel."""
        return _pixels(self.folder / LABELS / f"{stem}.png")

    @property
    def classes(self) -> list[str]:
        """Names of the foreground classes of a stressed folder."""
        return self.info.get("classes", [FOREGROUND])

    def target(self, stem: str) -> UInt8[np.ndarray, "h w"]:
        """Return the training target of a stressed folder: 0 is background, k the k-th class."""
        several = len(self.classes) > 1
        return self.labels(stem).astype(np.uint8) if several else self.mask(stem)

    def clean(self, stem: str) -> UInt8[np.ndarray, "h w"]:
        """Return the true mask of a stressed folder, also where training labels are corrupted."""
        return self.mask(stem, CLEAN if self.has(CLEAN) else None)

    def ignored(self, stem: str) -> UInt8[np.ndarray, "h w"] | None:
        """Return 1 for each ignored pixel of a stressed folder; None if no pixel is ignored."""
        return self.mask(stem, IGNORED) if self.has(IGNORED) else None

    def instances(self, stem: str) -> UInt16[np.ndarray, "h w"] | None:
        """Return object ids (0: no object); None if the dataset has no object ids."""
        path = self.folder / INSTANCES / f"{stem}.png"
        return _pixels(path).astype(np.uint16) if self.has(INSTANCES) else None


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in EXACT_MODES else image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None


def _size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image file, from its header alone."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None


def image_hash(image: UInt8[np.ndarray, "h w *c"]) -> str:
    """Return the SHA-256 of an image's pixels: its identity, without its file name."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def read(folder: str | Path, masks: str = MASKS) -> Prepared:
    """Check and open a prepared folder; `masks` is the folder of its masks.

    ValueError names the first file that does not fit the layout. Each image is opened once.
    """
    folder = Path(folder)
    check_folder(folder, masks, str(folder))
    info = _description(folder) if (folder / DESCRIPTION).exists() else {}
    contents = {}
    for stem in sorted(path.stem for path in (folder / IMAGES).glob("*.png")):
        image = _pixels(folder / IMAGES / f"{stem}.png")
        mask = folder / masks / f"{stem}.png"
        size, image_size = _size(mask), image.shape[1::-1]
        if size != image_size:
            raise ValueError(f"{mask}: the mask is {size} pixels, its image {image_size}")
        contents[stem] = image_hash(image)
    groups = join_groups(contents, info.get("groups") or {})
    try:
        split = split_groups(groups, info.get("split"))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    return Prepared(folder, masks, info, split)


def read_cell(folder: str | Path) -> Prepared:
    """Open the stressed folder of a cell. No file but ``dataset.json`` is read or checked."""
    info = _description(Path(folder))
    return Prepared(Path(folder), MASKS, info, info["split"])


def content(folder: str | Path) -> str:
    """Return the hash of all files that `experiments.data.writing.write` wrote to a folder."""
    return _description(Path(folder))["content"]


def _description(folder: Path) -> dict[str, Any]:
    return json.loads((folder / DESCRIPTION).read_text())
