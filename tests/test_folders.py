"""Folders of a user's own: endings, further folders, lists, groups, memory."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data import prepare, prepared, source
from experiments.data.decoding import decode
from experiments.errors import ConfigError
from experiments.plan.study import Study
from tests.layouts import folder_of, open_source, pixels, rewrite


@pytest.fixture
def folder(in_tmp):
    """Ten grey images of 40 pixels with masks of 0 and 255, in a folder ``own``."""
    return folder_of(in_tmp / "own")


def describe(folder, **info):
    (folder / "dataset.json").write_text(json.dumps(info))


# Endings


@pytest.mark.parametrize("ending", [".PNG", ".tif", ".TIFF", ".bmp", ".gif", ".webp"])
def test_images_and_masks_of_any_ending_are_read_as_their_png_twins(folder, tmp_path, ending):
    twin = prepared.read(shutil.copytree(folder, tmp_path / "twin"))
    grey = ending not in (".gif", ".webp")  # these are stored in colour
    for part in ("images", "masks"):
        lossless = {} if grey else {"lossless": True}
        rewrite(folder / part, lambda image: image, ending, **lossless)
    data = prepared.read(folder)
    assert set().union(*data.split.values()) == set().union(*twin.split.values())
    assert not grey or data.split == twin.split
    for stem in "0123456789":
        image = data.image(stem) if grey else data.image(stem)[..., 0]
        assert (image == twin.image(stem)).all()
        assert (data.mask(stem) == twin.mask(stem)).all()


def test_photographs_as_jpeg_go_with_masks_as_png(folder, tiny):
    rewrite(folder / "images", lambda image: image.convert("RGB"), ".JPG")
    image, masks = open_source(tiny).read("3")
    assert (image == pixels(folder / "images" / "3.JPG")).all()
    assert (masks["masks"] * 255 == pixels(folder / "masks" / "3.png")).all()


@pytest.mark.parametrize("part", ["images", "masks"])
def test_two_files_of_one_stem_are_refused_with_both_names(folder, tiny, part):
    Image.new("L", (40, 40)).save(folder / part / "3.TIF")
    with pytest.raises(ConfigError, match=rf"own/{part}: 3\.TIF and 3\.png have the same name"):
        open_source(tiny)


def test_files_that_are_not_used_are_named_in_one_line(folder, tiny, caplog):
    caplog.set_level("INFO", "dicebench")
    (folder / "images" / "old").mkdir()
    for name in ("images/._0.png", "images/notes.txt", "images/old/9.png", "masks/Thumbs.db"):
        (folder / name).write_bytes(b"x")
    shutil.copy(folder / "masks" / "0.png", folder / "masks" / "alone.png")
    open_source(tiny)
    (line,) = [line for line in caplog.messages if "not used" in line]
    names = "images/._0.png, images/notes.txt, images/old, masks/Thumbs.db, masks/alone.png"
    assert line == f"own: 5 file(s) not used: {names}"


def test_a_folder_without_images_is_refused_with_the_endings(folder, tiny):
    shutil.rmtree(folder / "images")
    (folder / "images").mkdir()
    (folder / "images" / "0.heic").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"own/images' holds no image; allowed: .*\.png, \.jpg"):
        open_source(tiny)


# Further folders


def add_layers(folder):
    """Labels of 0 to 2, instances, and second masks, as palette images where they can be."""
    for stem in "0123456789":
        mask = pixels(folder / "masks" / f"{stem}.png") // 255
        ids = mask * np.where(np.arange(40) < 20, 1, 2).astype(np.uint8)
        palette = Image.fromarray(ids).convert("P")
        palette.putpalette([9, 9, 0, 128, 0, 0, 0, 128, 0])
        layers = {"labels": palette, "masks_second": Image.fromarray(np.roll(mask, 3) * 255)}
        layers["instances"] = Image.fromarray(ids.astype(np.uint16) * 300)
        for name, image in layers.items():
            (folder / name).mkdir(exist_ok=True)
            image.save(folder / name / f"{stem}.png")


USES = {
    "masks": {},
    "labels": {"ignore": 2},
    "instances": {},
    "masks_second": {"levels": {"a": {}, "b": {"observer": "second"}}},
}


@pytest.mark.parametrize("part", USES)
def test_a_file_of_any_used_folder_has_its_images_size(folder, tiny, part):
    add_layers(folder)
    open_source(tiny, **USES[part])
    path = folder / part / "3.png"
    Image.open(path).resize((80, 80), 0).save(path)
    words = rf"own/{part}/3\.png: the file is \(80, 80\) pixels, its image \(40, 40\)"
    with pytest.raises(ValueError, match=words):
        open_source(tiny, **USES[part])


@pytest.mark.parametrize("part", USES)
def test_a_missing_file_of_any_used_folder_is_named(folder, tiny, part):
    add_layers(folder)
    (folder / part / "3.png").unlink()
    with pytest.raises(ConfigError, match=rf"1 file\(s\) missing in 'own': {part}/3\.png; every"):
        open_source(tiny, **USES[part])


def test_a_target_among_classes_has_its_images_size(folder, tiny):
    add_layers(folder)
    Image.new("L", (20, 20)).save(folder / "masks_second" / "3.png")
    with pytest.raises(ValueError, match=r"masks_second/3\.png: the file is \(20, 20\) pixels"):
        open_source(tiny, classes={"a": 1, "b": "second"})


def test_the_indices_of_a_palette_are_class_ids(folder, tiny):
    add_layers(folder)
    own = open_source(tiny, classes=[2], ignore=1)
    for stem in "0123456789":
        ids = pixels(folder / "labels" / f"{stem}.png")
        assert (own.read(stem)[1]["masks"] == (ids == 2)).all()
        assert (own.read(stem)[1]["ignored"] == (ids == 1)).all()


@pytest.mark.parametrize("part", ["labels", "instances"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "F"])
def test_ids_in_colour_or_fractions_are_refused_with_the_file(folder, tiny, part, mode):
    add_layers(folder)
    image = Image.open(folder / part / "3.png").convert("L").convert(mode)
    image.save(folder / part / "3.png", "tiff")
    with pytest.raises(ValueError, match=rf"own/{part}/3\.png: the file is .*\(mode {mode}\)"):
        open_source(tiny, **USES[part])


def test_class_ids_that_no_image_has_are_refused_with_those_that_are_there(folder, tiny):
    add_layers(folder)
    with pytest.raises(ConfigError) as error:
        open_source(tiny, classes={"a": [1, 77], "b": 2}, ignore=99)
    assert error.value.problems == [
        "datasets.d.classes: no image has the class id 77; allowed: 0, 1, 2",
        "datasets.d.ignore: no image has the class id 99; allowed: 0, 1, 2",
    ]


# Lists and groups


def test_lists_and_groups_may_have_file_names(folder):
    lists = {"train": ["0", "1", "2", "3", "4"], "val": ["5", "6"], "test": ["7", "8", "9"]}
    groups = {"0": "a", "1": "a", "7": "b", "8": "b"}
    describe(folder, split=lists, groups=groups)
    stems = prepared.read(folder).split
    rewrite(folder / "images", lambda image: image, ".tif")
    named = {name: [f"{stem}.tif" for stem in own] for name, own in lists.items()}
    describe(folder, split=named, groups={f"{stem}.tif": group for stem, group in groups.items()})
    assert prepared.read(folder).split == stems == lists


@pytest.mark.parametrize("form", ["stems", "file names", "lists of images"])
def test_no_patient_is_on_two_sides_whatever_the_form_of_the_groups(folder, form):
    patients = {str(i): f"p{i // 3}" for i in range(10)}
    groups = patients
    if form == "file names":
        groups = {f"{stem}.png": patient for stem, patient in patients.items()}
    if form == "lists of images":
        groups = {p: [s for s in patients if patients[s] == p] for p in patients.values()}
    describe(folder, groups=groups)
    side = {s: name for name, stems in prepared.read(folder).split.items() for s in stems}
    for patient in set(patients.values()):
        assert len({side[s] for s in side if patients[s] == patient}) == 1


@pytest.mark.parametrize("name", ["d", "camvid"])
def test_a_patient_on_two_sides_of_the_lists_is_refused_unless_they_are_published(
    folder, tiny, name
):
    lists = {"train": [*"01234"], "val": [*"56"], "test": [*"789"]}
    describe(folder, split=lists, groups={"p": ["4", "7.png"]})
    if name == "d":
        words = r"dataset\.json: split: images of one group are in two lists: train/4 and test/7;"
        with pytest.raises(ValueError, match=words):
            open_source(tiny)
    else:
        stems = open_source(tiny, source=name).stems
        assert sorted(stems["train"]) == [*"0123"]
        assert sorted(stems["test"]) == [*"789"]


def test_images_in_no_list_are_counted(folder, caplog):
    caplog.set_level("INFO", "dicebench")
    describe(folder, split={"train": [*"0123"], "val": ["5"], "test": ["7"]})
    prepared.read(folder)
    assert "4 of 10 images are in no list" in caplog.text


# Folders and memory


@pytest.mark.parametrize("name", ["a {b} [c] & d", "own/", "~/own"])
def test_a_folder_may_have_any_name(folder, tiny, tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    if not (tmp_path / Path(name).name).exists():
        folder.rename(tmp_path / name)
    open_source(tiny, name)
    study = Study(tiny)
    prepare.run(study)
    assert len(prepared.read(study.data_folder("d", "none", 0)).split["train"]) == 4


def test_a_mirror_may_be_in_the_home_folder(folder, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny["datasets"], tiny["mirror"] = {"own": {}}, "~"
    tiny["experiments"] = {"e": {"levels": {"a": {}}}}
    assert Study(tiny).datasets["own"].folder == f"{tmp_path}/own"


SPLIT = {"train": ["0", "4", "5", "6", "8", "9"], "val": ["7", "2"], "test": ["3", "1"]}
ORDER = {"train": ["8", "5", "6", "0", "4", "9"], "val": ["7", "2"], "test": ["3", "1"]}


def test_splits_and_order_of_images_of_8_bits_never_change(folder, tiny):
    assert prepared.read(folder).split == SPLIT
    assert open_source(tiny).stems == ORDER


def test_a_source_decodes_images_on_demand_and_keeps_a_bounded_number(folder, tiny, monkeypatch):
    read = []
    monkeypatch.setattr(source, "KEPT", 3 * 2 * 40 * 40)  # three images with their masks
    own = open_source(tiny)
    monkeypatch.setattr(
        "experiments.data.layers.decode", lambda path: (read.append(path.stem), decode(path))[1]
    )
    first = {stem: own.read(stem) for stem in "01234"}
    assert read == [*"0011223344"]
    read.clear()
    for stem in "401234":
        (image, masks), (image_before, masks_before) = own.read(stem), first[stem]
        assert (image == image_before).all()
        assert (masks["masks"] == masks_before["masks"]).all()
    assert read == [*"3344"]  # the latest one, 4, is kept too, until another is read
