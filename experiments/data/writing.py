"""Write prepared folders: of a cell (`write`), and of a public dataset (`convert`)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from experiments.files import write_whole
from experiments.layout import DESCRIPTION, IDS, IMAGES, SPLITS

if TYPE_CHECKING:
    from experiments.datasets.reading import Sample

MANIFEST = "manifest.sha256"
"""File with the SHA-256 of each image of a converted dataset, for ``sha256sum --check``."""


def save_image(path: Path, array: Shaped[np.ndarray, "h w *c"]) -> None:
    """Write an array of uint8 or uint16 as a PNG file; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, compress_level=1)


def write(
    folder: str | Path,
    samples: Mapping[str, Sequence[tuple[str, np.ndarray, Mapping[str, np.ndarray]]]],
    info: Mapping[str, Any],
) -> None:
    """Write the stressed folder of a cell, in place of an older one.

    samples: split -> [(stem, image, {mask folder: mask})]; masks of 0 and 1, or ids.
    info: the description. ``dataset.json`` is written last, so a folder without it is incomplete.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    content = hashlib.sha256("/".join(info.get("classes", ())).encode())
    for split in SPLITS:
        for stem, image, masks in samples[split]:
            layers = {IMAGES: image} | {
                name: mask if name in IDS else mask * 255 for name, mask in masks.items()
            }
            for layer, array in layers.items():
                save_image(folder / layer / f"{stem}.png", array)
                content.update(f"{split}/{layer}/{stem}{array.shape}".encode() + array.tobytes())
    stems = {split: [stem for stem, *_ in samples[split]] for split in SPLITS}
    _describe(folder, {**info, "split": stems, "content": content.hexdigest()})


def _describe(folder: Path, info: Mapping[str, Any]) -> None:
    write_whole(folder / DESCRIPTION, json.dumps(info, indent=1, sort_keys=True) + "\n")


def convert(folder: str | Path, samples: Iterable[Sample], info: Mapping[str, Any]) -> None:
    """Write the samples of a public dataset as a prepared folder.

    Samples are written one at a time, so a dataset need not fit in memory. ``dataset.json`` gets
    `info`, the samples' splits and groups, and the foreground fractions. ValueError names the
    first sample that does not fit the layout.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    split: dict[str, list[str]] = {}
    groups: dict[str, str] = {}
    fractions: dict[str, list[float]] = {}
    manifest: dict[str, str] = {}
    for sample in samples:
        _check_sample(sample, set(info["masks"]), manifest)
        layers = {IMAGES: sample.image} | sample.layers
        for name, mask in sample.masks.items():
            fractions.setdefault(name, []).append(float(mask.mean()))
            layers[name] = mask * np.uint8(255)
        for layer, array in layers.items():
            file = f"{layer}/{sample.stem}.png"
            save_image(folder / file, array)
            manifest[file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        if sample.split:
            split.setdefault(sample.split, []).append(sample.stem)
        if sample.group:
            groups[sample.stem] = sample.group
    if not manifest:
        raise ValueError("the dataset has no images")
    text = "".join(f"{digest}  {file}\n" for file, digest in sorted(manifest.items()))
    write_whole(folder / MANIFEST, text)
    derived = {
        "split": split or None,
        "groups": groups or None,
        "measured": {name: _summary(values) for name, values in fractions.items()},
        "content": hashlib.sha256(text.encode()).hexdigest(),
    }
    _describe(folder, {**info, **derived})


def _summary(fractions: list[float]) -> dict[str, Any]:
    """Return counts of images and of empty masks, and the foreground fractions of one target."""
    return {
        "images": len(fractions),
        "empty": fractions.count(0.0),
        "foreground_fraction": {
            "mean": float(np.mean(fractions)),
            "min": min(fractions),
            "max": max(fractions),
        },
    }


def _check_sample(sample: Sample, masks: set[str], manifest: Mapping[str, str]) -> None:
    """Raise ValueError if a sample does not fit the layout or its stem is already in `manifest`."""
    stem, size = sample.stem, sample.image.shape[:2]
    if f"{IMAGES}/{stem}.png" in manifest:
        raise ValueError(f"{stem}: duplicate image name")
    if set(sample.masks) != masks:
        raise ValueError(f"{stem}: the masks are {sorted(sample.masks)}, not {sorted(masks)}")
    for name, array in (sample.masks | sample.layers).items():
        if array.shape != size:
            raise ValueError(f"{name}/{stem}: the mask is {array.shape}, its image {size}")
        if name in masks and array.max(initial=0) > 1:
            values = np.unique(array)[:8].tolist()
            raise ValueError(f"{name}/{stem}: mask values {values}; allowed: 0 and 1")
