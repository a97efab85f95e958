"""Properties of every stressed dataset of a study, and contact sheets of its training images."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Num, UInt16
from scipy import ndimage

from analysis.figures import contact, style
from experiments.data import objects
from experiments.data.prepared import Prepared, read_cell
from experiments.data.scenes import borders
from experiments.files import whole_folder, write_whole
from experiments.layout import CAPTIONS, CLEAN, CONTACT, IGNORED, SPLITS, STRESSES

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

COLUMNS = {
    "dataset": "",
    "stress": "",
    "seed": "",
    "split": "train, val or test; labels are corrupted in train only",
    "images": "number of images",
    "empty": "share of images without true foreground",
    "fraction": "share of foreground among the pixels of the true masks, without ignored pixels",
    "label_fraction": "the same share in the labels",
    "objects": "objects per image in the true masks (8-connected; split by object ids if any)",
    "label_objects": "the same number in the labels",
    "size_q10": "10% quantile of the true objects' sizes, pixels",
    "size_q50": "their median",
    "size_q90": "90% quantile",
    "near_border": f"share of the foreground among the {objects.NEAR_BORDER} outermost pixels of a "
    "window. With `size: small` or `size: mixed` an image of a dataset joins several windows, "
    "some at half scale. Each counts, so more of such an image is near a border",
    "cut": "share of the true objects that reach the outermost pixel of a window: the window, or "
    "the image itself, cuts them",
    "boundary": "foreground pixels with a side on the background, as a share of the foreground",
    "agreement": "share of pixels with a true label",
    "contrast": "mean grey value of foreground minus that of background (white is 1)",
}
"""Columns of ``stresses.csv``."""


def run(results: Results) -> None:
    """Write the table of the stressed datasets and the contact sheets."""
    study = results.study
    style.use()
    captions = {}
    with whole_folder(study.file(CONTACT)) as folder:
        for stem, dataset, (figure, caption) in contact.sheets(study):
            style.save(figure, folder / stem)
            captions[stem] = {"dataset": dataset, "caption": caption}
        write_whole(folder / CAPTIONS, json.dumps(captions, indent=1) + "\n")
    write_whole(study.file(STRESSES), table(study).to_csv(index=False, float_format="%.6g"))
    log.info("stresses: %s", study.file(STRESSES))


def table(study: Study) -> pd.DataFrame:
    """Return a row for every dataset, stress, seed and split of a study."""
    rows = []
    for dataset, settings in study.datasets.items():
        for stress, knobs in study.stresses(dataset).items():
            border = borders(study, settings, knobs)
            for seed in study.plan.seeds(dataset, stress):
                cell = read_cell(study.data_folder(dataset, stress, seed))
                for split in SPLITS:
                    key = {"dataset": dataset, "stress": stress, "seed": seed, "split": split}
                    rows.append(key | measure(cell, split, border))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measure(cell: Prepared, split: str, to_border: Int[np.ndarray, "h w"]) -> dict[str, float]:
    """Return the columns from `images` on for one split; ignored pixels do not count.

    to_border: see `objects.summary`.
    """
    stems = cell.split[split]
    image = np.stack([grey(cell.image(stem)) for stem in stems])
    labels = np.stack([cell.mask(stem) for stem in stems]) > 0
    masks = np.stack([cell.clean(stem) for stem in stems]) > 0 if cell.has(CLEAN) else labels
    counted = np.ones(labels.shape, bool)
    if cell.has(IGNORED):
        counted = np.stack([cell.ignored(stem) for stem in stems]) == 0
    ids = [cell.instances(stem) for stem in stems]
    near = [None if own is None else nearest(own) for own in ids]
    label_counts = [len(objects.label(*pair)[1]) for pair in zip(labels, near, strict=True)]
    some = masks.any()
    background = image[~masks & counted]
    return {
        "images": len(stems),
        "empty": np.mean(~masks.any((1, 2))),
        "fraction": masks[counted].mean(),
        "label_fraction": labels[counted].mean(),
        "label_objects": np.mean(label_counts),
        **objects.summary(masks, ids, to_border),
        "boundary": boundary_share(masks, counted) if some else np.nan,
        "agreement": np.mean(labels[counted] == masks[counted]),
        "contrast": (image[masks].mean() - background.mean()) / 255 if some else np.nan,
    }


def boundary_share(masks: Bool[np.ndarray, "n h w"], counted: Bool[np.ndarray, "n h w"]) -> float:
    """Return the share of foreground pixels that touch a counted background pixel by a side.

    >>> mask = np.zeros((1, 5, 5), bool)
    >>> mask[0, 1:4, 1:4] = True
    >>> round(float(boundary_share(mask, np.ones((1, 5, 5), bool))), 3)
    0.889
    """
    edges = sum(
        (mask & ~ndimage.binary_erosion(mask | ~known, border_value=1)).sum()
        for mask, known in zip(masks, counted, strict=True)
    )
    return edges / masks.sum()


def grey(image: Num[np.ndarray, "h w *c"]) -> Num[np.ndarray, "h w"]:
    """Return the mean over the channels of an image."""
    return image if image.ndim == 2 else image.mean(axis=2)


def nearest(instances: UInt16[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Return the id of the nearest object at every pixel; labels may be outside all objects.

    >>> nearest(np.array([[1, 0, 0, 2]], np.uint16)).tolist()
    [[1, 1, 2, 2]]
    """
    outside = instances == 0
    indices = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    return instances[tuple(indices)]
