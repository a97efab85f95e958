import copy
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

TINY = {
    "study": "tiny",
    "datasets": {"controlled": {"train": 8, "val": 4, "test": 4}},
    "losses": {"cross_entropy": {}, "dice": {}},
    "experiments": {
        "imbalance": {
            "knob": "fraction",
            "values": [0.3, 0.03],
            "hold": {"size": "small", "mosaic": 2},  # mosaics are of datasets' images only
        },
        "object_size": {
            "levels": {"large": {}, "mixed": {"size": "mixed", "fraction": 0.3, "mosaic": 2}}
        },
        "boundary": {"levels": {"sharp": {}, "jittered": {"jitter": 2}}},
        "noise": {"knob": "flips", "values": [0, 0.3]},
    },
    "seeds": [0, 1],
    "image_size": 32,
    "device": "cpu",
    "training": {
        "steps": 6,
        "batch_size": 2,
        "model_options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    },
}
"""A whole study in seconds: four experiments, six cells by two seeds and two losses."""


@pytest.fixture
def tiny():
    return copy.deepcopy(TINY)


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """The test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_halves(folder):
    """Twelve images of 32 pixels: what is on the left of an object is class 4, on the right 9."""
    import numpy as np

    from experiments.data import controlled
    from experiments.data.writing import save_image

    for i in range(12):
        image, mask = controlled.scene(np.random.default_rng(i), 32, 0.2, "small")
        labels = mask * np.where(np.arange(32) < 16, 4, 9).astype(np.uint8)
        save_image(folder / "images" / f"{i}.png", image)
        save_image(folder / "labels" / f"{i}.png", labels)


def write_folder(folder, images):
    """Grey images of 40 pixels with an object each, as a dataset of images/ and masks/."""
    import numpy as np

    from experiments.data import controlled
    from experiments.data.writing import save_image

    for i in range(images):
        image, mask = controlled.scene(np.random.default_rng(i), 40, 0.1, "large")
        save_image(folder / "images" / f"{i}.png", image)
        save_image(folder / "masks" / f"{i}.png", mask * np.uint8(255))
