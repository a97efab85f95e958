"""Windows of images: scale, fraction, and sizes of the image."""

import numpy as np
import pytest

from experiments.data import controlled
from experiments.data.windows import window


def rng(seed=0):
    return np.random.default_rng(seed)


def test_windows_keep_objects_at_their_scale_and_reach_the_fraction():
    image, mask = controlled.scene(rng(2), 160, 0.02, "large")
    for fraction in (0.1, 0.05, 0.01):
        cut, cut_mask = window(rng(), (image, mask), 64, fraction=fraction)
        assert cut_mask.mean() == pytest.approx(fraction, rel=0.3)
        views = np.lib.stride_tricks.sliding_window_view(image, (64, 64))
        assert (views == cut).all((2, 3)).any()  # it is a piece of the image, pixel by pixel
    _, half = window(rng(), (image, mask), 64, size="small")
    assert half.any()
    both, _ = window(rng(), (image, mask), 64, size="mixed")
    assert both.shape == (64, 64)


def test_windows_of_small_empty_and_colour_images():
    tiny = rng().integers(0, 255, (20, 30, 3), dtype=np.uint8)
    for size in ("large", "small", "mixed"):
        cut, mask = window(rng(), (tiny, np.zeros((20, 30), np.uint8)), 64, size=size)
        assert cut.shape == (64, 64, 3)
        assert mask.shape == (64, 64)
        assert not mask.any()
