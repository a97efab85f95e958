"""Write prepared folders: of a cell (`write`), and of a public dataset (`convert`)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from experiments.data import prepared
from experiments.data.splits import without_copies
from experiments.files import file_sha256, sha256, whole_folder, write_whole
from experiments.layout import DESCRIPTION, IDS, IMAGES, SPLITS

if TYPE_CHECKING:
    from experiments.datasets.reading import Sample

log = logging.getLogger("dicebench")

MANIFEST = "manifest.sha256"
"""File with the SHA-256 of each image of a converted dataset, for ``sha256sum --check``."""

Samples = Mapping[str, Sequence[tuple[str, np.ndarray, Mapping[str, np.ndarray]]]]
"""Split -> [(stem, image, {mask folder: mask})]."""


def save_image(path: Path, array: Shaped[np.ndarray, "h w *c"]) -> None:
    """Write an array of uint8 or uint16 as a PNG file; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, compress_level=1)


def write(
    folder: str | Path,
    samples: Samples,
    info: Mapping[str, Any],
) -> None:
    """Write the stressed folder of a cell, whole, in place of an older one.

    A folder that has this content already is left alone: others may be reading it.
    samples: split -> [(stem, image, {mask folder: mask})]; masks of 0 and 1, or ids.
    info: the description.
    """
    folder, files = Path(folder), set()
    content = prepared.content_hash(info.get("classes", ()))
    for split, stem, layer, array in _layers(samples):
        files.add(f"{layer}/{stem}.png")
        prepared.add_layer(content, f"{split}/{layer}/{stem}", array)
    stems = {split: [stem for stem, *_ in samples[split]] for split in SPLITS}
    info = {**info, "split": stems, "content": content.hexdigest()}
    if _holds(folder, info, files):
        return
    with whole_folder(folder) as part:
        for _, stem, layer, array in _layers(samples):
            save_image(part / layer / f"{stem}.png", array)
        _describe(part, info)


def _layers(samples: Samples) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield split, stem, folder and array of each file; 1 in a mask is 255 in its file."""
    for split in SPLITS:
        for stem, image, masks in samples[split]:
            layers = {IMAGES: image} | {
                name: mask if name in IDS else mask * 255 for name, mask in masks.items()
            }
            for layer, array in sorted(layers.items()):
                yield split, stem, layer, array


def _holds(folder: Path, info: Mapping[str, Any], files: set[str]) -> bool:
    """Return whether a folder has a description, its content and no other images.

    All images are read.
    """
    try:
        if (folder / DESCRIPTION).read_text() != _text(info):
            return False
        present = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
        return present == files and prepared.measure(folder) == info["content"]
    except (OSError, ValueError):
        return False


def _text(info: Mapping[str, Any]) -> str:
    return json.dumps(info, indent=1, sort_keys=True) + "\n"


def _describe(folder: Path, info: Mapping[str, Any]) -> None:
    write_whole(folder / DESCRIPTION, _text(info))


def convert(folder: str | Path, samples: Iterable[Sample], info: Mapping[str, Any]) -> None:
    """Write the samples of a public dataset as a prepared folder.

    Samples are written one at a time, so a dataset need not fit in memory. ``dataset.json`` gets
    `info`, the samples' splits and groups, and the foreground fractions. ValueError names the
    first sample that does not fit the layout.
    """
    with whole_folder(folder) as part:
        _convert(part, samples, info)


def _convert(folder: Path, samples: Iterable[Sample], info: Mapping[str, Any]) -> None:
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
            manifest[file] = file_sha256(folder / file)
        if sample.split:
            split.setdefault(sample.split, []).append(sample.stem)
        if sample.group:
            groups[sample.stem] = sample.group
    if not manifest:
        raise ValueError("the dataset has no images")
    text = "".join(f"{digest}  {file}\n" for file, digest in sorted(manifest.items()))
    write_whole(folder / MANIFEST, text)
    derived = {
        "split": _without_copies(folder, split, manifest) or None,
        "groups": groups or None,
        "measured": {name: _summary(values) for name, values in fractions.items()},
        "content": sha256(text),
    }
    _describe(folder, {**info, **derived})


def _without_copies(
    folder: Path, split: dict[str, list[str]], manifest: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the lists without images whose copy is in another list; log their number."""
    digests = {s: manifest[f"{IMAGES}/{s}.png"] for stems in split.values() for s in stems}
    kept = without_copies(split, digests)
    left_out = sum(map(len, split.values())) - sum(map(len, kept.values()))
    if left_out:
        log.info("%s: %d images are left out of their list: another has a copy", folder, left_out)
    return kept


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
