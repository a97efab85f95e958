"""Tools of the datasets' readers: a sample, and image files as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from experiments.data.decoding import decode


@dataclass(frozen=True)
class Sample:
    """An image of a dataset with its masks.

    image: (h, w) or (h, w, 3). masks: ``masks`` and ``masks_TARGET`` -> (h, w) of 0 and 1.
    layers: further folders (``labels``, ``instances``) -> (h, w), written unchanged. split: the
    dataset's own one, or None. group: images of one group share a split.
    """

    stem: str
    image: UInt8[np.ndarray, "h w *c"]
    masks: dict[str, UInt8[np.ndarray, "h w"]]
    layers: dict[str, Shaped[np.ndarray, "h w"]] = field(default_factory=dict)
    split: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the stem, which may come from a file's text, is no file name."""
        if Path(self.stem).name != self.stem or self.stem in ("", ".."):
            raise ValueError(f"{self.stem!r} is not allowed; allowed: a file name without a folder")


def find(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match, sorted; ValueError if there is none."""
    files = sorted(p for p in folder.rglob(pattern) if "__MACOSX" not in p.parts and p.is_file())
    if not files:
        raise ValueError(f"{folder}: no file matches {pattern}; this is not the dataset's layout")
    return files


def lines(path: Path) -> list[str]:
    """Return the lines of a text; ValueError names a file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as text: {error}") from None


def picture(path: Path, grey: bool = False) -> UInt8[np.ndarray, "h w *c"]:
    """Return (h, w) for grey images, even if they are stored in colour, else (h, w, 3).

    grey: convert colours to grey.
    """
    image = decode(path)
    if grey or image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    array = np.asarray(image.convert("RGB"))
    equal = (array == array[..., :1]).all()
    return np.ascontiguousarray(array[..., 0]) if equal else array


def values(path: Path, allowed: Sequence[int]) -> UInt8[np.ndarray, "h w"]:
    """Return class ids; ValueError for ids that are not allowed."""
    image = decode(path)
    array = np.asarray(image if image.mode in ("L", "P") else image.convert("L"))
    unknown = np.setdiff1d(array, allowed)
    if unknown.size:
        raise ValueError(
            f"{path}: values {unknown[:8].tolist()} are not allowed; allowed: {list(allowed)}"
        )
    return array


def binary(path: Path, above: int | None = None) -> UInt8[np.ndarray, "h w"]:
    """Return a mask of 0 and 1: from 0 and 255, or 1 for each value greater than `above`."""
    array = np.asarray(decode(path).convert("L"))
    unknown = np.setdiff1d(array, (0, 255))
    if above is None and unknown.size:
        raise ValueError(f"{path}: mask values {unknown[:8].tolist()}; allowed: 0 and 255")
    return (array > (above or 0)).astype(np.uint8)


def same_size(path: Path | str, mask: np.ndarray, image: np.ndarray) -> None:
    """Raise ValueError if a mask does not have its image's size."""
    if mask.shape != image.shape[:2]:
        raise ValueError(f"{path}: the mask is {mask.shape}, its image {image.shape[:2]}")
