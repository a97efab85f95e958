"""BUSI: breast ultrasound; images of the class normal have no lesion."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.datasets import About, File
from experiments.datasets.reading import Sample, binary, find, picture

ABOUT = About(
    title="BUSI, breast ultrasound images",
    homepage="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    licence="not stated",
    citation="W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy. Dataset of breast ultrasound images. "
    "Data in Brief 28:104863, 2020. doi:10.1016/j.dib.2019.104863",
    files=(
        File(
            "Dataset_BUSI.zip",
            "https://scholar.cu.edu.eg/Dataset_BUSI.zip",
            "sha256:b2ce09f6063a31a73f628b6a6ee1245187cbaec225e93e563735691d68654de7",
        ),
    ),
    masks={"masks": "lesion; images of the class normal have none"},
    notes="If a lesion has several mask files, its mask is their union. Patients are unknown.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "*).png"):
        # "benign (4).png" with "benign (4)_mask.png", "benign (4)_mask_1.png", ...
        parts = sorted(path.parent.glob(f"{path.stem}_mask*.png"))
        if not parts:
            raise ValueError(f"{path}: no mask {path.stem}_mask.png")
        kind, number = path.stem.rstrip(")").split(" (")
        mask = np.maximum.reduce([binary(part) for part in parts])
        yield Sample(f"{kind}_{number}", picture(path), {"masks": mask})
