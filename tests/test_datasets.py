"""Every public dataset: its description, its own layout, its splits; the real pieces of some."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import datasets
from experiments.data import prepared, writing
from experiments.data.fetch import fetch
from experiments.layout import SPLITS
from experiments.plan.study import Study
from tests import layouts

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def server(tmp_path):
    with layouts.serving(tmp_path / "served") as server:
        yield server


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_every_dataset_conforms(name, server, tmp_path, monkeypatch, in_tmp, tiny):
    about = datasets.load(name).ABOUT
    for text in (about.title, about.homepage, about.licence, about.citation):
        assert text.strip()
    for file in about.files:
        assert (file.address or about.ask).startswith(("https://", "register"))
        assert file.checksum is None or re.fullmatch(
            r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.checksum
        )
    targets = [f"masks_{target}" for target in datasets.DATASETS[name]]
    assert list(about.masks) == ["masks", *targets]

    files = layouts.serve(server, monkeypatch, name)
    folder = fetch(name)
    assert [p.name for p in Path("data").iterdir() if p.name != "downloads"] == [name]
    info = json.loads((folder / "dataset.json").read_text())
    assert info["licence"] == about.licence
    assert [f"sha256:{f['sha256']}" for f in info["files"]] == [f.checksum for f in files]
    manifest = (folder / "manifest.sha256").read_text()
    listed = dict(reversed(line.split("  ")) for line in manifest.splitlines())
    assert listed == {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*.png")
    }
    for masks in about.masks:
        data = prepared.read(folder, masks, published=True)
        stems = [stem for split in SPLITS for stem in data.split[split]]
        assert len(stems) == len(set(stems))
        assert all(data.split.values())
        for stem in stems:
            assert data.mask(stem).shape == data.image(stem).shape[:2]
        splits_of = {
            group: {
                s for s in SPLITS for stem in data.split[s] if data.info["groups"][stem] == group
            }
            for group in (data.info["groups"] or {}).values()
        }
        assert all(len(sides) <= 1 for sides in splits_of.values())
        values = (
            [float(data.mask(stem).mean()) for stem in info["split"]["train"]]
            if info["split"]
            else []
        )
        assert info["measured"][masks]["foreground_fraction"]["max"] >= max(values, default=0)

    requests = len(server.requests)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert fetch(name) == folder
    assert len(server.requests) == requests
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    tiny["datasets"] = {name: {}}  # and it is a dataset of a study by its name alone
    assert Study(tiny).datasets[name].folder == f"data/{name}"


def converted(name, folder, tmp_path):
    about, samples = datasets.load(name).ABOUT, datasets.load(name).samples
    writing.convert(tmp_path / name, samples(folder), {"masks": about.masks})
    return tmp_path / name


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def raw(name, tmp_path, extra=()):
    """A copy of the real pieces of a dataset, in its layout, with files that the pieces lack."""
    folder = tmp_path / "raw"
    shutil.copytree(SHARED / "data_raw" / name, folder, copy_function=shutil.copy)
    for path, text in extra:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images next to the checkout")
@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("chase_db1", {"Image_01L", "Image_01R"}),
        ("crackforest", {"001", "002"}),
        ("dsb2018", {"0280fa8f60f6bcae0f97d93c28f60be194f9309ff610dc5845e60455b0f87c21"}),
        ("sirst_v2", {"Misc_181", "Misc_366", "Misc_418"}),
        ("vnc_em", {"00_q00", "00_q11", "01_q00", "01_q11"}),
        ("wbc", {"001", "002"}),
    ],
)
def test_real_pieces_become_the_prepared_data(name, stems, tmp_path):
    lists = [
        ("splits/trainval_v1fullv2target.txt", "Misc_181\nMisc_366\n"),
        ("splits/val_v1fullv2target.txt", "Misc_366\n"),
        ("splits/test_v1fullv2target.txt", "Misc_418\n"),
    ]
    own = converted(name, raw(name, tmp_path, lists if name == "sirst_v2" else ()), tmp_path)
    shared = SHARED / "data" / name
    both = {p.stem for p in (own / "images").iterdir()} & {
        p.stem for p in (shared / "images").iterdir()
    }
    assert both == stems & {p.stem for p in (shared / "images").iterdir()}
    assert both
    layers = {p.name for p in shared.iterdir() if p.is_dir()}
    assert layers == {p.name for p in own.iterdir() if p.is_dir()}
    for layer in layers:
        for stem in both:
            mine, theirs = (pixels(f / layer / f"{stem}.png") for f in (own, shared))
            if name == "chase_db1":  # the prepared data has the middle of each image
                mine = mine[240:720, 260:740]
            assert mine.dtype == theirs.dtype
            if layer == "images" and name in ("chase_db1", "crackforest"):  # from JPEG
                assert np.abs(mine.astype(int) - theirs).max() <= 4
            else:
                assert (mine == theirs).all(), (layer, stem)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images next to the checkout")
def test_real_pieces_of_camvid_become_the_prepared_data(tmp_path):
    folder = raw("camvid", tmp_path)
    for split in ("train", "val"):  # the pieces hold two frames of the test split only
        frame = {"train": "0006R0_f01320", "val": "0016E5_07959"}[split]
        for part, layer in ((split, "images"), (f"{split}annot", "labels")):
            path = folder / "CamVid" / part / f"{frame}.png"
            path.parent.mkdir()
            path.write_bytes((SHARED / "data" / "camvid" / layer / f"{frame}.png").read_bytes())
    own = converted("camvid", folder, tmp_path)
    shared = SHARED / "data" / "camvid"
    for layer in (p.name for p in shared.iterdir() if p.is_dir()):
        for stem in ("0001TP_008550", "0006R0_f01320", "0016E5_07959"):
            assert (
                pixels(own / layer / f"{stem}.png") == pixels(shared / layer / f"{stem}.png")
            ).all()
    assert prepared.read(own, published=True).split["val"] == ["0016E5_07959"]
    assert json.loads((own / "dataset.json").read_text())["groups"]["0001TP_008550"] == "0001TP"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images next to the checkout")
@pytest.mark.parametrize("name", ["camvid", "chase_db1", "sirst_v2", "vnc_em", "wbc"])
def test_no_group_or_image_of_the_prepared_data_is_in_two_splits(name):
    data = prepared.read(SHARED / "data" / name, published=True)
    side = {stem: split for split in SPLITS for stem in data.split[split]}
    groups = data.info["groups"] or {}
    for split, stems in (data.info["split"] or {}).items():
        if split in SPLITS and split != "train":
            assert set(stems) <= {s for s, where in side.items() if where == split} or not stems
    for group in set(groups.values()):
        assert len({side[s] for s in side if groups[s] == group}) <= 1
    if name == "wbc":
        assert side["112"] == side["139"]


def folder_of(path, contents, **info):
    """A prepared folder of images {stem: content}."""
    for stem, content in contents.items():
        for part, array in (("images", layouts.image(content)), ("masks", layouts.mask(0) * 255)):
            (path / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path / part / f"{stem}.png")
    (path / "dataset.json").write_text(json.dumps(info))
    return path


def test_groups_join_by_name_and_by_content(tmp_path):
    # a and b are one image in two groups: with them all of both groups stay together
    contents = {"a": 0, "a2": 1, "b": 0, "b2": 2, **{f"x{i}": 10 + i for i in range(12)}}
    groups = {"a": "one", "a2": "one", "b": "two", "b2": "two"}
    split = prepared.read(folder_of(tmp_path, contents, groups=groups)).split
    side = {stem: name for name, stems in split.items() for stem in stems}
    assert len({side[stem] for stem in groups}) == 1
    assert set(side) == set(contents)


def test_a_published_list_loses_images_whose_group_is_in_another_list(tmp_path, caplog):
    caplog.set_level("INFO", "dicebench")
    contents = {"a": 0, "b": 1, "c": 2, "friend": 3, "d": 4}
    own = {"train": ["b", "friend", "d"], "val": ["c"], "test": ["a"]}
    groups = {"friend": "ward", "c": "ward"}
    folder = folder_of(tmp_path, contents, split=own, groups=groups)
    split = prepared.read(folder, published=True).split
    assert split == {"train": ["b", "d"], "val": ["c"], "test": ["a"]}
    assert "1 of 5 images are left out" in caplog.text


def test_splits_depend_on_content_and_not_on_names(tmp_path):
    one = prepared.read(folder_of(tmp_path / "1", {f"s{i}": i for i in range(12)})).split
    other = prepared.read(folder_of(tmp_path / "2", {f"s{11 - i}": i for i in range(12)})).split
    for name in SPLITS:
        assert {int(s[1:]) for s in one[name]} == {11 - int(s[1:]) for s in other[name]}


def changed(name, change):
    """The archives of a layout with some members replaced, or removed where None."""
    archives = layouts.layout(name)
    for members in archives.values():
        for member in list(members):
            for end, data in change.items():
                if member.endswith(end):
                    members.pop(member)
                    if data is not None:
                        members[member] = data
    return archives


ODD = np.full((layouts.SIDE, layouts.SIDE), 7, np.uint8)
SMALL = layouts.encoded(np.zeros((9, 9), np.uint8))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("busi", {"normal (5)_mask.png": None}, r"normal \(5\)\.png: no mask"),
        ("busi", {"benign (2)_mask.png": SMALL}, r"benign_2: the mask is \(9, 9\)"),
        (
            "busi",
            {"benign (2)_mask.png": layouts.encoded(ODD)},
            r"values \[7\]; allowed: 0 and 255",
        ),
        ("camvid", {"trainannot/A1_0.png": None}, r"trainannot/A1_0\.png: cannot be read"),
        ("camvid", {"A1_0.png": layouts.encoded(ODD + 90)}, r"values \[97\] are not allowed"),
        ("chase_db1", {"02L_2ndHO.png": None}, r"Image_02L_2ndHO\.png: cannot be read"),
        ("crackforest", {"002.mat": b"x" * 200}, r"002\.mat: no groundTruth"),
        ("drive", {"21_manual1.gif": None}, r"21_manual1\.gif: cannot be read"),
        ("dsb2018", {"n1/masks/a.png": None, "n1/masks/b.png": None}, r"n1\.png: no masks"),
        ("dsb2018", {"n1/masks/a.png": SMALL}, r"a\.png: the mask is \(9, 9\)"),
        ("isic2018", {"ISIC_2_segmentation.png": None}, "no file matches ISIC_2_segmentation"),
        ("isic2018", {"ISIC_2_segmentation.png": SMALL}, r"the mask is \(9, 9\)"),
        ("kvasir_seg", {"masks/k1.jpg": None}, r"k1\.jpg: cannot be read"),
        ("kvasir_seg", {"masks/k1.jpg": b"not a picture"}, r"k1\.jpg: cannot be read"),
        ("oxford_pet", {"trimaps/Cat_1.png": layouts.encoded(ODD)}, r"\[7\] are not allowed"),
        ("oxford_pet", {"trimaps/Cat_1.png": None}, r"Cat_1\.png: cannot be read"),
        ("sirst_v2", {"m1_pixels0.png": None}, r"m1_pixels0\.png: cannot be read"),
        ("sirst_v2", {"test_v1fullv2target.txt": None}, "not the dataset's layout"),
        ("vnc_em", {"synapses/03.png": SMALL}, r"masks_synapses: the mask is \(9, 9\)"),
        ("wbc", {"002.png": layouts.encoded(ODD)}, r"002\.png: values \[7\] are not allowed"),
        ("wbc", {".bmp": None}, "not the dataset's layout"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_nothing_is_left(
    name, change, words, server, monkeypatch, in_tmp
):
    layouts.serve(server, monkeypatch, name, changed(name, change))
    with pytest.raises(ValueError, match=f"(?s)dataset '{name}'.*{words}"):
        fetch(name)
    assert [p.name for p in Path("data").iterdir()] == ["downloads"]


def test_masks_agree_with_the_layouts(server, monkeypatch, in_tmp):
    def mask_of(name, stem, masks="masks"):
        return prepared.read(Path("data", name), masks).mask(stem)

    for name in ("busi", "crackforest", "dsb2018", "isic2018", "oxford_pet"):
        layouts.serve(server, monkeypatch, name)
        fetch(name)
    assert not mask_of("busi", "normal_5").any()  # images without a lesion are kept
    assert (mask_of("busi", "benign_1") == layouts.mask(1) | layouts.mask(1)[::-1]).all()
    crack = mask_of("crackforest", "001")
    assert not crack[:2].any()  # enclosed by cracks: no crack
    assert crack[-2:].all()
    instances = pixels("data/dsb2018/instances/n1.png")
    assert instances.dtype == np.uint16
    assert set(np.unique(instances)) == {0, 1, 2}
    border = mask_of("oxford_pet", "Cat_1", "masks_with_border")[3]
    assert border.all()
    assert not mask_of("oxford_pet", "Cat_1")[3].any()
    assert set(np.unique(pixels("data/oxford_pet/labels/Cat_1.png"))) == {0, 1, 2}
    assert mask_of("isic2018", "ISIC_0").shape == (512, 512)
