"""What each stress turned: `python -m analysis.stresses CONFIG TABLE FOLDER`.

Measures every prepared dataset of a study (a row per dataset, stress, seed and split) and draws
a contact sheet for each: training images with their labels' outlines.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from PIL import Image
from scipy import ndimage

from analysis import style
from analysis.style import plt
from experiments import objects
from experiments.files import write_whole
from experiments.plan import CLEAN, IGNORED, INSTANCES, LABELS, MASKS, SPLITS, Study

COLUMNS = {
    "dataset": "",
    "stress": "",
    "seed": "",
    "split": "train, val or test; labels are corrupted in train only",
    "images": "how many",
    "empty": "share of images whose true mask is without foreground",
    "fraction": "share of foreground among the true masks' pixels (that are not ignored)",
    "label_fraction": "the same of the labels",
    "objects": "objects per image in the true masks (8-connected, of one instance where ids tell)",
    "label_objects": "the same in the labels",
    "size_q10": "10% quantile of the true objects' sizes, pixels",
    "size_q50": "their median",
    "size_q90": "90% quantile",
    "boundary": "foreground pixels that touch background by a side, as a share of the foreground",
    "agreement": "share of pixels whose label is the true one",
    "contrast": "mean grey value of foreground less that of background (white is 1)",
}
"""The table's columns."""
SHOWN = 6
"""Images in a row of a contact sheet."""
ROWS = 24
"""Stresses on one sheet."""


def _read(path):
    return np.asarray(Image.open(path))


def measure(folder, split):
    """One split of a prepared folder: COLUMNS from `images` on; ignored pixels are in none."""
    stems = json.loads((folder / "dataset.json").read_text())["split"][split]

    def layers(name):
        """Masks of all images, or None where the folder has none of that name."""
        if not (folder / name).is_dir():
            return None
        return np.stack([_read(folder / name / f"{s}.png") for s in stems])

    image = np.stack([_grey(_read(folder / "images" / f"{s}.png")) for s in stems])
    labels, clean, ignored, ids = map(layers, (MASKS, CLEAN, IGNORED, INSTANCES))
    counted = np.ones(labels.shape, bool) if ignored is None else ignored == 0
    labels = labels > 0
    masks = labels if clean is None else clean > 0
    own = [None] * len(stems) if ids is None else ids
    near = own if ids is None else map(_nearest, ids)
    sizes = [objects.label(*pair)[1] for pair in zip(masks, own, strict=True)]
    drawn = [len(objects.label(*pair)[1]) for pair in zip(labels, near, strict=True)]
    every = np.concatenate(sizes)
    edge = sum(
        (mask & ~ndimage.binary_erosion(mask | ~known, border_value=1)).sum()
        for mask, known in zip(masks, counted, strict=True)
    )
    q10, q50, q90 = np.quantile(every, [0.1, 0.5, 0.9]) if len(every) else [np.nan] * 3
    some = masks.any()
    background = image[~masks & counted]
    return {
        "images": len(stems),
        "empty": np.mean(~masks.any((1, 2))),
        "fraction": masks[counted].mean(),
        "label_fraction": labels[counted].mean(),
        "objects": len(every) / len(stems),
        "label_objects": np.mean(drawn),
        "size_q10": q10,
        "size_q50": q50,
        "size_q90": q90,
        "boundary": edge / masks.sum() if some else np.nan,
        "agreement": np.mean(labels[counted] == masks[counted]),
        "contrast": (image[masks].mean() - background.mean()) / 255 if some else np.nan,
    }


def _grey(image):
    return image if image.ndim == 2 else image.mean(axis=2)


def _nearest(instances):
    """Every pixel with the id of the object that is nearest: what was drawn may lie outside."""
    outside = instances == 0
    return instances[
        tuple(ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True))
    ]


def table(study):
    """A row for every dataset, stress, seed and split of a study."""
    rows = [
        {"dataset": dataset, "stress": name, "seed": seed, "split": split}
        | measure(Path(study.data_folder(dataset, name, seed)), split)
        for dataset in study.datasets
        for name in study.stresses(dataset)
        for seed in study.seeds
        for split in SPLITS
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def sheets(study, dataset):
    """Contact sheets of a dataset's stresses, first seed: [(figure, caption)]."""
    stresses = list(study.stresses(dataset).items())
    for first in range(0, len(stresses), ROWS):
        yield _sheet(study, dataset, stresses[first : first + ROWS])


def _sheet(study, dataset, stresses):
    seed = study.seeds[0]
    classes = study.datasets[dataset].class_names
    several = len(classes) > 1
    shades = {"cmap": ListedColormap(style.classes(classes)), "vmin": 1, "vmax": len(classes)}
    side = (style.WIDTH - 1.3) / SHOWN
    figure, axes = plt.subplots(
        len(stresses), SHOWN, figsize=(style.WIDTH, side * len(stresses) + 0.3), squeeze=False
    )
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.01, hspace=0.01, wspace=0.01)
    for row, (name, stress) in zip(axes, stresses, strict=True):
        folder = Path(study.data_folder(dataset, name, seed))
        stems = json.loads((folder / "dataset.json").read_text())["split"]["train"]
        clean = folder / CLEAN
        # Spread over the split: neighbours are often of one patient or video.
        picked = np.linspace(0, len(stems) - 1, SHOWN).round().astype(int)
        for axis, stem in zip(row, (stems[i] for i in picked), strict=True):
            axis.imshow(_read(folder / "images" / f"{stem}.png"), cmap="gray", vmin=0, vmax=255)
            if clean.is_dir():
                _outline(axis, _read(clean / f"{stem}.png"), "#56B4E9", 0.5)
            if several:
                labels = _read(folder / LABELS / f"{stem}.png")
                axis.imshow(np.ma.masked_equal(labels, 0), alpha=0.4, **shades)
            else:
                _outline(axis, _read(folder / MASKS / f"{stem}.png"), "#E69F00", 0.7)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        words = "\n".join(f"{knob} {value}" for knob, value in stress) or "as it is"
        row[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=7)
    figure.suptitle(f"{dataset}: one knob in each row", fontsize=8)
    drawn = (
        "the outlines of their labels (orange) and, where those are corrupted, of the true masks "
        "(blue)"
    )
    if several:
        style.class_legend(figure, classes)
        drawn = "their classes"
    caption = f"Training images of {dataset} under each stress (seed {seed}), with {drawn}."
    return figure, caption


def _outline(axis, mask, colour, width):
    if mask.any() and not mask.all():
        axis.contour(mask > 0, levels=[0.5], colors=colour, linewidths=width)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path, help="of the contact sheets")
    args = parser.parse_args()
    study = Study.read(args.config)
    drawn = {}
    for dataset in study.datasets:
        for number, (figure, caption) in enumerate(sheets(study, dataset), 1):
            name = f"{dataset}_{number}"
            style.save(figure, args.folder / name)
            drawn[name] = {"dataset": dataset, "caption": caption}
    write_whole(args.folder / "captions.json", json.dumps(drawn, indent=1) + "\n")
    write_whole(args.table, table(study).to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    main()
