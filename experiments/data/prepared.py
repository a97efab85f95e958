"""Read a prepared folder (its layout: `experiments.layout`), the only form of data in a study.

Images become 8 bits, grey or RGB, and masks 0 and 1 (`experiments.data.layers`). A folder without
``dataset.json``, or without splits in it, is split by a hash of its images' content
(`experiments.data.splits`). Every error names the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped, UInt8, UInt16

from experiments.data.decoding import decode
from experiments.data.layers import (
    Ids,
    Images,
    Layer,
    Masks,
    open_ids,
    open_images,
    open_masks,
    written,
)
from experiments.data.splits import (
    check_lists,
    join_groups,
    refuse_parted,
    source_names,
    split_groups,
)
from experiments.files import sha256
from experiments.layout import (
    CLEAN,
    DESCRIPTION,
    FOREGROUND,
    IDS,
    IGNORED,
    IMAGES,
    INSTANCES,
    LABELS,
    MASKS,
    SPLITS,
    check_folder,
    few,
    image_files,
    layer_of,
)

log = logging.getLogger("dicebench")


@dataclass(frozen=True)
class Prepared:
    """A prepared folder: its path, the folder of its masks, its description and its splits.

    info: content of ``dataset.json``. split: "train", "val", "test" -> stems. layers: folders that
    `read` opened; all others are read as dicebench writes them. sources: stem -> the image's group
    by name, else its stem; images of one source are not independent.
    """

    folder: Path
    masks: str
    info: dict[str, Any]
    split: dict[str, list[str]]
    layers: Mapping[str, Images | Masks | Ids] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def has(self, layer: str) -> bool:
        """Return whether the folder has a layer, such as CLEAN or IGNORED."""
        return (self.folder / layer).is_dir()

    def image(self, stem: str) -> UInt8[np.ndarray, "h w *c"]:
        """Return an image: (h, w) if it is grey, else (h, w, 3)."""
        return self._layer(IMAGES).read(stem)

    def mask(self, stem: str, layer: str | None = None) -> UInt8[np.ndarray, "h w"]:
        """Return a mask of 0 and 1 from `layer` (default: `masks`); ValueError on other values."""
        return self._layer(layer or self.masks).read(stem)

    def labels(self, stem: str) -> Integer[np.ndarray, "h w"]:
        """Return the class id of each pixel."""
        return self._layer(LABELS).read(stem)

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
        if not self.has(INSTANCES):
            return None
        return self._layer(INSTANCES).read(stem).astype(np.uint16)

    def _layer(self, name: str) -> Images | Masks | Ids:
        return self.layers.get(name) or written(self.folder / name)


def image_hash(image: UInt8[np.ndarray, "h w *c"]) -> str:
    """Return the SHA-256 of an image's pixels: its identity, without its file name."""
    return sha256(image.tobytes())


def read(
    folder: str | Path, masks: str = MASKS, further: Iterable[str] = (), *, published: bool = False
) -> Prepared:
    """Check and open a prepared folder. Its files are decoded one at a time, and not kept.

    masks: the folder of its masks. further: folders of more masks or ids to check and open.
    published: the lists are those of a public dataset, see `_splits`. ValueError names the first
    file that does not fit the layout.
    """
    folder = Path(folder)
    parts = list(dict.fromkeys([masks, *further]))
    for part in parts:
        check_folder(folder, part, str(folder))
    info = _description(folder) if (folder / DESCRIPTION).exists() else {}
    images = open_images(folder / IMAGES, image_files(folder / IMAGES))
    layers: dict[str, Images | Masks | Ids] = {IMAGES: images}
    for part in parts:
        opener = open_ids if part in IDS else open_masks
        files = image_files(folder / part)
        layers[part] = opener(folder / part, {stem: files[stem] for stem in images.files})
        for stem, size in layers[part].sizes.items():
            if size != images.sizes[stem]:
                raise ValueError(
                    f"{files[stem]}: the file is {size} pixels, its image {images.sizes[stem]}"
                )
    _log_unused(folder, layers)
    split, sources = _splits(folder, info, images, published)
    return Prepared(folder, masks, info, split, layers, sources)


def _log_unused(folder: Path, layers: Mapping[str, Layer]) -> None:
    used = {path for layer in layers.values() for path in layer.files.values()}
    present = [path for part in layers for path in sorted((folder / part).iterdir())]
    unused = [str(path.relative_to(folder)) for path in present if path not in used]
    if unused:
        log.info("%s: %d file(s) not used: %s", folder, len(unused), few(unused))


def _splits(
    folder: Path, info: Mapping[str, Any], images: Images, published: bool
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the splits by a folder's description, and the sources; ValueError names its file.

    Lists that part a group are refused. Published ones lose images: test wins over val over train.
    """
    path, contents = folder / DESCRIPTION, images.hashes
    names = {file.name: stem for stem, file in images.files.items()}
    try:
        lists, groups = check_lists(info.get("split"), info.get("groups"), contents, names)
        joined = join_groups(contents, groups)
        if not published:
            refuse_parted(lists, joined)
        split = split_groups(joined, lists)
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
    if listed and len(listed) < len(contents):
        count = len(contents) - len(listed)
        log.info("%s: %d of %d images are in no list", path, count, len(contents))
    return split, source_names(joined, groups)


def read_cell(folder: str | Path) -> Prepared:
    """Open the stressed folder of a cell. No file but ``dataset.json`` is read or checked."""
    info = _description(Path(folder))
    return Prepared(Path(folder), MASKS, info, info["split"])


def content(folder: str | Path) -> str:
    """Return the content hash that a stressed folder's description states. No file is read."""
    return _description(Path(folder))["content"]


def sources(folder: str | Path) -> dict[str, str]:
    """Return the source of each test image of a stressed folder: stem -> name.

    A source is a group of the dataset (patient, video, volume), else one of its images. Images of
    one source are not independent. Empty for generated images. No image is read.
    """
    return _description(Path(folder)).get("sources", {})


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


def _pixels(path: Path) -> np.ndarray:
    image = decode(path)
    return np.asarray(image if image.mode in ("L", "RGB", "I;16") else image.convert("RGB"))


def content_hash(classes: Iterable[str]) -> Any:
    """Return the hash of an empty stressed folder with these classes, to which layers are added."""
    return hashlib.sha256("/".join(classes).encode())


def add_layer(hashed: Any, name: str, array: Shaped[np.ndarray, "h w *c"]) -> None:
    """Add the name and the pixels of a file to a content hash."""
    hashed.update(f"{name}{array.shape}".encode() + array.tobytes())


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        info = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:  # also for a text that is not UTF-8
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(info, dict):
        raise ValueError(f"{path}: {str(info)[:40]!r} is not allowed; allowed: a JSON object")
    return info


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; ValueError if it has a key twice, of which JSON keeps the last."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"keys that occur twice: {few(twice)}")
    return entries
