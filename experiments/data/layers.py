"""The files of a dataset's folders as arrays: images of 8 bits, masks of 0 and 1, ids.

One rule reads all files of a folder: the same scale for all images, the same two values for all
masks. `open_images`, `open_masks` and `open_ids` find it and decode one file at a time. Without
them a folder is read as dicebench writes it: 8 bits, and masks of 0 and 255.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from PIL import ExifTags, Image

from experiments.data.decoding import decode
from experiments.files import sha256
from experiments.layout import IDS, IMAGES

DEEP = ("I;16", "I;16B", "I;16L")
"""Pillow modes of grey values with 16 bits."""
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
LOSSY = 64
"""Greatest distance from 0 or 255 of the values of masks that lossy compression changed."""

log = logging.getLogger("dicebench")


@dataclass(frozen=True)
class Layer:
    """A folder of files.

    files: stem -> path; the file of any other stem is STEM.png. sizes: stem -> width and height.
    """

    folder: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def path(self, stem: str) -> Path:
        """Return the path of a file."""
        return self.files.get(stem, self.folder / f"{stem}.png")


@dataclass(frozen=True)
class Images(Layer):
    """Images. bits: of the stored values of a grey image with 16 bits.

    hashes: stem -> SHA-256 of the stored pixels. grey: stems of the grey images.
    """

    bits: int = 8
    hashes: Mapping[str, str] = field(default_factory=dict)
    grey: Collection[str] = ()

    def read(self, stem: str) -> UInt8[np.ndarray, "h w *c"]:
        """Return an image: (h, w) if it is grey, else (h, w, 3)."""
        array = image_values(self.path(stem))
        if array.dtype == np.uint8:
            return array
        greatest = 2**self.bits - 1
        scaled = np.round(np.arange(greatest + 1) * (255 / greatest)).astype(np.uint8)
        return np.take(scaled, array, mode="clip")


@dataclass(frozen=True)
class Masks(Layer):
    """Masks of two values."""

    background: int = 0
    foreground: int = 255

    def read(self, stem: str) -> UInt8[np.ndarray, "h w"]:
        """Return a mask of 0 and 1; ValueError on other values in the file."""
        array = mask_values(self.path(stem)).array
        mask = array == self.foreground
        if not (mask | (array == self.background)).all():
            raise ValueError(
                f"{self.path(stem)}: mask values {sorted(_present(array))[:8]}; "
                f"allowed: {self.background} and {self.foreground}"
            )
        return mask.astype(np.uint8)


@dataclass(frozen=True)
class Ids(Layer):
    """Ids of classes or objects. present: the ids in the files."""

    present: Collection[int] = ()

    def read(self, stem: str) -> Integer[np.ndarray, "h w"]:
        """Return the id of each pixel, as uint8 or uint16."""
        return id_values(self.path(stem))


def written(folder: Path) -> Images | Masks | Ids:
    """Return a folder as dicebench writes it. No file is read."""
    kind = Images if folder.name == IMAGES else Ids if folder.name in IDS else Masks
    return kind(folder)


def open_images(folder: Path, files: Mapping[str, Path]) -> Images:
    """Decode all images and return them with the scale that all of them have.

    Grey values of 16 bits are scaled by the number of bits that the greatest value in the folder
    needs, at least 8. ValueError names a file that cannot be read, and files of 8 and of 16 bits.
    """
    hashes, sizes, greatest = {}, {}, {}
    grey = []
    for stem, path in files.items():
        array = image_values(path)
        hashes[stem], sizes[stem] = sha256(array.tobytes()), array.shape[1::-1]
        grey += [stem] * (array.ndim == 2)
        if array.dtype == np.uint16:
            greatest[stem] = int(array.max(initial=0))
    if not greatest:
        return Images(folder, files, sizes, hashes=hashes, grey=grey)
    if other := files.keys() - greatest.keys():
        raise ValueError(
            f"{files[min(greatest)]}: the image has 16 bits, {files[min(other)].name} has 8 bits; "
            "allowed: one depth for all images"
        )
    bits = max(8, max(greatest.values()).bit_length())
    log.info("%s/: values from 0 to %d are scaled to 8 bits", folder, 2**bits - 1)
    return Images(folder, files, sizes, bits, hashes, grey)


def open_masks(folder: Path, files: Mapping[str, Path]) -> Masks:
    """Decode all masks and return them with their two values; the greater one is foreground.

    ValueError names the first file with values that the other masks do not have, or with colours
    of its own.
    """
    values, sizes = {}, {}
    colours: dict[int, tuple[int, ...]] = {}
    for stem, path in files.items():
        array, palette = mask_values(path)
        values[path], sizes[stem] = _present(array), array.shape[::-1]
        if len(values[path]) > 2:
            _levels(values)
        if other := [v for v in palette if colours.setdefault(v, palette[v]) != palette[v]]:
            raise ValueError(
                f"{path}: index {other[0]} of the palette is the colour {palette[other[0]]}, in "
                f"other masks {colours[other[0]]}; allowed: one palette for all masks"
            )
    background, foreground = _levels(values)
    if (background, foreground) != (0, 255):
        log.info("%s/: %d is read as background, %d as foreground", folder, background, foreground)
    return Masks(folder, files, sizes, background, foreground)


def open_ids(folder: Path, files: Mapping[str, Path]) -> Ids:
    """Decode all files of ids and return them with all of their ids."""
    sizes, present = {}, set()
    for stem, path in files.items():
        array = id_values(path)
        sizes[stem] = array.shape[::-1]
        present |= _present(array)
    return Ids(folder, files, sizes, frozenset(present))


def image_values(path: Path) -> Shaped[np.ndarray, "h w *c"]:
    """Return the stored values of an image: grey as uint8 or uint16, or RGB as uint8."""
    image = decode(path)
    if image.mode.startswith(("I", "F")) and image.mode not in DEEP:
        raise ValueError(
            f"{path}: the image is {words(image)}; allowed: 8 or 16 bits (convert it: the range "
            "of its values is not in the file)"
        )
    if _is_turned(image):
        raise ValueError(
            f"{path}: the image has an EXIF orientation, which masks may follow or not; allowed: "
            "pixels in the order in which they are shown (turn it and save it without the tag)"
        )
    if image.mode in DEEP:
        return np.asarray(image).astype(np.uint16)
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except Exception:  # damaged metadata of an image that can be read
        return False


class MaskValues(NamedTuple):
    """Values of a mask, and value -> colour if they are indices of a palette."""

    array: Integer[np.ndarray, "h w"]
    palette: dict[int, tuple[int, ...]]


def mask_values(path: Path) -> MaskValues:
    """Return the values of a mask. One bit is 0 and 255; a palette is read as grey if it is grey.

    ValueError for a file of several channels that differ.
    """
    image = decode(path)
    if image.mode == "P":
        return _palette_values(image)
    bands = image.getbands()
    if image.mode in ("LA", "RGB", "RGBA"):
        array = np.asarray(image)
        colours = array[..., : len(bands) - ("A" in bands)]
        constant = "A" not in bands or array[..., -1].min() == array[..., -1].max()
        if constant and (colours == colours[..., :1]).all():
            return MaskValues(colours[..., 0], {})
        raise ValueError(
            f"{path}: the mask is {words(image)} and its channels differ; allowed: one channel, or "
            "equal ones"
        )
    return MaskValues(_one_channel(path, image.convert("L") if image.mode == "1" else image), {})


def _palette_values(image: Image.Image) -> MaskValues:
    array = np.asarray(image)
    stored = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored)] = stored
    used = sorted(_present(array))
    if (palette[used] == palette[used][:, :1]).all():
        return MaskValues(palette[:, 0][array], {})
    return MaskValues(array, {index: tuple(palette[index].tolist()) for index in used})


def id_values(path: Path) -> Integer[np.ndarray, "h w"]:
    """Return the ids in a file: its grey values, or the indices of its palette."""
    image = decode(path)
    return np.asarray(image) if image.mode == "P" else _one_channel(path, image)


def _one_channel(path: Path, image: Image.Image) -> Integer[np.ndarray, "h w"]:
    """Return the values of a file with one channel of whole numbers, as uint8 or uint16."""
    array = np.asarray(image)
    if image.mode in ("1", "L"):
        return array.astype(np.uint8)
    if image.mode in DEEP or (image.mode == "I" and array.min() >= 0 and array.max() < 2**16):
        return array.astype(np.uint16)
    raise ValueError(
        f"{path}: the file is {words(image)}; allowed: one channel of whole numbers from 0 to "
        "65535, or a palette"
    )


def _levels(values: Mapping[Path, set[int]]) -> tuple[int, int]:
    """Return background and foreground from the values in each mask."""
    present = set().union(*values.values())
    if present <= {0, 255}:
        return 0, 255
    if present == {1}:
        return 0, 1
    if len(present) == 2:
        return min(present), max(present)
    pairs = Counter(tuple(sorted(v)) for v in values.values() if len(v) == 2)
    usual = pairs.most_common(1)[0][0] if pairs else (0, 255)
    path = next(path for path, own in values.items() if not own <= {*usual})
    own = sorted(values[path])
    advice = ""
    if len(own) > 2:
        lossy = own[-1] >= 255 - LOSSY and all(min(v, abs(255 - v)) <= LOSSY for v in own)
        advice = (
            " (values near 0 and 255 come from JPEG: set a threshold and save as PNG)"
            if lossy
            else " (ids of classes belong in labels/)"
        )
    raise ValueError(f"{path}: mask values {own[:8]}; allowed: {usual[0]} and {usual[1]}{advice}")


def _present(array: Integer[np.ndarray, "h w"]) -> set[int]:
    """Return the distinct values of an array of uint8 or uint16."""
    seen = np.zeros(2**16, bool)
    seen[array] = True
    return set(np.flatnonzero(seen).tolist())


def words(image: Image.Image) -> str:
    """Return the mode of an image in words."""
    return f"{MODES.get(image.mode, 'an image')} (mode {image.mode})"
