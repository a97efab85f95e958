"""Kvasir-SEG: polyps in colonoscopy."""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets import About, File
from experiments.datasets.reading import Sample, binary, find, picture

ABOUT = About(
    title="Kvasir-SEG, gastrointestinal polyps",
    homepage="https://datasets.simula.no/kvasir-seg/",
    licence="academic and research use; commercial use by permission",
    citation="D. Jha et al. Kvasir-SEG: a segmented polyp dataset. MMM 2020. "
    "doi:10.1007/978-3-030-37734-2_37",
    files=(
        File(
            "kvasir-seg.zip",
            "https://datasets.simula.no/downloads/kvasir-seg.zip",
            "sha256:03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7",
        ),
    ),
    masks={"masks": "polyp (JPEG masks, threshold 127)"},
    notes="The server's certificate chain may be incomplete: if the connection is refused, "
    "download the file with a browser.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "Kvasir-SEG/images/*.jpg"):
        mask = binary(path.parents[1] / "masks" / path.name, above=127)
        yield Sample(path.stem, picture(path), {"masks": mask})
