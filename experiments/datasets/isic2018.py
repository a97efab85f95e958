"""ISIC 2018 task 1: skin lesions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.datasets import About, File
from experiments.datasets.reading import Sample, binary, find, picture, same_size

SIDE = 512
SPLITS = {"train": "Training", "val": "Validation", "test": "Test"}
IMAGES = "ISIC2018_Task1-2_{}_Input"
MASKS = "ISIC2018_Task1_{}_GroundTruth"
CHECKSUMS = {
    "Training": (
        "80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
        "99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
    ),
    "Validation": (
        "0ea920fcfe512d12a6e620b50b50233c059f67b10146e1479c82be58ff15a797",
        "f6911e9c0a64e6d687dd3ca466ca927dd5e82145cb2163b7a1e5b37d7a716285",
    ),
    "Test": (
        "e59ae1f69f4ed16f09db2cb1d76c2a828487b63d28f6ab85997f5616869b127d",
        "2e8f6edce454a5bdee52485e39f92bd6eddf357e81f39018d05512175238ef82",
    ),
}

ABOUT = About(
    title="ISIC 2018 task 1, skin lesion boundaries",
    homepage="https://challenge.isic-archive.com/data/#2018",
    licence="CC BY-NC (unconfirmed: see the homepage)",
    citation="N. Codella et al. Skin lesion analysis toward melanoma detection 2018. "
    "arXiv:1902.03368; P. Tschandl, C. Rosendahl, H. Kittler. The HAM10000 dataset. Scientific "
    "Data 5:180161, 2018",
    files=tuple(
        File(
            f"{name}.zip",
            f"https://isic-challenge-data.s3.amazonaws.com/2018/{name}.zip",
            f"sha256:{checksum}",
        )
        for part, checksums in CHECKSUMS.items()
        for name, checksum in zip((IMAGES.format(part), MASKS.format(part)), checksums, strict=True)
    ),
    masks={"masks": "lesion"},
    notes=f"Resized to at most {SIDE} pixels a side, masks by nearest pixel. Patients are unknown.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for split, part in SPLITS.items():
        for path in find(folder / IMAGES.format(part), "ISIC_*.jpg"):
            paths = find(folder / MASKS.format(part), f"{path.stem}_segmentation.png")
            image, mask = picture(path), binary(paths[0])
            same_size(paths[0], mask, image)
            yield Sample(
                path.stem,
                _resized(image, Image.Resampling.BOX),
                {"masks": _resized(mask, Image.Resampling.NEAREST)},
                split=split,
            )


def _resized(array: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    height, width = array.shape[:2]
    scale = min(1, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(array).resize(size, resampling))
