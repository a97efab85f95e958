"""The prepared layout: reading, checks, groups and splits."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from experiments.data import prepare, prepared, writing
from experiments.data.decoding import decode
from experiments.datasets.reading import Sample
from experiments.layout import CLEAN
from experiments.plan.study import Study
from tests.layouts import encoded, folder_of, image, mask, png


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


WHOLE = encoded(image(0, 40, colour=False))
FLIPPED = bytearray(WHOLE)
FLIPPED[len(WHOLE) // 2] ^= 0xFF
TEXT_BOMB = png(40, 40, text=bytes(2**21))
UNDECODABLE = {
    "empty": b"",
    "a text": b"not a picture",
    "cut": WHOLE[: len(WHOLE) // 2],
    "flipped": bytes(FLIPPED),
    "a bomb": png(30_000, 30_000),
    "pixels missing": png(40, 40),
    "a text bomb": TEXT_BOMB,
}


@pytest.mark.parametrize("kind", UNDECODABLE)
@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path, kind, part):
    folder_of(tmp_path)
    (tmp_path / part / "3.png").write_bytes(UNDECODABLE[kind])
    with pytest.raises(ValueError, match=rf"{part}/3\.png: cannot be read as an image: \w"):  # noqa: PT012
        data = prepared.read(tmp_path)
        data.mask("3")


def test_a_file_is_handed_to_no_other_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    calls = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *words: calls.append(words))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(text)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
        decode(tmp_path / "a.png")
    assert not calls


def test_a_large_image_is_no_warning_and_no_error(tmp_path):
    (tmp_path / "large.png").write_bytes(png(13_000, 13_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(tmp_path / "large.png", pixels=False).size == (13_000, 13_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"split": {"train": ["0"', "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b'{"title": "\xff"}', "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"null", "'None' is not allowed; allowed: a JSON object"),
        (b'["0", "1"]', "allowed: a JSON object"),
        (b'{"split": ["0"]}', r"split: .* is not allowed; allowed: an object"),
        (b'{"split": {"trian": ["0"]}}', r"unknown list 'trian' \(did you mean 'train'\?\)"),
        (b'{"split": {"train": "0"}}', r"split\.train: '0' is not allowed; allowed: a list"),
        (b'{"split": {"test": ["0", "nosuch"]}}', r"split\.test: 1 unknown image\(s\): 'nosuch'"),
        (b'{"split": {"test": ["../../x"]}}', r"unknown image\(s\): '../../x'"),
        (b'{"split": {"test": [0, null, {}]}}', r"3 unknown image\(s\): 0, None, {}"),
        (
            b'{"split": {"test": ["a", "b", "c", "d", "e", "f"]}}',
            r"6 unknown.*'e', \.\.\.; allowed",
        ),
        (b'{"split": {"test": ["1", "2", "1"]}}', r"split\.test: images that are listed twice: 1"),
        (b'{"groups": ["0"]}', r"groups: .* allowed: an object"),
        (b'{"split": {"test": ["1"]}}', r"split\.train: a list of images is missing"),
        (b'{"split": {"train": ["0"]}, "split": {}}', r"JSON: keys that occur twice: split"),
        (b'\xef\xbb\xbf{"split": {}}', "cannot be read as JSON: Unexpected UTF-8 BOM"),
        (b'{"split": {"train": ["0"], "valid": ["1"]}}', r"'valid' \(did you mean 'val'\?\)"),
        (b'{"groups": {"0": null}}', r"groups: '0': None is not allowed; allowed: the name of a"),
        (b'{"groups": {"0": ["a"], "1": "b"}}', r"groups: '0': \['a'\] is not allowed"),
        (b'{"groups": {"a": ["0", "1"], "b": ["1"]}}', r"groups: '1' is in two groups: a and b"),
        (b'{"groups": {"0": "a", "0.png": "b"}}', r"groups: '0' is in two groups: a and b"),
        (b'{"groups": {"a": ["0", "x.png"]}}', r"groups: 1 unknown image\(s\): 'x\.png'"),
        (b'{"groups": {"nosuch": "a"}}', r"groups: 1 unknown image\(s\): 'nosuch'"),
    ],
)
def test_a_description_that_cannot_be_meant_is_named(tmp_path, text, words):
    (folder_of(tmp_path) / "dataset.json").write_bytes(text)
    with pytest.raises(ValueError, match=rf"{tmp_path}/dataset\.json: .*{words}"):
        prepared.read(tmp_path)


def test_a_note_among_the_lists_is_no_list(tmp_path):
    lists = {"kind": "official", "train": None, "test": ["7", "8"]}
    (folder_of(tmp_path) / "dataset.json").write_text(json.dumps({"split": {"kind": "none"}}))
    assert all(prepared.read(tmp_path).split.values())
    (tmp_path / "dataset.json").write_text(
        json.dumps({"split": lists | {"train": ["0", "1", "2"]}})
    )
    assert prepared.read(tmp_path).split["test"] == ["7", "8"]


@pytest.mark.parametrize("stem", ["", "..", "../evil", "/etc/evil", "a/b"])
def test_a_sample_has_a_plain_file_name(stem):
    with pytest.raises(ValueError, match="allowed: a file name without a folder"):
        Sample(stem, image(0), {})


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


def test_a_public_dataset_keeps_an_image_and_its_copy_in_one_list(tmp_path, caplog):
    caplog.set_level("INFO", "dicebench")
    contents = {"a": 0, "b": 1, "c": 2, "copy": 0, "d": 3}
    lists = {"a": "train", "b": "train", "c": "val", "copy": "test", "d": "train"}
    samples = [
        Sample(stem, image(number), {"masks": mask(number)}, split=lists[stem])
        for stem, number in contents.items()
    ]
    writing.convert(tmp_path / "own", samples, {"masks": {"masks": "all"}})
    split = prepared.read(tmp_path / "own").split
    assert split == {"train": ["b", "d"], "val": ["c"], "test": ["copy"]}
    assert "1 images are left out of their list" in caplog.text
