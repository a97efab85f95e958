"""Windows of images: place, scale, pieces, borders, and sizes of the image."""

import numpy as np
import pytest

from experiments.data import controlled
from experiments.data.windows import joined, to_border, window


def rng(seed=0):
    return np.random.default_rng(seed)


def test_windows_keep_objects_at_their_scale():
    image, mask = controlled.scene(rng(2), 160, 0.02, "large")
    views = np.lib.stride_tricks.sliding_window_view(image, (64, 64))
    for place in ("at objects", "anywhere", "empty"):
        cut, cut_mask = window(rng(), (image, mask), 64, place=place)
        assert (views == cut).all((2, 3)).any()  # it is a piece of the image, pixel by pixel
        assert place == "anywhere" or cut_mask.any() == (place == "at objects")
    _, half = window(rng(), (image, mask), 64, size="small")
    assert half.any()
    both, _ = window(rng(), (image, mask), 64, size="mixed")
    assert both.shape == (64, 64)


def test_a_window_without_foreground_may_be_joined_from_pieces():
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    mask = np.zeros((64, 64), np.uint8)
    mask[30:34, :] = mask[:, 30:34] = 1
    with pytest.raises(LookupError, match="32 pixels"):
        joined(rng(), (image, mask), 32, 1)
    cut, cut_mask = joined(rng(), (image, mask), 32, 2)
    assert cut.shape == (32, 32)
    assert not cut_mask.any()
    views = np.lib.stride_tricks.sliding_window_view(image, (16, 16))
    for part in (cut[:16, :16], cut[:16, 16:], cut[16:, :16], cut[16:, 16:]):
        assert (views == part).all((2, 3)).any()


def test_halves_have_borders_of_their_own():
    left, right = np.split(to_border(16, "mixed"), 2, axis=1)
    assert left[7, 3] == 3
    assert right[7, 3] == 0  # the lower edge of the upper half window
    assert to_border(16, "small").max() == 3
    assert to_border(16, mosaic=3).shape == (48, 48)


def test_windows_of_small_empty_and_colour_images():
    tiny = rng().integers(0, 255, (20, 30, 3), dtype=np.uint8)
    for size in ("large", "small", "mixed"):
        cut, mask = window(rng(), (tiny, np.zeros((20, 30), np.uint8)), 64, size=size)
        assert cut.shape == (64, 64, 3)
        assert mask.shape == (64, 64)
        assert not mask.any()
