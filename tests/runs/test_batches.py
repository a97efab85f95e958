"""Batches: the same for every loss, with images, masks and maps augmented alike."""

import subprocess
import sys

import numpy as np
import pytest
from albumentations.augmentations.geometric import functional

from experiments.errors import ConfigError
from experiments.runs import augment, batches, jobs, pictures
from experiments.runs.batches import Cell
from tests.conftest import write_halves
from tests.runs.conftest import everything_but_time, prepared_study

LIST = [
    {"Affine": {"rotate": [-45, 45], "shear": 10, "p": 1}},
    {"HorizontalFlip": {}},
    {"GaussNoise": {"p": 0.5}},
    {"ElasticTransform": {"alpha": 20, "p": 0.5}},
]


@pytest.mark.parametrize("transforms", [True, False, LIST])
def test_the_loss_is_the_only_difference(short, in_tmp, transforms):
    short["training"]["augment"] = transforms
    study = prepared_study(short)
    dice, other = (
        next(r for r in study.runs if r.loss == loss) for loss in ("dice", "cross_entropy")
    )
    cell = Cell(study.data_folder(*dice.cell))
    pairs = zip(batches.batches(cell, dice), batches.batches(cell, other), strict=True)
    for one, two in pairs:
        for a, b in zip(one[:3], two[:3], strict=True):
            assert (a == b).all()
        if transforms is False:
            assert (one[1] == cell.images[one[0]]).all()


@pytest.mark.parametrize("transforms", [True, False, LIST])
@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_batches_from_a_later_step_are_those_of_all_steps(short, in_tmp, transforms, start):
    short["training"]["augment"] = transforms
    short["training"]["batch_size"] = 3  # of 8 images, so that a batch spans two orders
    study = prepared_study(short)
    run = study.runs[0]
    cell = Cell(study.data_folder(*run.cell))
    cell.ignored, maps = cell.masks, cell.images / 255
    every = list(batches.batches(cell, run, maps))
    later = list(batches.batches(cell, run, maps, start))
    assert len(every) == 6
    assert len(later) == 6 - start
    for one, two in zip(every[start:], later, strict=True):
        for a, b in zip(one, two, strict=True):
            assert a == b if a is None else (a == b).all()


def test_skipped_batches_are_not_made(short, in_tmp, monkeypatch):
    study = prepared_study(short)
    run = study.runs[0]
    cell = Cell(study.data_folder(*run.cell))
    made = []
    monkeypatch.setattr(batches, "_square", lambda *parts: made.append(1) or [])
    assert len(list(batches.batches(cell, run, start=4))) == len(made) == 2


def test_augmentation_turns_image_mask_and_maps_alike(short, in_tmp):
    study = prepared_study(short)
    run = study.runs[0]
    cell = Cell(study.data_folder(*run.cell))
    cell.masks = cell.images[..., 0]  # so that equal turns are seen
    seen = set()
    for picked, images, masks, _, maps in batches.batches(cell, run, cell.images / 255):
        assert (images[..., 0] == masks).all()
        assert (maps == images / 255).all()
        seen |= {(i, mask.tobytes()) for i, mask in zip(picked, masks, strict=True)}
    assert len(seen) > len(cell.images)


def test_a_list_turns_image_mask_and_ignored_alike():
    images = np.random.default_rng(0).integers(255, size=(8, 16, 16, 1), dtype=np.uint8)
    masks = images[..., 0]
    compose = augment.build([{"D4": {"p": 1}}])
    moved, moved_masks, ignored = augment.apply(compose, range(8), images, masks, masks)
    assert (moved[..., 0] == moved_masks).all()
    assert (ignored == moved_masks).all()
    assert (moved != images).any()


def test_the_symmetries_are_those_of_albumentations():
    image = np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    group = ("e", "r90", "r180", "r270", "v", "hvt", "h", "t")
    theirs = {functional.d4(image, element).tobytes() for element in group}
    ours = {batches.symmetric(image[None], e)[0].tobytes() for e in range(8)}
    assert ours == theirs
    assert len(ours) == 8


def test_large_splits_are_mapped_and_equal(short, in_tmp, monkeypatch):
    study = prepared_study(short)
    folder = study.data_folder(*study.runs[0].cell)
    held = Cell(folder)
    monkeypatch.setattr(batches, "LARGE", 1000)
    for _ in range(2):  # written, then reused
        mapped = Cell(folder)
        for name in ("images", "masks", "val_images", "test_images"):
            assert (getattr(mapped, name) == getattr(held, name)).all()
    assert isinstance(mapped.masks.base, np.memmap) or isinstance(mapped.masks, np.memmap)


def test_a_list_gives_the_same_bytes_for_every_job_count_and_order(short, in_tmp):
    short["training"]["augment"] = LIST
    study = prepared_study(short)
    assert jobs.train_all(study, study.runs, jobs=1).done == 4
    other = prepared_study({**short, "study": "other"})
    assert jobs.train_all(other, other.runs[::-1], jobs=2).done == 4
    for run in study.runs:
        before, after = everything_but_time(study, run), everything_but_time(other, run)
        assert before == after
        assert before[0]["status"] == "ok"


def test_transforms_of_a_list_are_drawn_apart():
    """With a seed each, two flips of equal probability would always come together."""
    compose = augment.build([{"HorizontalFlip": {}}, {"VerticalFlip": {}}])
    images = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1).repeat(64, 0)
    moved, *_ = augment.apply(compose, range(64), images, images[..., 0])
    assert len({image.tobytes() for image in moved}) == 4


@pytest.mark.parametrize("classes", [1, 2])
def test_masks_keep_their_values_under_interpolation(tiny, in_tmp, classes):
    write_halves(in_tmp / "halves")
    values = {"left": 4, "right": 9} if classes == 2 else [4, 9]
    own = {"folder": "halves", "train": 7, "val": 2, "test": 3, "classes": values}
    study = prepared_study(
        tiny
        | {
            "datasets": {"halves": own},
            "experiments": {"e": {"levels": {"as it is": {}}}},
            "seeds": [0],
            "training": tiny["training"] | {"augment": LIST, "steps": 20},
        }
    )
    run = study.runs[0]
    cell = Cell(study.data_folder(*run.cell))
    masks = np.concatenate([masks for _, _, masks, *_ in batches.batches(cell, run)])
    assert set(np.unique(masks)) == set(range(classes + 1))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"HorizontalFlp": {}}, ["'HorizontalFlp'", "did you mean 'HorizontalFlip'", "Affine"]),
        ({"OneOf": {}}, ["unknown transform 'OneOf'"]),
        ({"BasicTransform": {}}, ["unknown transform 'BasicTransform'"]),
        ({"Affine": {"rotat": 3}}, ["augment.Affine", "'rotat'", "did you mean 'rotate'", "shear"]),
        ({"Affine": {"rotate": "x"}}, ["augment.Affine", "'x'", "valid number"]),
        ({"RandomScale": {}}, ["augment.RandomScale: changes uint8 (32, 32, 1)"]),
        ({"Normalize": {}}, ["augment.Normalize: changes uint8", "to float32"]),
        ({"Affine": {"rotate": 45, "fill_mask": 7}}, ["augment.Affine", "mask values [7]"]),
        (
            {"Affine": {"rotate": 45, "mask_interpolation": 1}},
            ["augment.Affine", "adds the mask values"],
        ),
        ({"RandomRain": {}}, ["augment.RandomRain: fails on an image of shape (32, 32, 1)"]),
        ({"FDA": {}}, ["augment.FDA", "fda_metadata"]),
    ],
)
def test_unsuitable_transforms_are_refused(spec, words):
    with pytest.raises(ConfigError) as error:
        augment.check([{"Rotate": {}}, spec], 32, (1,))
    for word in words:
        assert word in str(error.value)
    assert len(error.value.problems) == 1


def test_all_problems_of_a_list_are_reported_at_once():
    with pytest.raises(ConfigError) as error:
        augment.build([{"Affin": {}}, {"Rotate": {"limt": 3, "q": 1}}])
    assert len(error.value.problems) == 3
    augment.check([{"RandomRain": {}}, *LIST], 32, (1, 3))


def test_albumentations_is_imported_for_lists_only():
    program = (
        "import sys, experiments.runs.jobs, experiments.runs.check;"
        "print('albumentations' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_pictures_are_decoded_as_encoded():
    prob = np.random.default_rng(0).random((3, 2, 4, 6)).round(2)
    decoded = pictures.decode(pictures.encode(prob), (4, 6))
    assert decoded.shape == prob.shape
    assert np.abs(decoded - prob).max() <= 0.5 / 255 + 1e-12
