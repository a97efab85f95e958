"""Mosaics: a fraction of a dataset's images changes the background and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from experiments.data import mosaics, objects, prepare, probe
from experiments.data.scenes import Windows, borders, scenes
from experiments.data.source import read_source
from experiments.data.writing import save_image
from experiments.errors import ConfigError
from experiments.layout import INSTANCES, MASKS
from experiments.plan.knobs import Stress
from experiments.plan.study import Study
from tests.layouts import folder_of

SHARED = Path(__file__).parents[2] / "shared" / "data"
REAL = {
    "wbc": {"target": "nucleus"},
    "dsb2018": {},
    "vnc_em": {"target": "mitochondria"},
    "camvid": {"target": "car", "ignore": 11},
    "chase_db1": {},
    "crackforest": {},
    "sirst_v2": {},
}
"""Dataset -> settings."""


def study_of(tiny, folder=None, *, side=32, **settings):
    place = {"folder": str(folder)} if folder else {}
    tiny["datasets"] = {"d": {"train": 12, "val": 4, "test": 4} | place | settings}
    tiny["experiments"] = {"e": {"levels": {"a": {}}}}
    tiny["image_size"] = side
    return Study(tiny)


def train(study, source, **knobs):
    """Images, masks and a summary of the objects of the training split."""
    dataset, stress = study.datasets["d"], Stress(knobs)
    samples = scenes(study, dataset, stress, 0, source)["train"]
    masks = np.stack([m[MASKS] for *_, m in samples])
    ids = [m.get(INSTANCES) for *_, m in samples]
    found = objects.summary(masks, ids, borders(study, dataset, stress))
    return np.stack([image for _, image, _ in samples]), masks, found


def largest(study, source):
    """Fraction of the windows as they are."""
    return float(train(study, source)[1].mean())


@pytest.mark.parametrize("name", ["generated", *REAL])
def test_levels_of_a_fraction_keep_the_objects_whole_and_at_their_size(tiny, in_tmp, name):
    if name == "generated":
        study = study_of(tiny, folder_of(in_tmp / "own", n=20, size=(90, 90)))
    elif (SHARED / name).is_dir():
        tiny["mirror"] = str(SHARED)
        study = study_of(tiny, source=name, side=64, train=48, **REAL[name])
    else:
        pytest.skip("no real images beside the checkout")
    source = read_source(study, study.datasets["d"])
    *_, plain = train(study, source)
    top = largest(study, source)
    _, masks, found = train(study, source, mosaic=3, fraction=top / 9)
    assert masks.mean() == pytest.approx(top / 9)
    assert found == pytest.approx(plain)  # the same objects, each once
    _, masks, found = train(study, source, mosaic=3, fraction=top)
    assert masks.mean() == pytest.approx(top)
    assert found["objects"] == pytest.approx(9 * plain["objects"])  # each nine times
    for key in ("near_border", "cut"):
        assert found[key] == pytest.approx(plain[key])
    # A quarter of 9 windows is 2 or 3: the images with 3 are a sample of the windows.
    _, masks, found = train(study, source, mosaic=3, fraction=top / 4)
    assert masks.mean() == pytest.approx(top / 4, rel=0.1)
    assert found["near_border"] == pytest.approx(plain["near_border"], abs=0.05)
    assert found["size_q50"] == pytest.approx(plain["size_q50"], rel=0.1)


def test_a_larger_fraction_adds_objects_to_a_smaller_one(tiny, in_tmp):
    study = study_of(tiny, folder_of(in_tmp / "own", n=20, size=(90, 90)))
    source = read_source(study, study.datasets["d"])
    top = largest(study, source)
    few, many = (train(study, source, mosaic=2, fraction=top * part)[:2] for part in (0.25, 0.75))
    assert (few[1] <= many[1]).all()
    tiles = [a.reshape(12, 2, 32, 2, 32).swapaxes(2, 3) for a in (*few, *many)]
    with_objects = tiles[1].any((3, 4))
    assert with_objects.sum() == 12
    assert (tiles[0][with_objects] == tiles[2][with_objects]).all()  # the same images there
    assert (tiles[0] == tiles[2]).all((3, 4)).sum() == 12 * 2  # and where neither shows objects


def test_objects_that_touch_across_a_seam_stay_apart():
    full = np.ones((4, 4), np.uint8)

    class Full:
        stems = ("a", "b")

        def __len__(self):
            return 2

        def image(self, i):
            return full * i, {MASKS: full}

        def background(self, i, draw, pieces):
            raise LookupError

    mosaic = mosaics.Mosaics(Full(), 2)
    image, masks = mosaic.image(0, 4)
    assert image.shape == (8, 8)
    assert objects.label(masks[MASKS], masks[INSTANCES])[1].tolist() == [16] * 4
    with pytest.raises(LookupError, match="without foreground"):
        mosaic.image(0, 3)
    with pytest.raises(ValueError, match="no window is without foreground"):
        mosaic.shown(0.5)


def test_background_that_an_image_lacks_is_pieced_or_of_another_image(tiny, in_tmp):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[14:18, :] = stripes[:, 14:18] = stripes[46:50, :] = 255
    full = np.full((64, 64), 255, np.uint8)
    for i in range(8):
        image = np.random.default_rng(i).integers(0, 255, (64, 64), dtype=np.uint8)
        save_image(in_tmp / "own" / "images" / f"{i}.png", image)
        save_image(in_tmp / "own" / "masks" / f"{i}.png", full if i % 2 else stripes)
    study = study_of(tiny, in_tmp / "own", side=48)
    source = read_source(study, study.datasets["d"])
    windows = Windows(study, study.datasets["d"], Stress(), source, "train")
    mosaic = mosaics.Mosaics(windows, 2)
    assert 0 < mosaic.pieced < 1
    assert mosaic.borrowed == pytest.approx(1 - mosaic.pieced)
    for i in range(len(windows)):
        assert mosaic.image(i, 1)[1][MASKS].reshape(2, 48, 2, 48).any((1, 3)).sum() == 1


def test_a_split_without_background_is_named(tiny, in_tmp):
    folder = folder_of(in_tmp / "own", n=12, size=(90, 90))
    stems = sorted(path.stem for path in (folder / "images").iterdir())
    split = {"train": stems[:8], "val": stems[8:10], "test": stems[10:]}
    (folder / "dataset.json").write_text(json.dumps({"split": split}))
    for stem in split["val"]:
        save_image(folder / "masks" / f"{stem}.png", np.full((90, 90), 255, np.uint8))
    study = study_of(tiny, folder)
    source = read_source(study, study.datasets["d"])
    with pytest.raises(ValueError, match="no val image has a window without foreground"):
        train(study, source, mosaic=2, fraction=largest(study, source) / 4)


def test_a_fraction_out_of_reach_names_the_range_and_the_mosaic_that_reaches_it(tiny, in_tmp):
    study = study_of(tiny, folder_of(in_tmp / "own", n=20, size=(90, 90)))
    source = read_source(study, study.datasets["d"])
    top = largest(study, source)
    for share, more in ((top * 1.1, ""), (top / 40, r", those of 7 x 7 from .*")):
        words = rf"'d', fraction .*: mosaics of 2 x 2 windows reach .* to {top:.3g}{more}; allowed"
        with pytest.raises(ValueError, match=words):
            train(study, source, mosaic=2, fraction=share)


def test_a_single_window_has_no_fraction_to_set(tiny, in_tmp):
    folder = folder_of(in_tmp / "own")
    tiny["datasets"] = {"own": {"folder": str(folder)}, "controlled": {}}
    tiny["experiments"] = {"imbalance": {"knob": "fraction", "values": [0.1, 0.05]}}
    with pytest.raises(ConfigError, match=r"0\.1 is not allowed; .* 'natural', or .* 'mosaic"):
        Study(tiny)
    tiny["experiments"]["imbalance"]["hold"] = {"mosaic": 2}
    study = Study(tiny)
    assert set(study.stresses("own")) == {"fraction-0.1_mosaic-2", "fraction-0.05_mosaic-2"}
    assert set(study.stresses("controlled")) == {"fraction-0.1", "fraction-0.05"}
    assert [study.side(s) for s in study.stresses("own").values()] == [64, 64]


@pytest.mark.parametrize(("change", "words"), [("smaller", "%"), ("moved", "near a window's")])
def test_a_level_that_changes_the_objects_is_refused(tiny, in_tmp, monkeypatch, change, words):
    study = study_of(tiny, folder_of(in_tmp / "own", n=20, size=(90, 90)))
    dataset = study.datasets["d"]
    source = read_source(study, dataset)
    stress = Stress({"mosaic": 2, "fraction": largest(study, source) / 4})
    prepare.checked_scenes(study, dataset, stress, source)

    def changed(study, dataset, knobs, seed, source):
        split = scenes(study, dataset, knobs, seed, source)
        for *_, masks in split["train"] if knobs.mosaic > 1 else ():
            if change == "smaller":
                masks[MASKS][::2] = 0
            else:
                masks[MASKS][:] = np.roll(masks[MASKS], 16, (0, 1))
                masks[INSTANCES][:] = masks[MASKS]
        return split

    monkeypatch.setattr(prepare, "scenes", changed)
    with pytest.raises(ValueError, match=words):
        prepare.checked_scenes(study, dataset, stress, source)


def test_the_probe_prints_levels_that_the_windows_reach(tiny, in_tmp, capsys):
    study = study_of(tiny, folder_of(in_tmp / "own", n=20, size=(90, 90)))
    probe.run(study)
    text = capsys.readouterr().out
    assert text == (in_tmp / study.folder / "probe.yaml").read_text()
    assert "# d: 12 train, 4 val, 4 test images of 90 x 90 pixels, windows of 32" in text
    tiny["experiments"] = yaml.safe_load(text)["experiments"]
    assert len(tiny["experiments"]["imbalance"]["values"]["d"]) == 3
    suggested = Study(tiny)
    prepare.run(suggested)
    least = min(tiny["experiments"]["imbalance"]["values"]["d"])
    folder = suggested.data_folder("d", f"fraction-{least}_mosaic-4", 0)
    measured = json.loads(Path(folder, "dataset.json").read_text())["measured"]
    assert measured["foreground_fraction"]["train"] == pytest.approx(least, rel=0.03)


def test_the_probe_of_generated_images_says_that_they_reach_everything(tiny, in_tmp):
    with pytest.raises(ConfigError, match="generated images only"):
        probe.run(Study(tiny))
