"""DRIVE: retinal vessels. It requires registration and is not downloaded automatically."""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets import About, File
from experiments.datasets.reading import Sample, binary, find, picture

ABOUT = About(
    title="DRIVE, digital retinal images for vessel extraction",
    homepage="https://drive.grand-challenge.org/",
    licence="registration; no redistribution",
    citation="J. Staal, M. D. Abràmoff, M. Niemeijer, M. A. Viergever, B. van Ginneken. "
    "Ridge-based vessel segmentation in color images of the retina. IEEE TMI 23(4):501-509, 2004",
    files=(
        File(
            "training.zip",
            None,
            "sha256:7101e19598e2b7aacdbd5e6e7575057b9154a4aaec043e0f4e28902bf4e2e209",
        ),
        File(
            "test.zip",
            None,
            "sha256:d76c95c98a0353487ffb63b3bb2663c00ed1fde7d8fdfd8c3282c6e310a02731",
        ),
    ),
    masks={"masks": "vessels, first observer"},
    ask="register at https://drive.grand-challenge.org/ and download the training and test sets",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for split, part in (("train", "training"), ("test", "test")):
        for path in find(folder, f"{part}/images/*.tif"):
            number = path.stem.split("_")[0]
            mask = binary(path.parents[1] / "1st_manual" / f"{number}_manual1.gif")
            yield Sample(path.stem, picture(path), {"masks": mask}, split=split)
