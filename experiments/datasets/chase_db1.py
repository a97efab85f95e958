"""CHASE_DB1: retinal vessels, drawn by two observers."""

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
    notes="Groups are the children: two eyes each. The split is the customary one (the last 8 of "
    "28 images for the test), not an official one. Vessels are a pixel wide: not to be halved.",
)


def samples(folder):
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
