"""CrackForest: thin cracks in asphalt."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import io

from experiments.datasets import About, github
from experiments.datasets.reading import Sample, find, picture

BACKGROUND, CRACK, ENCLOSED, PIECE = 1, 2, 3, 4

ABOUT = About(
    title="CrackForest road cracks",
    homepage="https://github.com/cuilimeng/CrackForest-dataset",
    licence="non-commercial research only",
    citation="Y. Shi, L. Cui, Z. Qi, F. Meng, Z. Chen. Automatic road crack detection using random "
    "structured forests. IEEE TITS 17(12):3434-3445, 2016; L. Cui et al. Pavement distress "
    "detection using random decision forests. ICDS 2015",
    files=(github("cuilimeng/CrackForest-dataset", "ed57c2d96754e6c7d105805cd29aeeb3a799f267"),),
    masks={"masks": "crack (labels 2 and 4; label 3 is enclosed by cracks)"},
    notes="Only the 118 annotated images, in 8-bit grey.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    for path in find(folder, "groundTruth/*.mat"):
        try:
            labels = io.loadmat(path)["groundTruth"][0, 0]["Segmentation"]
        except Exception as error:  # a damaged file can make the reader raise almost anything
            raise ValueError(f"{path}: no groundTruth.Segmentation: {error}") from None
        unknown = np.setdiff1d(labels, (BACKGROUND, CRACK, ENCLOSED, PIECE))
        if unknown.size:
            raise ValueError(
                f"{path}: values {unknown[:8].tolist()} are not allowed; allowed: 1 to 4"
            )
        image = picture(path.parents[1] / "image" / f"{path.stem}.jpg", grey=True)
        yield Sample(path.stem, image, {"masks": np.isin(labels, (CRACK, PIECE)).astype(np.uint8)})
