"""What the datasets' readers share: a sample, and pictures as arrays."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Sample:
    """An image of a dataset with its masks.

    image: uint8 (H, W) or (H, W, 3). masks: ``masks`` and ``masks_TARGET`` -> (H, W) of 0 and 1.
    layers: further folders (``labels``, ``instances``) -> (H, W), written as they are.
    split: of the dataset's own lists; group: images of one group stay on one side.
    """

    stem: str
    image: np.ndarray
    masks: dict
    layers: dict = field(default_factory=dict)
    split: str | None = None
    group: str | None = None


def find(folder, pattern):
    """The files below a folder that match, sorted; ValueError where there is none."""
    found = sorted(p for p in folder.rglob(pattern) if "__MACOSX" not in p.parts and p.is_file())
    if not found:
        raise ValueError(f"{folder}: there is no {pattern}; this is not the dataset's layout")
    return found


def picture(path, grey=False):
    """uint8 (H, W) for grey images, also where they are stored as colours, else (H, W, 3)."""
    with _open(path) as image:
        if grey or image.mode in ("1", "L"):
            return np.asarray(image.convert("L"))
        array = np.asarray(image.convert("RGB"))
    equal = (array == array[..., :1]).all()
    return np.ascontiguousarray(array[..., 0]) if equal else array


def values(path, allowed):
    """uint8 (H, W) of class ids; ValueError for those that do not belong."""
    with _open(path) as image:
        array = np.asarray(image if image.mode in ("L", "P") else image.convert("L"))
    strange = np.setdiff1d(array, allowed)
    if strange.size:
        raise ValueError(
            f"{path}: values {strange[:8].tolist()} do not belong; allowed: {list(allowed)}"
        )
    return array


def binary(path, above=None):
    """uint8 (H, W) of 0 and 1, from 0 and 255, or cut `above` a value where a mask has more."""
    with _open(path) as image:
        array = np.asarray(image.convert("L"))
    strange = np.setdiff1d(array, (0, 255))
    if above is None and strange.size:
        raise ValueError(f"{path}: mask values {strange[:8].tolist()}; allowed: 0 and 255")
    return (array > (above or 0)).astype(np.uint8)


def same_size(path, mask, image):
    """Refuse a mask that is not of its image's size."""
    if mask.shape != image.shape[:2]:
        raise ValueError(f"{path}: the mask is {mask.shape}, its image {image.shape[:2]}")


def _open(path):
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None
    return image
