"""Oxford-IIIT Pet: cats and dogs, trimaps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.datasets import About, File
from experiments.datasets.reading import Sample, find, lines, picture, values

PET, BACKGROUND, BORDER = 1, 2, 3

ABOUT = About(
    title="Oxford-IIIT Pet",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    licence="CC BY-SA 4.0 (unconfirmed: see the homepage)",
    citation="O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar. Cats and dogs. CVPR 2012",
    files=(
        File(
            "images.tar.gz",
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
        ),
        File(
            "annotations.tar.gz",
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
            "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
        ),
    ),
    masks={"masks": "pet without its border", "masks_with_border": "pet with its border"},
    notes="labels/ has the trimap: 0 pet, 1 background, 2 border. trainval and test are the "
    "dataset's own lists; validation images are taken from trainval.",
    classes=("pet", "background"),
    ignore=BORDER - 1,
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for split, name in (("train", "trainval"), ("test", "test")):
        lists = find(folder, f"annotations/{name}.txt")[0]
        for line in filter(str.strip, lines(lists)):
            stem = line.split()[0]
            trimap = values(lists.parent / "trimaps" / f"{stem}.png", (PET, BACKGROUND, BORDER))
            masks = {
                "masks": (trimap == PET).astype(np.uint8),
                "masks_with_border": (trimap != BACKGROUND).astype(np.uint8),
            }
            image = picture(folder / "images" / "images" / f"{stem}.jpg")
            yield Sample(stem, image, masks, {"labels": trimap - 1}, split)
