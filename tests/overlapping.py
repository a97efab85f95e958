"""A dataset whose classes overlap, and a study of it."""

from pathlib import Path

import numpy as np

from experiments.data import prepared
from experiments.data.writing import save_image

NESTED = {"cell": "masks", "core": "core", "beside": [3]}


def write_cells(folder="cells"):
    """Cells with a core inside, and a square across the cell's edge; grey values tell them apart.

    Class ids: 1 the cell, 2 the core, 3 the square where it is beside or on the cell.
    """
    rng = np.random.default_rng(0)
    for i in range(12):
        masks = np.zeros((3, 32, 32), np.uint8)
        y, x = rng.integers(2, 12, 2)
        masks[0, y : y + 14, x : x + 14] = 1
        masks[1, y + 4 : y + 9, x + 4 : x + 9] = 1
        masks[2, y + 10 : y + 18, x + 2 : x + 10] = 1
        image = 40 + 60 * masks[0] + 90 * masks[1] + 50 * masks[2] + rng.integers(9, size=(32, 32))
        labels = np.where(masks[2], 3, np.where(masks[1], 2, masks[0]))
        layers = {"images": image, "labels": labels}
        layers |= {"masks": 255 * masks[0], "masks_core": 255 * masks[1]}
        for name, array in layers.items():
            save_image(Path(f"{folder}/{name}/{i}.png"), array.astype(np.uint8))


def config_of(tiny, knobs=None, classes=NESTED, multilabel=True, **dataset):
    """The configuration of a study of one cell, one loss and one seed."""
    own = {"folder": "cells", "classes": classes, "multilabel": multilabel}
    tiny["datasets"] = {"d": own | {"train": 7, "val": 2, "test": 3} | dataset}
    tiny["experiments"] = {"e": {"levels": {"x": knobs or {}}}}
    tiny["losses"], tiny["seeds"], tiny["reference"] = {"dice_ce": {}}, [0], "dice_ce"
    return tiny


def folder_of(study):
    """The folder of the study's cell."""
    (run,) = study.runs
    return study.data_folder(*run.cell)


def true_masks(stem, folder="cells"):
    """The masks of a stem's image, from the dataset's own files."""
    data = prepared.read(folder)
    image = stem.rpartition("-")[0]
    return np.stack([data.mask(image), data.mask(image, "masks_core"), data.labels(image) == 3])
