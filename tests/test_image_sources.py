"""Sources of test images: windows of an image, and images of a group, are not independent."""

import json

import numpy as np
import pytest

from analysis.results import Results
from experiments.data import drop, prepare, prepared
from experiments.data.writing import save_image
from experiments.layout import CONFIG
from experiments.plan.study import Study
from experiments.runs import collect
from tests.runs.conftest import prepared_study, train_here
from tests.workflow import SHARED

TEST = ["007", "008", "009"]


@pytest.fixture
def squares(in_tmp):
    """Images of 40 pixels with a square in the middle, which is brighter in each; no groups."""
    folder = in_tmp / "squares"
    for i in range(1, 10):
        mask = np.zeros((40, 40), np.uint8)
        mask[16:24, 16:24] = 1
        save_image(folder / "images" / f"{i:03}.png", mask * np.uint8(20 * i))
        save_image(folder / "masks" / f"{i:03}.png", mask * np.uint8(255))
    describe(folder)
    return folder


def describe(folder, **more):
    split = {"train": ["001", "002", "003", "004"], "val": ["005", "006"], "test": TEST}
    (folder / "dataset.json").write_text(json.dumps({"split": split} | more))


def cell_of(tiny, dataset, knobs=None, **more):
    """The folder of the only cell of a study of a dataset."""
    (name,) = dataset
    sizes = {"train": 4, "val": 2, "test": 6}
    experiments = {"e": {"levels": {"x": knobs or {}}}}
    changes = {"datasets": {name: dataset[name] | sizes}, "experiments": experiments, "seeds": [0]}
    study = prepared_study(tiny | changes | more)
    (cell,) = study.cells(name)
    return study.file(cell)


def windows_by_source(cell):
    found = {}
    for stem, source in prepared.sources(cell).items():
        found.setdefault(source, set()).add(stem)
    return found


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images next to the checkout")
@pytest.mark.parametrize("name", ["camvid", "chase_db1", "vnc_em", "wbc", "crackforest"])
def test_windows_of_an_image_and_images_of_a_group_share_a_source(tiny, in_tmp, name):
    target = {"target": "nucleus"} if name == "wbc" else {}
    study = Study(
        tiny
        | {
            "datasets": {name: {"train": 2, "val": 2, "test": 90, **target}},
            "experiments": {"e": {"levels": {"x": {}}}},
            "seeds": [0, 1],
            "mirror": str(SHARED),
        }
    )
    prepare.run(study)
    first, second = (prepared.sources(study.file(cell)) for cell in study.cells(name))
    data = prepared.read_cell(study.file(study.cells(name)[0]))
    assert list(first) == sorted(data.split["test"])
    assert first == second
    groups = json.loads((SHARED / name / "dataset.json").read_text()).get("groups") or {}
    images = {stem: stem.rpartition("-")[0] for stem in first}
    assert first == {stem: groups.get(image, image) for stem, image in images.items()}
    assert len(set(images.values())) < len(first)
    assert bool(groups) == (len(set(first.values())) < len(set(images.values())))


def test_an_image_without_a_group_is_its_own_source(tiny, squares):
    cell = cell_of(tiny, {"d": {"folder": str(squares)}})
    assert windows_by_source(cell) == {stem: {f"{stem}-0", f"{stem}-1"} for stem in TEST}


@pytest.mark.parametrize(
    "groups", [{"007": "eye", "009.png": "eye"}, {"eye": ["007", "009"]}], ids=["images", "lists"]
)
def test_groups_change_sources_and_no_content(tiny, squares, groups):
    plain = prepared.content(cell_of(tiny, {"d": {"folder": str(squares)}}))
    describe(squares, groups=groups)
    cell = cell_of(tiny, {"d": {"folder": str(squares)}})
    assert windows_by_source(cell).keys() == {"eye", "008"}
    assert prepared.content(cell) == prepared.measure(cell) == plain


def test_copies_of_an_image_are_one_source(tiny, squares):
    for part in ("images", "masks"):
        (squares / part / "009.png").write_bytes((squares / part / "008.png").read_bytes())
    cell = cell_of(tiny, {"d": {"folder": str(squares)}})
    assert windows_by_source(cell).keys() == {"007", "008"}


@pytest.mark.parametrize("shown", [1, 2])
def test_a_mosaic_has_the_source_of_its_first_window(tiny, squares, shown):
    knobs = {"mosaic": 2, "fraction": shown * 64 / 64**2}
    cell = cell_of(tiny, {"d": {"folder": str(squares)}}, knobs)
    data = prepared.read_cell(cell)
    for stem, source in prepared.sources(cell).items():
        seen = set(data.image(stem)[data.mask(stem) > 0].tolist())
        assert 20 * int(source) in seen
        assert len(seen) == shown


def test_generated_images_have_no_source(tiny, in_tmp):
    cell = cell_of(tiny, {"controlled": {}})
    assert prepared.sources(cell) == {}
    assert "sources" not in json.loads((cell / "dataset.json").read_text())


def test_a_dropped_folder_keeps_its_sources(tiny, squares):
    cell = cell_of(tiny, {"d": {"folder": str(squares)}})
    before = prepared.sources(cell)
    drop.drop(cell)
    assert [path.name for path in cell.iterdir()] == ["dataset.json"]
    assert prepared.sources(cell) == before != {}


def test_the_analysis_reads_the_sources_without_the_images(tiny, squares):
    describe(squares, groups={"007": "1", "008": "1"})
    config = tiny | {
        "datasets": {"d": {"folder": str(squares), "train": 4, "val": 2, "test": 3}}
        | tiny["datasets"],
        "losses": {"dice": {}},
        "experiments": {"blur": {"knob": "blur", "values": [0, 1]}},
        "keep": [],
    }
    study = prepared_study({"reference": "dice"} | config)
    study.file(CONFIG).write_text(study.json)
    train_here(study, *study.runs)
    drop.run(study)
    collect.run(study)
    found = Results.open(study.folder).image_sources
    assert found.columns.tolist() == ["dataset", "stress", "image", "source", "group"]
    assert set(found.itertuples(index=False, name=None)) == {
        ("d", stress, f"{stem}-0", stem, group)
        for stress in ("none", "blur-1")
        for stem, group in zip(TEST, ["1", "1", "009"], strict=True)
    }
    table = Results.open(study.folder).table
    assert set(table.loc[table["dataset"] == "d", "image"]) == set(found["image"])
    assert len(found) == 6
