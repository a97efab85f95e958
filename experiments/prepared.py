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
from experiments.plan import SPLITS

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
        if mask.ndim != 2 or not np.isin(mask, (0, 255)).all():
            values = np.unique(mask)[:8].tolist()
            raise ValueError(f"{path}: mask values {values}; allowed: one channel of 0 and 255")
        return mask // 255


def _read(path):
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
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

    What is missing (val, often; all, without lists) is drawn from train by groups, so that no
    group stands on two sides, and images of equal content are one group.
    """
    groups = dict(info.get("groups") or {})
    for stem in stems:
        content = hashlib.sha256(_read(folder / "images" / f"{stem}.png").tobytes()).hexdigest()
        groups.setdefault(stem, content)
    own = info.get("split") or {}
    split = {name: [s for s in own.get(name) or [] if s in groups] for name in SPLITS}
    if not own:
        split["train"] = list(stems)
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
            raise ValueError(f"{folder}: no image is left for the {name} split of {len(stems)}")
    seen = {}
    for name in SPLITS:
        for stem in split[name]:
            if seen.setdefault(groups[stem], name) != name and not own:
                raise ValueError(f"{folder}: {stem} stands in {name} and {seen[groups[stem]]}")
    return split


def _rank(group):
    return hashlib.sha256(group.encode()).hexdigest()


def write(folder, samples, info):
    """Write samples {split: [(stem, image, {masks folder: mask})]} as a prepared folder.

    ``dataset.json`` comes last and in one piece: a folder without it was cut off.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    content = hashlib.sha256()
    for split in SPLITS:
        for stem, image, masks in samples[split]:
            layers = {"images": image} | {name: mask * 255 for name, mask in masks.items()}
            for part, array in layers.items():
                (folder / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / part / f"{stem}.png", compress_level=1)
                content.update(f"{split}/{part}/{stem}{array.shape}".encode() + array.tobytes())
    info = info | {
        "split": {split: [stem for stem, *_ in samples[split]] for split in SPLITS},
        "content": content.hexdigest(),
    }
    write_whole(folder / "dataset.json", json.dumps(info, indent=1, sort_keys=True) + "\n")
