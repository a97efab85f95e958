"""Drosophila ventral nerve cord, electron microscopy: membranes, mitochondria, synapses."""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets import About, github
from experiments.datasets.reading import Sample, binary, find, picture, same_size

SPLITS = {"train": range(13), "val": range(14, 16), "test": range(17, 20)}

ABOUT = About(
    title="Segmented anisotropic ssTEM dataset of neural tissue (Drosophila VNC), stack 1",
    homepage="https://github.com/unidesigner/groundtruth-drosophila-vnc",
    licence="CC BY-NC-SA 3.0",
    citation="S. Gerhard, J. Funke, J. Martel, A. Cardona, R. Fetter. Segmented anisotropic ssTEM "
    "dataset of neural tissue. figshare, 2013. doi:10.6084/m9.figshare.856713",
    files=(
        github(
            "unidesigner/groundtruth-drosophila-vnc", "4a5f051466d24d8dc1e855ab55658bb1b1dcd6bf"
        ),
    ),
    masks={
        "masks": "cell membranes",
        "masks_mitochondria": "mitochondria (threshold 127)",
        "masks_synapses": "synapses",
    },
    notes="Four quadrants of each section, SECTION_qROWCOLUMN. Neighbouring sections are "
    "almost equal: splits are blocks of sections, with one unused section between two blocks.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "stack1/raw/*.tif"):
        section = path.stem
        split = next((name for name, block in SPLITS.items() if int(section) in block), None)
        if split is None:
            continue
        stack = path.parents[1]
        image = picture(path)
        masks = {
            "masks": binary(stack / "membranes" / f"{section}.png"),
            "masks_mitochondria": binary(stack / "mitochondria" / f"{section}.png", above=127),
            "masks_synapses": binary(stack / "synapses" / f"{section}.png"),
        }
        for name, mask in masks.items():
            same_size(f"{path}, {name}", mask, image)
        height, width = (side // 2 for side in image.shape)
        for row in (0, 1):
            for column in (0, 1):
                quadrant = (
                    slice(row * height, (row + 1) * height),
                    slice(column * width, (column + 1) * width),
                )
                yield Sample(
                    f"{section}_q{row}{column}",
                    image[quadrant],
                    {name: mask[quadrant] for name, mask in masks.items()},
                    split=split,
                    group=section,
                )
