"""Cells of a dataset with object ids and class ids: ignored pixels, several classes, windows."""

from pathlib import Path

import numpy as np
import pytest

from analysis import stresses
from experiments.data import objects, prepare, prepared
from experiments.data.windows import to_border
from experiments.data.writing import save_image
from experiments.plan.study import Study
from experiments.runs import controls
from experiments.runs.truth import truths


@pytest.fixture
def cells(in_tmp):
    """A folder of nuclei: two that touch, one alone; class 2 is the one alone, class 1 the two."""
    draw = np.random.default_rng(0)
    ids = np.zeros((32, 32), np.uint16)
    ids[4:12, 4:12], ids[4:12, 12:20], ids[20:28, 20:28] = 500, 2, 1
    layers = {"masks": (ids > 0) * 255, "labels": (ids > 1) + 2 * (ids == 1)}
    for i in range(12):
        layers["images"] = draw.integers(256, size=ids.shape)
        for name, array in layers.items():
            save_image(Path(f"cells/{name}/{i}.png"), array.astype(np.uint8))
        save_image(Path(f"cells/instances/{i}.png"), ids)
    return "cells"


def cell(tiny, knobs, **dataset):
    """The folder of one cell of one dataset."""
    tiny["datasets"] = {"d": {"train": 6, "val": 2, "test": 2, **dataset}}
    tiny["experiments"] = {"e": {"levels": {"x": knobs}}}
    study = Study(tiny)
    (name,) = study.stresses("d")
    prepare.write_cell(study, study.datasets["d"], name, 0)
    return prepared.read(study.data_folder("d", name, 0))


def folders_of(dataset):
    return {path.parent.name for path in dataset.input_files([])}


def objects_of(data, split="test"):
    return [
        len(objects.label(data.mask(s, "masks_clean" if split == "train" else None), ids)[1])
        for s in data.split[split]
        if (ids := data.instances(s)) is not None
    ]


def test_ids_of_objects_go_with_their_masks(tiny, cells):
    assert objects_of(cell(tiny, {}, folder=cells)) == [3, 3]
    # Four windows of 16 pixels: two that touch are apart in each, or cut by its edge.
    small = cell(tiny, {"size": "small"}, folder=cells)
    for stem in small.split["test"]:
        mask, ids = small.mask(stem), small.instances(stem)
        assert ((ids > 0) == (mask > 0)).all()
        assert len(objects.label(mask, ids)[1]) > len(objects.label(mask)[1])
    ((truth, *_),) = truths(cell(tiny, {"blur": 1}, folder=cells)).values()
    assert sorted(truth.objects[1]) == [64, 64, 64]


def test_objects_with_ids_are_missed_one_by_one(tiny, cells):
    data = cell(tiny, {"missed": 0.5}, folder=cells)
    areas = [int(data.mask(stem).sum()) for stem in data.split["train"]]
    assert set(areas) <= {0, 64, 128, 192}
    touching = [data.mask(stem)[4:12, 4:20] for stem in data.split["train"]]
    assert any(0 < part.sum() < part.size for part in touching)
    # The table of stresses agrees: labelled objects are those that were not missed.
    row = stresses.measure(data, "train", to_border(32))
    assert row["objects"] == 3
    assert row["label_objects"] == np.mean(areas) / 64


def test_objects_left_out_are_ignored_and_all_else_is_unchanged(tiny, cells):
    plain = cell(tiny, {"blur": 1}, folder=cells)
    kept = []
    for share in (0.3, 0.6):
        some = cell(tiny, {"blur": 1, "left_out": share}, folder=cells)
        for split in some.split:
            for stem in some.split[split]:
                before, after = plain.mask(stem), some.mask(stem)
                assert (some.image(stem) == plain.image(stem)).all()
                assert (after + some.ignored(stem) == before).all()
                assert after.sum() in (0, 64, 128, 192)  # whole objects, those that touch too
                assert ((some.instances(stem) > 0) == (after > 0)).all()
        stems = [stem for split in some.split.values() for stem in split]
        kept.append(np.stack([some.mask(stem) for stem in stems]))
    assert kept[0].sum() > kept[1].sum() > 0
    assert (kept[0] >= kept[1]).all()


def test_which_images_are_used_does_not_depend_on_their_names(tiny, cells):
    def images():
        data = cell(tiny, {}, folder=cells, train=3)
        return {stem[:-2]: data.image(stem).tobytes() for stem in data.split["train"]}

    before = images()
    for path in sorted(Path(cells).rglob("*.png")):
        path.rename(path.with_stem(f"{99 - int(path.stem)}"))
    after = images()
    assert len(after) == 3 < len(prepared.read(cells).split["train"])
    assert set(after.values()) == set(before.values())
    assert {99 - int(stem) for stem in after} == set(map(int, before))


def test_windows_placed_anywhere_are_shared_by_all_targets(tiny, cells):
    tiny["image_size"], anywhere = 16, {"fraction": "natural"}
    size = {"folder": cells, "train": 96}
    one = cell(tiny, anywhere, source="cells", classes=[2], **size)
    two = cell(tiny, anywhere, source="cells", **size)
    stems = one.split["train"]
    masks = [np.stack([data.mask(stem) for stem in stems]) for data in (one, two)]
    images = np.stack([two.image(stem) for stem in stems])
    one = cell(tiny, anywhere, source="cells", classes=[2], **size)
    assert (np.stack([one.image(stem) for stem in stems]) == images).all()
    assert (masks[0] <= masks[1]).all()
    assert not masks[0].any((1, 2)).all()  # not all of them have any
    assert 0.5 < masks[1].mean() / (192 / 32**2) < 2


def test_a_target_may_be_several_class_ids(tiny, cells):
    one = cell(tiny, {}, folder=cells, classes=[2])
    assert [int(one.mask(s).sum()) for s in one.split["test"]] == [64, 64]
    both = cell(tiny, {}, folder=cells, classes=[1, 2])
    assert [int(both.mask(s).sum()) for s in both.split["test"]] == [192, 192]
    assert both.instances(both.split["test"][0]) is None  # the ids are those of masks/
    left = cell(tiny, {}, folder=cells, classes=[1], ignore=2)
    assert [int(left.ignored(s).sum()) for s in left.split["test"]] == [64, 64]
    row = stresses.measure(left, "test", to_border(32))
    assert row["fraction"] == 128 / (32 * 32 - 64)
    study = Study(tiny)
    assert folders_of(study.datasets["d"]) == {"images", "labels"}


@pytest.mark.parametrize("knobs", [{}, {"size": "small"}, {"size": "mixed"}, {"left_out": 0.5}])
def test_several_classes_go_with_their_mask(tiny, cells, knobs):
    data = cell(tiny, knobs, folder=cells, classes={"alone": 2, "two": [1]})
    assert data.classes == ["alone", "two"]
    seen = set()
    for stem in data.split["test"] + data.split["train"]:
        target = data.target(stem)
        assert ((target > 0) == data.mask(stem)).all()
        seen |= {int(v) for v in np.unique(target)}
        if not knobs:
            assert np.bincount(target.ravel()).tolist() == [32**2 - 192, 64, 128]
    assert seen == {0, 1, 2}
    classes = truths(data)
    assert list(classes) == ["alone", "two"]
    for k, of_class in enumerate(classes.values(), 1):
        for stem, truth in zip(data.split["test"], of_class, strict=True):
            assert (truth.mask == (data.target(stem) == k)).all()


def test_classes_may_be_targets_and_later_ones_overwrite_earlier_ones(tiny, cells):
    for i in range(12):
        alone = np.zeros((32, 32), np.uint8)
        alone[20:28, 20:28] = 255
        save_image(Path(f"cells/masks_alone/{i}.png"), alone)
    for classes in ({"any": "masks", "one": "alone"}, {"any": [1, 2], "one": "alone"}):
        data = cell(tiny, {}, folder=cells, classes=classes)
        assert data.instances(data.split["test"][0]) is None
        for stem in data.split["test"]:
            assert np.bincount(data.target(stem).ravel()).tolist() == [32**2 - 192, 128, 64]
    study = Study(tiny)
    assert folders_of(study.datasets["d"]) == {"images", "labels", "masks_alone"}


def test_the_names_of_classes_are_part_of_a_folders_content(tiny, cells):
    one = cell(tiny, {}, folder=cells, classes={"a": 1, "b": 2}).info["content"]
    assert cell(tiny, {}, folder=cells, classes={"a": 1, "c": 2}).info["content"] != one
    assert cell(tiny, {}, folder=cells, classes={"a": 1, "b": 2}).info["content"] == one


def test_a_class_with_a_name_is_a_class_without_one(tiny, cells):
    named = cell(tiny, {}, folder=cells, classes={"alone": 2})
    listed = cell(tiny, {}, folder=cells, classes=[2])
    assert named.classes == ["alone"]
    for stem in listed.split["test"]:
        assert (named.target(stem) == listed.target(stem)).all()


def test_random_masks_of_several_classes_do_not_overlap_and_keep_their_shares():
    truth = np.zeros((1, 2, 100, 100), bool)
    truth[:, 0, :50], truth[:, 1, 50:60] = True, True
    masks = controls.predictions(np.random.default_rng(0), truth)["random mask"]
    assert masks.sum(1).max() == 1
    assert masks.mean((0, 2, 3)) == pytest.approx([0.5, 0.1], abs=0.02)
