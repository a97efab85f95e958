"""The prepared layout: reading, checks, groups and splits."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.data import prepare, prepared
from experiments.layout import CLEAN
from experiments.plan.study import Study
from tests.layouts import folder_of


def test_a_folder_of_images_and_masks_is_a_dataset(tmp_path):
    data = prepared.read(folder_of(tmp_path))
    sizes = {name: len(stems) for name, stems in data.split.items()}
    assert sizes == {"train": 6, "val": 2, "test": 2}
    assert prepared.read(tmp_path).split == data.split
    for stem in data.split["train"]:  # names and their order do not matter, content does
        for part in ("images", "masks"):
            (tmp_path / part / f"{stem}.png").rename(tmp_path / part / f"z{stem}.png")
    assert set(prepared.read(tmp_path).split["test"]) == set(data.split["test"])


def test_groups_and_equal_images_share_a_split(tmp_path):
    folder_of(tmp_path, 12)
    for part in ("images", "masks"):
        (tmp_path / part / "copy.png").write_bytes((tmp_path / part / "0.png").read_bytes())
    groups = {str(i): f"patient-{i // 3}" for i in range(1, 12)}
    (tmp_path / "dataset.json").write_text(json.dumps({"groups": groups}))
    split = prepared.read(tmp_path).split
    side = {stem: name for name, stems in split.items() for stem in stems}
    assert side["0"] == side["copy"]
    for patient in set(groups.values()):
        assert len({side[stem] for stem, group in groups.items() if group == patient}) == 1


def test_own_lists_are_kept_and_val_is_taken_from_train(tmp_path):
    folder_of(tmp_path)
    own = {"train": [str(i) for i in range(7)], "val": [], "test": ["7", "8", "9"]}
    (tmp_path / "dataset.json").write_text(json.dumps({"split": own}))
    split = prepared.read(tmp_path).split
    assert split["test"] == own["test"]
    assert sorted(split["train"] + split["val"]) == own["train"]
    assert split["val"]


def test_a_file_that_does_not_fit_the_layout_is_named(tmp_path):
    folder_of(tmp_path)
    data = prepared.read(tmp_path)
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / "masks/3.png")
    with pytest.raises(ValueError, match=r"3\.png.*\[7\].*0 and 255"):
        data.mask("3")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "masks/3.png")
    with pytest.raises(ValueError, match=r"3\.png.*\(9, 9\).*\(40, 40\)"):
        prepared.read(tmp_path)
    (tmp_path / "masks/3.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"3\.png.*cannot be read"):
        prepared.read(tmp_path)


def test_a_cell_is_opened_without_reading_its_images(tiny, in_tmp):
    study = Study(tiny)
    for name in ("none", "flips-0.3"):
        prepare.write_cell(study, study.datasets["controlled"], name, 0)
    plain, noisy = (
        prepared.read_cell(study.data_folder("controlled", name, 0))
        for name in ("none", "flips-0.3")
    )
    checked = prepared.read(noisy.folder)
    assert (noisy.split, noisy.info, noisy.masks) == (checked.split, checked.info, checked.masks)
    assert noisy.has(CLEAN)
    assert not plain.has(CLEAN)
    assert noisy.ignored("train-0000") is noisy.instances("train-0000") is None
    assert (noisy.clean("train-0000") == plain.mask("train-0000")).all()
    assert (noisy.clean("train-0000") != noisy.mask("train-0000")).any()
    assert (plain.clean("train-0000") == plain.target("train-0000")).all()
    for path in noisy.folder.rglob("*.png"):
        path.write_bytes(b"not a picture")
    assert prepared.read_cell(noisy.folder).split == checked.split


def test_an_unknown_dataset_is_refused_with_the_nearest(tiny):
    with pytest.raises(ValueError, match=r"'controled'.*did you mean 'controlled'"):
        prepare.run(Study(tiny), "controled")
