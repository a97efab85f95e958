"""The prepared layout, the only one that anything trains on: write, read, check.

A folder with ``images/STEM.png``, ``masks/STEM.png`` (0/255) of equal stems and sizes, further
targets in ``masks_TARGET/``, and ``dataset.json`` (splits, groups, provenance). A folder without
``dataset.json`` is split by a hash of its images' content.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.config import prepared_folder
from experiments.files import write_whole
from experiments.plan import FOREGROUND, IDS, IGNORED, INSTANCES, LABELS, SPLITS

PLAIN = ("L", "RGB", "I;16")
"""Modes of an image whose pixels are read as they are."""
SHARES = {"test": 0.2, "val": 0.2}  # where a dataset brings no split of its own


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset: its description, and the stems of each split."""

    folder: Path
    masks: str
    info: dict
    split: dict

    def image(self, stem):
        """uint8 (H, W) for grey images, (H, W, 3) for the others."""
        return _read(self.folder / "images" / f"{stem}.png")

    def mask(self, stem, masks=None):
        """uint8 (H, W) of 0 and 1."""
        path = self.folder / (masks or self.masks) / f"{stem}.png"
        mask = _read(path)
        if mask.dtype != np.uint8 or mask.ndim != 2 or not np.isin(mask, (0, 255)).all():
            values = np.unique(mask)[:8].tolist()
            raise ValueError(f"{path}: mask values {values}; allowed: one channel of 0 and 255")
        return mask // 255

    def labels(self, stem):
        """(H, W) of class ids."""
        return _read(self.folder / LABELS / f"{stem}.png")

    @property
    def classes(self):
        """Names of the classes that are learned on a stressed folder."""
        return self.info.get("classes", [FOREGROUND])

    def target(self, stem):
        """uint8 (H, W), what is learned of a stressed folder: 0 background, k the k-th class."""
        several = len(self.classes) > 1
        return self.labels(stem).astype(np.uint8) if several else self.mask(stem)

    def ignored(self, stem):
        """uint8 (H, W), 1 where a pixel counts for nothing, of a stressed folder; or None."""
        return self.mask(stem, IGNORED) if (self.folder / IGNORED).is_dir() else None

    def instances(self, stem):
        """(H, W) ids of objects, 0 where there is none, or None where nobody has told them."""
        path = self.folder / INSTANCES
        return _read(path / f"{stem}.png").astype(np.uint16) if path.is_dir() else None


def _read(path):
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in PLAIN else image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None


def read(folder, masks="masks"):
    """Open a prepared folder; ValueError names the file that does not fit the layout."""
    folder = Path(folder)
    prepared_folder(folder, masks, str(folder))
    path = folder / "dataset.json"
    info = json.loads(path.read_text()) if path.exists() else {}
    stems = sorted(p.stem for p in (folder / "images").glob("*.png"))
    for stem in stems:
        sizes = []
        for part in ("images", masks):
            file = folder / part / f"{stem}.png"
            try:
                with Image.open(file) as image:
                    sizes.append(image.size)
            except (OSError, SyntaxError) as error:
                raise ValueError(f"{file}: cannot be read as an image: {error}") from None
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{folder / masks / stem}.png: the mask is {sizes[1]} pixels, its image {sizes[0]}"
            )
    return Prepared(folder, masks, info, _split(folder, stems, info))


def content(folder):
    """The hash of everything that a folder written by `write` holds."""
    return json.loads(Path(folder, "dataset.json").read_text())["content"]


def _split(folder, stems, info):
    """Train, val and test stems: the dataset's own lists, filled up by content hash.

    No group stands on two sides: where own lists part one, it keeps to test before val before
    train. What is missing (val, often; all, without lists) is drawn from train by groups.
    """
    groups = _groups(folder, stems, info.get("groups") or {})
    own = info.get("split") or {"train": stems}
    split, taken = {}, set()
    for name in reversed(SPLITS):
        split[name] = [s for s in own.get(name) or [] if s in groups and groups[s] not in taken]
        taken |= {groups[s] for s in split[name]}
    ordered = sorted({groups[s] for s in split["train"]}, key=_rank)
    for name, share in SHARES.items():
        if split[name]:
            continue
        # Groups by rank until the share is reached; at least one, and one left to train on.
        wanted, taken = share * len(stems), []
        while len(ordered) > 1 and len(taken) < max(1, wanted):
            group = ordered.pop(0)
            taken += [s for s in split["train"] if groups[s] == group]
        split[name] = taken
        split["train"] = [s for s in split["train"] if s not in taken]
    for name in SPLITS:
        if not split[name]:
            raise ValueError(
                f"{folder}: no image is left for the {name} split of {len(stems)}; images of one "
                "group, or of the same content, stay in one split"
            )
    return {name: split[name] for name in SPLITS}


def _groups(folder, stems, named):
    """Stem -> the group it stays with: images of one name in `named`, or of equal content.

    A group is called by the lowest content hash in it, so that names and order do not matter.
    """
    parent = {}

    def root(key):
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    contents = {}
    for stem in stems:
        pixels = _read(folder / "images" / f"{stem}.png")
        contents[stem] = hashlib.sha256(pixels.tobytes()).hexdigest()
        if stem in named:  # "group" sorts behind every hexadecimal hash
            low, high = sorted((root(contents[stem]), root(f"group {named[stem]}")))
            parent[high] = low
    return {stem: root(contents[stem]) for stem in stems}


def _rank(group):
    return hashlib.sha256(group.encode()).hexdigest()


def write(folder, samples, info):
    """Write samples {split: [(stem, image, {masks folder: mask})]} as a prepared folder.

    ``dataset.json`` comes last and in one piece: a folder without it was cut off.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    content = hashlib.sha256("/".join(info.get("classes", ())).encode())
    for split in SPLITS:
        for stem, image, masks in samples[split]:
            layers = {"images": image} | {
                name: mask if name in IDS else mask * 255 for name, mask in masks.items()
            }
            for part, array in layers.items():
                _save(folder / part / f"{stem}.png", array)
                content.update(f"{split}/{part}/{stem}{array.shape}".encode() + array.tobytes())
    split = {split: [stem for stem, *_ in samples[split]] for split in SPLITS}
    _describe(folder, info | {"split": split, "content": content.hexdigest()})


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, compress_level=1)


def _describe(folder, info):
    write_whole(folder / "dataset.json", json.dumps(info, indent=1, sort_keys=True) + "\n")


def convert(folder, samples, info):
    """Write a dataset's samples (`experiments.datasets.reading.Sample`) as a prepared folder.

    One sample at a time, so that a dataset need not fit in memory. Beside ``dataset.json`` (the
    split and groups that the samples tell; what was measured) stands ``manifest.sha256``, a line
    for each file that ``sha256sum --check`` reads. ValueError names the image that does not fit.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    split, groups, fractions, manifest = {}, {}, {}, {}
    for sample in samples:
        _fits(sample, set(info["masks"]), manifest)
        layers = {"images": sample.image} | sample.layers
        for name, mask in sample.masks.items():
            fractions.setdefault(name, []).append(float(mask.mean()))
            layers[name] = mask * np.uint8(255)
        for part, array in layers.items():
            file = f"{part}/{sample.stem}.png"
            _save(folder / file, array)
            manifest[file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        if sample.split:
            split.setdefault(sample.split, []).append(sample.stem)
        if sample.group:
            groups[sample.stem] = sample.group
    if not manifest:
        raise ValueError("there is no image in it")
    text = "".join(f"{digest}  {file}\n" for file, digest in sorted(manifest.items()))
    write_whole(folder / "manifest.sha256", text)
    measured = {
        name: {
            "images": len(values),
            "empty": values.count(0.0),
            "foreground_fraction": {
                "mean": float(np.mean(values)),
                "min": min(values),
                "max": max(values),
            },
        }
        for name, values in fractions.items()
    }
    info = info | {
        "split": split or None,
        "groups": groups or None,
        "measured": measured,
        "content": hashlib.sha256(text.encode()).hexdigest(),
    }
    _describe(folder, info)


def _fits(sample, masks, manifest):
    """Refuse a sample that the prepared layout cannot hold."""
    stem, size = sample.stem, sample.image.shape[:2]
    if f"images/{stem}.png" in manifest:
        raise ValueError(f"{stem}: stands there twice")
    if set(sample.masks) != masks:
        raise ValueError(f"{stem}: has {sorted(sample.masks)}, not {sorted(masks)}")
    for name, array in (sample.masks | sample.layers).items():
        if array.shape != size:
            raise ValueError(f"{name}/{stem}: the mask is {array.shape}, its image {size}")
        if name in masks and array.max(initial=0) > 1:
            values = np.unique(array)[:8].tolist()
            raise ValueError(f"{name}/{stem}: mask values {values}; allowed: 0 and 1")
