"""Cells of generated and real images: a knob changes what its name says and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data import objects, prepare, prepared
from experiments.data.source import read_source
from experiments.plan.study import Study
from tests.layouts import folder_of


@pytest.mark.parametrize("colour", [False, True])
def test_preparing_is_deterministic_and_labels_are_stressed_in_training_only(tiny, in_tmp, colour):
    source = folder_of(in_tmp / "own", colour=colour)
    tiny["datasets"]["own"] = {"folder": str(source), "train": 8, "val": 4, "test": 4}
    tiny["experiments"] = {"noise": {"knob": "flips", "values": [0, 0.3]}}
    study = Study(tiny)
    for dataset in study.datasets.values():
        measured = prepare.write_cell(study, dataset, "flips-0.3", 0)
        assert measured["label_agreement"] == pytest.approx(0.7, abs=0.02)
        folder = study.data_folder(dataset.name, "flips-0.3", 0)
        first = json.loads((in_tmp / folder / "dataset.json").read_text())
        data = prepared.read(folder)
        for split, changed in (("train", True), ("val", False), ("test", False)):
            for stem in data.split[split]:
                assert (data.mask(stem) != data.mask(stem, "masks_clean")).any() == changed
        prepare.write_cell(study, dataset, "flips-0.3", 0)
        assert json.loads((in_tmp / folder / "dataset.json").read_text()) == first
        prepare.write_cell(study, dataset, "flips-0.3", 1)
        other = prepared.read(study.data_folder(dataset.name, "flips-0.3", 1))
        assert other.info["content"] != first["content"]
        prepare.write_cell(study, dataset, "none", 0)
        plain = prepared.read(study.data_folder(dataset.name, "none", 0))
        for stem in plain.split["test"]:  # the same images under every label stress
            assert (plain.image(stem) == data.image(stem)).all()


@pytest.mark.parametrize("size", ["large", "small", "mixed"])
def test_an_observers_masks_replace_the_training_labels_only(tiny, in_tmp, size):
    folder = folder_of(in_tmp / "own", colour=size == "mixed")
    (folder / "masks_second").mkdir()
    for path in (folder / "masks").glob("*.png"):
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 2, 0)).save(
            folder / "masks_second" / path.name
        )
    tiny["datasets"] = {"own": {"folder": str(folder), "train": 8, "val": 2, "test": 4}}
    levels = {"own": {"size": size}, "second": {"size": size, "observer": "second"}}
    tiny["experiments"] = {"noise": {"levels": levels}}
    study = Study(tiny)
    data = {}
    for name, knobs in study.stresses("own").items():
        prepare.write_cell(study, study.datasets["own"], name, 0)
        data["observer" in knobs] = prepared.read(study.data_folder("own", name, 0))
    own, second = data[False], data[True]
    equal = []
    for split, stems in own.split.items():
        for stem in stems:
            assert (own.image(stem) == second.image(stem)).all()
            assert (own.mask(stem) == second.mask(stem, "masks_clean")).all()
            if split == "train":
                equal.append((own.mask(stem)[:-2] == second.mask(stem)[2:]).mean())
                assert (own.mask(stem) != second.mask(stem)).any()
            else:
                assert (own.mask(stem) == second.mask(stem)).all()
    assert size != "large" or np.mean(equal) > 0.97


BASE = {"size": "small"}
SHARED = Path(__file__).parents[2] / "shared" / "data"
READ = {}
"""Real datasets by folder, read once."""
LABEL_KNOBS = {
    "missed": 0.4,
    "invented": 1.0,
    "overdraw": -1,
    "shift": 3,
    "jitter": 2,
    "flips": 0.2,
    "flips_background": 0.2,
    "flips_foreground": 0.2,
}


def stressed(tiny, source, knobs, seed=0):
    """{split: (images, true masks, labels)} of one cell, and the content hash."""
    tiny["datasets"] = {"d": {**source, "train": 16, "val": 4, "test": 6}}
    tiny["image_size"] = 64
    tiny["experiments"] = {"e": {"levels": {"x": knobs}}}
    study = Study(tiny)
    (name,) = study.stresses("d")
    dataset = study.datasets["d"]
    if dataset.folder not in READ:
        READ[dataset.folder] = read_source(study, dataset)
    shown = prepare.scenes(study, dataset, study.stresses("d")[name], seed, READ[dataset.folder])
    prepare.write_cell(study, dataset, name, seed, shown, READ[dataset.folder])
    data = prepared.read(study.data_folder("d", name, seed))
    clean = "masks_clean" if (data.folder / "masks_clean").is_dir() else "masks"
    return {
        split: [
            np.stack([read(stem) for stem in stems])
            for read in (data.image, lambda s: data.mask(s, clean), data.mask)
        ]
        for split, stems in data.split.items()
    }, data.info["content"]


@pytest.fixture(params=["controlled", "dsb2018"])
def source(request):
    if request.param == "controlled":
        return {"source": "controlled"}
    if not (SHARED / request.param).is_dir():
        pytest.skip("no shared data")
    return {"folder": str(SHARED / request.param)}


@pytest.mark.parametrize("knob", LABEL_KNOBS)
def test_a_knob_of_labels_changes_nothing_else(tiny, in_tmp, source, knob):
    plain, _ = stressed(tiny, source, BASE)
    changed_cell, content = stressed(tiny, source, BASE | {knob: LABEL_KNOBS[knob]})
    _, same = stressed(tiny, source, BASE | {knob: LABEL_KNOBS[knob]})
    assert content == same
    for split in plain:
        assert (changed_cell[split][0] == plain[split][0]).all()  # images
        assert (changed_cell[split][1] == plain[split][1]).all()  # true masks
        changed = (changed_cell[split][2] != plain[split][2]).any()
        assert changed == (split == "train")
    label, true = changed_cell["train"][2].astype(int), plain["train"][1].astype(int)
    wrong = {1: (label > true).any(), -1: (label < true).any()}
    allowed = {"missed": -1, "invented": 1, "overdraw": -1}
    allowed |= {"flips_background": 1, "flips_foreground": -1}
    if knob in allowed:
        assert wrong[allowed[knob]]
        assert not wrong[-allowed[knob]]


@pytest.mark.parametrize(("knob", "value"), [("blur", 2), ("image_noise", 0.1)])
def test_a_knob_of_images_changes_no_label(tiny, in_tmp, source, knob, value):
    plain, _ = stressed(tiny, source, BASE)
    changed_cell, content = stressed(tiny, source, BASE | {knob: value})
    assert stressed(tiny, source, BASE | {knob: value})[1] == content
    for split in plain:
        assert (changed_cell[split][0] != plain[split][0]).any()
        for masks in (1, 2):
            assert (changed_cell[split][masks] == plain[split][masks]).all()


def test_absence_is_an_exact_share_and_changes_no_other_image(tiny, in_tmp, source):
    plain, _ = stressed(tiny, source, {})
    changed_cell, _ = stressed(tiny, source, {"absence": 0.25})
    for split in plain:
        without = ~changed_cell[split][1].any((1, 2))
        assert without.sum() == round(0.25 * len(without))
        for before, after in zip(plain[split], changed_cell[split], strict=True):
            assert (before[~without] == after[~without]).all()


def test_smaller_objects_at_the_same_fraction(tiny, in_tmp, source):
    large, _ = stressed(tiny, source, {})
    small, _ = stressed(tiny, source, {"size": "small"})
    mixed, _ = stressed(tiny, source, {"size": "mixed"})

    def sizes(masks):
        return np.concatenate([objects.label(m)[1] for m in masks])

    assert small["train"][1].mean() == pytest.approx(large["train"][1].mean(), rel=0.005)
    assert mixed["train"][1].mean() == pytest.approx(large["train"][1].mean(), rel=0.02)
    assert np.median(sizes(small["train"][1])) < 0.5 * np.median(sizes(large["train"][1]))
