"""White blood cells: one compact object, the cell or its nucleus."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.datasets import About, github
from experiments.datasets.reading import Sample, find, picture, values

CYTOPLASM, NUCLEUS = 128, 255

ABOUT = About(
    title="White blood cell images, dataset 1",
    homepage="https://github.com/zxaoyou/segmentation_WBC",
    licence="GPL-3.0",
    citation="X. Zheng, Y. Wang, G. Wang, J. Liu. Fast and robust segmentation of white blood "
    "cell images by self-supervised learning. Micron 107:55-71, 2018. "
    "doi:10.1016/j.micron.2018.01.010",
    files=(github("zxaoyou/segmentation_WBC", "fa9c01622f52bccb9aeb8a6f2628f564e377767d"),),
    masks={"masks": "cell: cytoplasm and nucleus", "masks_nucleus": "nucleus"},
    notes="76 of the 300 images are smaller than the stated 120x120. 112 and 139 are equal.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "Dataset 1/*.bmp"):
        labels = values(path.with_suffix(".png"), (0, CYTOPLASM, NUCLEUS))
        masks = {
            "masks": (labels > 0).astype(np.uint8),
            "masks_nucleus": (labels == NUCLEUS).astype(np.uint8),
        }
        yield Sample(path.stem, picture(path), masks)
