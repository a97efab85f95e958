"""Read a prepared folder (its layout: `experiments.layout`), the only form of data in a study.

Images are PNG files of 8 bits, grey or RGB. Masks hold 0 and 255. A folder without
``dataset.json``, or without splits in it, is split by a hash of its images' content
(`experiments.data.splits`). Every error names the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped, UInt8, UInt16
from PIL import Image

from experiments.data.decoding import decode
from experiments.data.splits import check_lists, join_groups, split_groups
from experiments.files import sha256
from experiments.layout import (
    CLEAN,
    DESCRIPTION,
    FOREGROUND,
    IGNORED,
    IMAGES,
    INSTANCES,
    LABELS,
    MASKS,
    SPLITS,
    check_folder,
    layer_of,
)

EXACT_MODES = ("L", "RGB", "I;16")
"""Pillow modes that are read unchanged; all others are converted to RGB."""
MODES = {
    "1": "1 bit",
    "L": "grey, 8 bits",
    "I;16": "grey, 16 bits",
    "I": "grey, 32 bits",
    "F": "floating point",
    "P": "palette",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "LA": "grey with transparency",
}
"""Pillow mode -> words for it."""
WIDE = ("I", "F")
"""First letters of the modes with more than 8 bits."""

log = logging.getLogger("dicebench")


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
        """Return an image: (h, w) if it is grey, else (h, w, 3); ValueError above 8 bits."""
        return _image(self.folder / IMAGES / f"{stem}.png")

    def mask(self, stem: str, layer: str | None = None) -> UInt8[np.ndarray, "h w"]:
        """Return a mask of 0 and 1 from `layer` (default: `masks`); ValueError on other values."""
        path = self.folder / (layer or self.masks) / f"{stem}.png"
        mask = _grey(path, ("L",), "a mask of 0 and 255")
        if not np.isin(mask, (0, 255)).all():
            raise ValueError(
                f"{path}: mask values {np.unique(mask)[:8].tolist()}; allowed: 0 and 255"
            )
        return mask // 255

    def labels(self, stem: str) -> Integer[np.ndarray, "h w"]:
        """Return the class id of each pixel."""
        return _grey(self.folder / LABELS / f"{stem}.png", ("L", "I;16"), "class ids")

    @property
    def classes(self) -> list[str]:
        """Names of the foreground classes of a stressed folder."""
        return self.info.get("classes", [FOREGROUND])

    @property
    def multilabel(self) -> bool:
        """Whether the classes of a stressed folder may overlap: then each has its own masks."""
        return self.has(layer_of(self.classes[0]))

    def target(self, stem: str) -> UInt8[np.ndarray, "h w *k"]:
        """Return the training target of a stressed folder.

        (h, w): 0 is background, k the k-th class. Multi-label: a mask of each class, (h, w, k).
        """
        if self.multilabel:
            masks = [self.mask(stem, layer_of(name)) for name in self.classes]
            return np.stack(masks, axis=-1)
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
        if not self.has(INSTANCES):
            return None
        return _grey(path, ("L", "I;16"), "object ids").astype(np.uint16)


def _pixels(path: Path) -> np.ndarray:
    image = decode(path)
    return np.asarray(image if image.mode in EXACT_MODES else image.convert("RGB"))


def _image(path: Path) -> UInt8[np.ndarray, "h w *c"]:
    image = decode(path)
    if image.mode.startswith(WIDE):
        raise ValueError(
            f"{path}: the image is {_words(image)}; allowed: 8 bits, grey or RGB (convert it: the "
            "range of its values is not in the file)"
        )
    return np.asarray(image if image.mode in EXACT_MODES else image.convert("RGB"))


def _grey(path: Path, modes: Sequence[str], content: str) -> Integer[np.ndarray, "h w"]:
    """Return the values of a file of one channel; ValueError if it has another mode."""
    image = decode(path)
    if image.mode not in modes:
        allowed = " or ".join(f"{MODES[mode]} (mode {mode})" for mode in modes)
        raise ValueError(f"{path}: the file is {_words(image)}; allowed: {content}, {allowed}")
    return np.asarray(image)


def _words(image: Image.Image) -> str:
    return f"{MODES.get(image.mode, 'an image')} (mode {image.mode})"


def image_hash(image: UInt8[np.ndarray, "h w *c"]) -> str:
    """Return the SHA-256 of an image's pixels: its identity, without its file name."""
    return sha256(image.tobytes())


def read(folder: str | Path, masks: str = MASKS) -> Prepared:
    """Check and open a prepared folder; `masks` is the folder of its masks.

    ValueError names the first file that does not fit the layout. Each image is opened once.
    """
    folder = Path(folder)
    check_folder(folder, masks, str(folder))
    info = _description(folder) if (folder / DESCRIPTION).exists() else {}
    contents = {}
    for stem in sorted(path.stem for path in (folder / IMAGES).glob("*.png")):
        image = _image(folder / IMAGES / f"{stem}.png")
        mask = folder / masks / f"{stem}.png"
        size, image_size = decode(mask, pixels=False).size, image.shape[1::-1]
        if size != image_size:
            raise ValueError(f"{mask}: the mask is {size} pixels, its image {image_size}")
        contents[stem] = image_hash(image)
    return Prepared(folder, masks, info, _splits(folder, info, contents))


def _splits(
    folder: Path, info: Mapping[str, Any], contents: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the splits by a folder's description; ValueError names its file."""
    path = folder / DESCRIPTION
    try:
        lists, groups = check_lists(info.get("split"), info.get("groups"), contents)
        split = split_groups(join_groups(contents, groups), lists)
    except ValueError as error:
        raise ValueError(f"{path if info else folder}: {error}") from None
    listed = {stem for stems in lists.values() for stem in stems}
    unused = listed - {stem for stems in split.values() for stem in stems}
    if unused:
        log.info(
            "%s: %d of %d images are left out: another list has images of their group",
            path,
            len(unused),
            len(listed),
        )
    return split


def read_cell(folder: str | Path) -> Prepared:
    """Open the stressed folder of a cell. No file but ``dataset.json`` is read or checked."""
    info = _description(Path(folder))
    return Prepared(Path(folder), MASKS, info, info["split"])


def content(folder: str | Path) -> str:
    """Return the content hash that a stressed folder's description states. No file is read."""
    return _description(Path(folder))["content"]


def measure(folder: str | Path) -> str:
    """Return the content hash of a stressed folder, computed from the pixels of its files.

    `experiments.data.writing.write` computes it in the same way. A missing file changes it.
    """
    folder = Path(folder)
    info = _description(folder)
    layers = sorted(path.name for path in folder.iterdir() if path.is_dir())
    hashed = content_hash(info.get("classes", ()))
    for split in SPLITS:
        for stem in info["split"][split]:
            for layer in layers:
                if (path := folder / layer / f"{stem}.png").is_file():
                    add_layer(hashed, f"{split}/{layer}/{stem}", _pixels(path))
    return hashed.hexdigest()


def content_hash(classes: Iterable[str]) -> Any:
    """Return the hash of an empty stressed folder with these classes, to which layers are added."""
    return hashlib.sha256("/".join(classes).encode())


def add_layer(hashed: Any, name: str, array: Shaped[np.ndarray, "h w *c"]) -> None:
    """Add the name and the pixels of a file to a content hash."""
    hashed.update(f"{name}{array.shape}".encode() + array.tobytes())


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also for a text that is not UTF-8
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(info, dict):
        raise ValueError(f"{path}: {str(info)[:40]!r} is not allowed; allowed: a JSON object")
    return info
