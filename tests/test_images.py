"""Generated images, and the knobs of images and labels as functions."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from experiments.data import controlled, objects, stress
from experiments.plan.knobs import KNOBS, LABEL_KNOBS


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", ["large", "small", "mixed"])
@pytest.mark.parametrize("fraction", [0.3, 0.06, 0.012, 0.003])
def test_the_foreground_fraction_is_exact_to_the_pixel(size, fraction):
    for seed in range(3):
        image, mask = controlled.scene(rng(seed), 64, fraction, size)
        assert image.shape == mask.shape == (64, 64)
        assert image.dtype == mask.dtype == np.uint8
        assert mask.sum() == round(fraction * 64 * 64)


def test_fraction_is_the_number_of_objects_and_not_their_size():
    def areas(fraction):
        labels = [
            ndimage.label(controlled.scene(rng(s), 64, fraction, "small")[1]) for s in range(20)
        ]
        return np.mean([n for _, n in labels]), np.concatenate(
            [np.bincount(label.ravel())[1:] for label, _ in labels]
        )

    (few, small), (many, same) = areas(0.003), areas(0.03)
    assert few == pytest.approx(1, abs=0.3)
    assert many == pytest.approx(10, rel=0.2)
    assert np.median(same) == pytest.approx(np.median(small), rel=0.25)


def test_a_mixed_scene_has_one_large_object_among_small_ones():
    _, mask = controlled.scene(rng(1), 64, 0.06, "mixed")
    areas = np.sort(np.bincount(ndimage.label(mask)[0].ravel())[1:])
    assert len(areas) >= 4
    assert areas[-1] > 6 * areas[:-1].max()


def test_flips_jitter_and_blur_change_as_much_as_they_are_set():
    _, mask = controlled.scene(rng(), 64, 0.06, "large")
    flipped = stress.flips(rng(), mask, 0.2)
    assert np.mean(flipped != mask) == pytest.approx(0.2, abs=0.02)
    moved = stress.jitter(rng(), mask, 2.0)
    inside, outside = (ndimage.distance_transform_edt(m) for m in (mask, 1 - mask))
    distances = np.where(mask, inside, outside)[moved != mask]
    assert 0 < distances.mean() < 3  # only pixels near the boundary change
    assert distances.max() < 8
    assert moved.mean() == pytest.approx(mask.mean(), rel=0.3)
    assert not stress.jitter(rng(), np.zeros_like(mask), 2.0).any()
    step = np.repeat([[0] * 16 + [255] * 16], 32, 0).astype(np.uint8)
    assert len(np.unique(stress.blur(rng(), step, 2.0))) > 6


@pytest.mark.parametrize("knobs", [{"rough": 0.2}, {"overlap": 1.0}])
def test_outlines_and_overlap_keep_the_fraction(knobs):
    plain = [controlled.scene(rng(i), 64, 0.2, "large")[1] for i in range(10)]
    changed = [controlled.scene(rng(i), 64, 0.2, "large", **knobs)[1] for i in range(10)]
    assert [m.sum() for m in changed] == [m.sum() for m in plain]

    def edge(masks):
        return sum((m & ~ndimage.binary_erosion(m)).sum() for m in masks)

    if "rough" in knobs:
        assert edge(changed) > 1.1 * edge(plain)
    else:
        assert sum(len(objects.label(m)[1]) for m in changed) < sum(
            len(objects.label(m)[1]) for m in plain
        )


@pytest.mark.parametrize(
    "knobs",
    [
        {"flips": 0.2},
        {"flips_background": 0.1},
        {"flips_background": 0.1, "flips_foreground": 0.4},
        {"missed": 0.3, "flips": 0.1},
    ],
)
def test_the_posterior_is_the_mean_of_many_labels(knobs):
    _, mask = controlled.scene(rng(), 64, 0.1, "small")
    source, n = rng(1), 2000
    mean = sum(stress.corrupt(source, mask, knobs).astype(float) for _ in range(n)) / n
    q = stress.posterior(mask, knobs)
    assert np.abs(mean - q).max() < 5 * 0.5 / np.sqrt(n)
    for side in (0, 1):
        assert mean[mask == side].mean() == pytest.approx(q[mask == side].mean(), abs=0.01)


def test_the_posterior_refuses_other_knobs():
    with pytest.raises(ValueError, match="'jitter' is not allowed"):
        stress.posterior(np.ones((4, 4), np.uint8), {"jitter": 1})


def test_overdrawn_and_shifted_masks_by_hand():
    mask = np.zeros((16, 16), np.uint8)
    mask[5:10, 6:11] = 1
    assert stress.overdraw(rng(), mask, -1).sum() == 9
    assert stress.overdraw(rng(), mask, 1).sum() == 25 + 20
    moved = stress.shift(rng(), mask, 3)
    assert moved.sum() == 25
    step = ndimage.center_of_mass(moved) - np.array(ndimage.center_of_mass(mask))
    assert np.hypot(*step) == pytest.approx(3, abs=0.71)


def test_every_knob_of_images_and_labels_has_its_function():
    labels = set(itertools.chain.from_iterable(stress.LABEL_FUNCTIONS))
    assert labels | {"observer"} == LABEL_KNOBS
    images = {name for name, knob in KNOBS.items() if knob.acts_on == "images"}
    assert set(stress.IMAGE_FUNCTIONS) == images


def test_knobs_of_labels_change_objects_then_outlines_then_pixels():
    order = list(itertools.chain.from_iterable(stress.LABEL_FUNCTIONS))
    assert order == ["invented", "missed", "overdraw", "shift", "jitter", *stress.FLIPS]
