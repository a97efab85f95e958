"""CHASE_DB1: retinal vessels, drawn by two observers."""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets import About, File
from experiments.datasets.reading import Sample, binary, find, picture

ABOUT = About(
    title="CHASE_DB1 retinal vessel reference dataset",
    homepage="https://researchdata.kingston.ac.uk/96/",
    licence="CC BY 4.0",
    citation="M. M. Fraz et al. An ensemble classification-based approach applied to retinal "
    "blood vessel segmentation. IEEE TBME 59(9):2538-2548, 2012. doi:10.1109/TBME.2012.2205687",
    files=(File("CHASEDB1.zip", "https://researchdata.kingston.ac.uk/96/1/CHASEDB1.zip"),),
    masks={"masks": "vessels, first observer", "masks_2nd_observer": "vessels, second observer"},
    notes="A group is a child with two eyes. The split is the usual one (the last 8 of 28 images "
    "are the test set), not an official one. Vessels are a pixel wide: do not halve the scale.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "Image_*.jpg"):
        first, second = (
            binary(path.with_name(f"{path.stem}_{order}HO.png")) for order in ("1st", "2nd")
        )
        child = path.stem.removeprefix("Image_")[:2]
        yield Sample(
            path.stem,
            picture(path),
            {"masks": first, "masks_2nd_observer": second},
            split="train" if int(child) <= 10 else "test",
            group=child,
        )
