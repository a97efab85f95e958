"""Controlled images, stresses and the prepared layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from analysis import stresses
from experiments import controlled, controls, evaluate, objects, prepare, prepared, stress
from experiments.plan import Study


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


def test_stresses_turn_their_own_knob():
    _, mask = controlled.scene(rng(), 64, 0.06, "large")
    flipped = stress.flips(rng(), mask, 0.2)
    assert np.mean(flipped != mask) == pytest.approx(0.2, abs=0.02)
    moved = stress.jitter(rng(), mask, 2.0)
    inside, outside = (ndimage.distance_transform_edt(m) for m in (mask, 1 - mask))
    away = np.where(mask, inside, outside)[moved != mask]
    assert 0 < away.mean() < 3  # only pixels near the boundary change
    assert away.max() < 8
    assert moved.mean() == pytest.approx(mask.mean(), rel=0.3)
    assert not stress.jitter(rng(), np.zeros_like(mask), 2.0).any()
    step = np.repeat([[0] * 16 + [255] * 16], 32, 0).astype(np.uint8)
    assert len(np.unique(stress.blur(step, 2.0))) > 6


def test_windows_keep_objects_at_their_scale_and_reach_the_fraction():
    image, mask = controlled.scene(rng(2), 160, 0.02, "large")
    for fraction in (0.1, 0.05, 0.01):
        cut, cut_mask = stress.window(rng(), (image, mask), 64, fraction=fraction)
        assert cut_mask.mean() == pytest.approx(fraction, rel=0.3)
        place = np.lib.stride_tricks.sliding_window_view(image, (64, 64))
        assert (place == cut).all((2, 3)).any()  # it is a piece of the image, pixel by pixel
    _, half = stress.window(rng(), (image, mask), 64, size="small")
    assert half.any()
    both, _ = stress.window(rng(), (image, mask), 64, size="mixed")
    assert both.shape == (64, 64)


def test_windows_of_small_empty_and_colour_images():
    tiny = rng().integers(0, 255, (20, 30, 3), dtype=np.uint8)
    for size in ("large", "small", "mixed"):
        cut, mask = stress.window(rng(), (tiny, np.zeros((20, 30), np.uint8)), 64, size=size)
        assert cut.shape == (64, 64, 3)
        assert mask.shape == (64, 64)
        assert not mask.any()


def folder_of(tmp_path, n=10, colour=False, size=(40, 40)):
    for i in range(n):
        image, mask = controlled.scene(rng(i), 40, 0.1, "large")
        image = np.repeat(image[..., None], 3, 2) if colour else image
        for part, array in (("images", image), ("masks", mask * 255)):
            (tmp_path / part).mkdir(exist_ok=True, parents=True)
            Image.fromarray(array).resize(size, 0).save(tmp_path / part / f"{i}.png")
    return tmp_path


def test_a_folder_of_images_and_masks_is_a_dataset(tmp_path):
    data = prepared.read(folder_of(tmp_path))
    sizes = {name: len(stems) for name, stems in data.split.items()}
    assert sizes == {"train": 6, "val": 2, "test": 2}
    assert prepared.read(tmp_path).split == data.split
    for stem in data.split["train"]:  # names and their order do not matter, content does
        for part in ("images", "masks"):
            (tmp_path / part / f"{stem}.png").rename(tmp_path / part / f"z{stem}.png")
    assert set(prepared.read(tmp_path).split["test"]) == set(data.split["test"])


def test_groups_and_equal_images_stay_on_one_side(tmp_path):
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


def test_own_lists_are_kept_and_val_is_drawn_from_train(tmp_path):
    folder_of(tmp_path)
    own = {"train": [str(i) for i in range(7)], "val": [], "test": ["7", "8", "9"]}
    (tmp_path / "dataset.json").write_text(json.dumps({"split": own}))
    split = prepared.read(tmp_path).split
    assert split["test"] == own["test"]
    assert sorted(split["train"] + split["val"]) == own["train"]
    assert split["val"]


def test_what_does_not_fit_the_layout_is_named(tmp_path):
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


@pytest.mark.parametrize("colour", [False, True])
def test_preparing_is_deterministic_and_labels_are_stressed_in_training_only(tiny, in_tmp, colour):
    source = folder_of(in_tmp / "own", colour=colour)
    tiny["datasets"]["own"] = {"folder": str(source), "train": 8, "val": 4, "test": 4}
    study = Study(tiny)
    for dataset in study.datasets.values():
        measured = prepare.prepare(study, dataset, "flips-0.3", 0)
        assert measured["label_agreement"] == pytest.approx(0.7, abs=0.02)
        folder = study.data_folder(dataset.name, "flips-0.3", 0)
        first = json.loads((in_tmp / folder / "dataset.json").read_text())
        data = prepared.read(folder)
        for split, changed in (("train", True), ("val", False), ("test", False)):
            for stem in data.split[split]:
                assert (data.mask(stem) != data.mask(stem, "masks_clean")).any() == changed
        prepare.prepare(study, dataset, "flips-0.3", 0)
        assert json.loads((in_tmp / folder / "dataset.json").read_text()) == first
        prepare.prepare(study, dataset, "flips-0.3", 1)
        other = prepared.read(study.data_folder(dataset.name, "flips-0.3", 1))
        assert other.info["content"] != first["content"]
        prepare.prepare(study, dataset, "none", 0)
        plain = prepared.read(study.data_folder(dataset.name, "none", 0))
        for stem in plain.split["test"]:  # the same images under every label stress
            assert (plain.image(stem) == data.image(stem)).all()


@pytest.mark.parametrize("size", ["large", "small", "mixed"])
def test_another_observers_labels_are_trained_on_and_nothing_else_changes(tiny, in_tmp, size):
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
    for name, stressed_by in study.stresses("own").items():
        prepare.prepare(study, study.datasets["own"], name, 0)
        data["observer" in dict(stressed_by)] = prepared.read(study.data_folder("own", name, 0))
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


def test_a_fraction_out_of_reach_is_refused(tiny, in_tmp):
    tiny["datasets"] = {"own": {"folder": str(folder_of(in_tmp / "own"))}}
    study = Study(tiny)
    with pytest.raises(ValueError, match=r"'own', fraction 0\.03: .*reach"):
        prepare.prepare(study, study.datasets["own"], "fraction-0.03_size-small", 0)


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
        READ[dataset.folder] = prepare.read_source(study, dataset)
    prepare.prepare(study, dataset, name, seed, READ[dataset.folder])
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
def test_a_knob_of_labels_leaves_all_else_as_it_is(tiny, in_tmp, source, knob):
    plain, _ = stressed(tiny, source, BASE)
    turned, content = stressed(tiny, source, BASE | {knob: LABEL_KNOBS[knob]})
    _, same = stressed(tiny, source, BASE | {knob: LABEL_KNOBS[knob]})
    assert content == same
    for split in plain:
        assert (turned[split][0] == plain[split][0]).all()  # images
        assert (turned[split][1] == plain[split][1]).all()  # true masks
        changed = (turned[split][2] != plain[split][2]).any()
        assert changed == (split == "train")
    label, true = turned["train"][2].astype(int), plain["train"][1].astype(int)
    wrong = {1: (label > true).any(), -1: (label < true).any()}
    allowed = {"missed": -1, "invented": 1, "overdraw": -1}
    allowed |= {"flips_background": 1, "flips_foreground": -1}
    if knob in allowed:
        assert wrong[allowed[knob]]
        assert not wrong[-allowed[knob]]


@pytest.mark.parametrize(("knob", "value"), [("blur", 2), ("image_noise", 0.1)])
def test_a_knob_of_images_leaves_labels_as_they_are(tiny, in_tmp, source, knob, value):
    plain, _ = stressed(tiny, source, BASE)
    turned, content = stressed(tiny, source, BASE | {knob: value})
    assert stressed(tiny, source, BASE | {knob: value})[1] == content
    for split in plain:
        assert (turned[split][0] != plain[split][0]).any()
        for masks in (1, 2):
            assert (turned[split][masks] == plain[split][masks]).all()


def test_absence_is_an_exact_share_and_leaves_the_other_images(tiny, in_tmp, source):
    plain, _ = stressed(tiny, source, {})
    turned, _ = stressed(tiny, source, {"absence": 0.25})
    for split in plain:
        without = ~turned[split][1].any((1, 2))
        assert without.sum() == round(0.25 * len(without))
        for before, after in zip(plain[split], turned[split], strict=True):
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


@pytest.mark.parametrize("knobs", [{"rough": 0.2}, {"overlap": 1.0}])
def test_outlines_and_overlap_keep_the_fraction(knobs):
    plain = [controlled.scene(rng(i), 64, 0.2, "large")[1] for i in range(10)]
    turned = [controlled.scene(rng(i), 64, 0.2, "large", **knobs)[1] for i in range(10)]
    assert [m.sum() for m in turned] == [m.sum() for m in plain]

    def edge(masks):
        return sum((m & ~ndimage.binary_erosion(m)).sum() for m in masks)

    if "rough" in knobs:
        assert edge(turned) > 1.1 * edge(plain)
    else:
        assert sum(len(objects.label(m)[1]) for m in turned) < sum(
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
def test_the_posterior_is_what_labels_come_to(knobs):
    _, mask = controlled.scene(rng(), 64, 0.1, "small")
    source, n = rng(1), 2000
    mean = sum(stress.corrupt(source, mask, knobs).astype(float) for _ in range(n)) / n
    q = stress.posterior(mask, knobs)
    assert np.abs(mean - q).max() < 5 * 0.5 / np.sqrt(n)
    for side in (0, 1):
        assert mean[mask == side].mean() == pytest.approx(q[mask == side].mean(), abs=0.01)


def test_the_posterior_refuses_what_it_does_not_know():
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
            prepared._save(Path(f"cells/{name}/{i}.png"), array.astype(np.uint8))
        prepared._save(Path(f"cells/instances/{i}.png"), ids)
    return "cells"


def cell(tiny, knobs, **dataset):
    """The folder of one cell of one dataset."""
    tiny["datasets"] = {"d": {"train": 6, "val": 2, "test": 2, **dataset}}
    tiny["experiments"] = {"e": {"levels": {"x": knobs}}}
    study = Study(tiny)
    (name,) = study.stresses("d")
    prepare.prepare(study, study.datasets["d"], name, 0)
    return prepared.read(study.data_folder("d", name, 0))


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
    ((truth, *_),) = evaluate.truths(cell(tiny, {"blur": 1}, folder=cells)).values()
    assert sorted(truth.objects[1]) == [64, 64, 64]


def test_objects_are_missed_one_by_one_where_ids_tell_them(tiny, cells):
    data = cell(tiny, {"missed": 0.5}, folder=cells)
    areas = [int(data.mask(stem).sum()) for stem in data.split["train"]]
    assert set(areas) <= {0, 64, 128, 192}
    touching = [data.mask(stem)[4:12, 4:20] for stem in data.split["train"]]
    assert any(0 < part.sum() < part.size for part in touching)
    # As the table of stresses tells it: labelled objects are those that were not missed.
    row = stresses.measure(data.folder, "train")
    assert row["objects"] == 3
    assert row["label_objects"] == np.mean(areas) / 64


def test_objects_left_out_neither_train_nor_count_and_all_else_is_as_it_was(tiny, cells):
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


def test_fewer_windows_than_images_are_of_the_same_ones_whatever_their_names(tiny, cells):
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


def test_windows_that_lie_anywhere_are_those_of_every_target(tiny, cells):
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


def test_a_target_may_be_some_of_the_class_ids(tiny, cells):
    one = cell(tiny, {}, folder=cells, classes=[2])
    assert [int(one.mask(s).sum()) for s in one.split["test"]] == [64, 64]
    both = cell(tiny, {}, folder=cells, classes=[1, 2])
    assert [int(both.mask(s).sum()) for s in both.split["test"]] == [192, 192]
    assert both.instances(both.split["test"][0]) is None  # the ids are those of masks/
    left = cell(tiny, {}, folder=cells, classes=[1], ignore=2)
    assert [int(left.ignored(s).sum()) for s in left.split["test"]] == [64, 64]
    row = stresses.measure(left.folder, "test")
    assert row["fraction"] == 128 / (32 * 32 - 64)
    study = Study(tiny)
    assert study.source_files(study.datasets["d"]) == ["cells/images", "cells/labels"]


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
    truths = evaluate.truths(data)
    assert list(truths) == ["alone", "two"]
    for k, of_class in enumerate(truths.values(), 1):
        for stem, truth in zip(data.split["test"], of_class, strict=True):
            assert (truth.mask == (data.target(stem) == k)).all()


def test_targets_may_be_classes_and_later_ones_lie_on_earlier(tiny, cells):
    for i in range(12):
        alone = np.zeros((32, 32), np.uint8)
        alone[20:28, 20:28] = 255
        prepared._save(Path(f"cells/masks_alone/{i}.png"), alone)
    for classes in ({"any": "masks", "one": "alone"}, {"any": [1, 2], "one": "alone"}):
        data = cell(tiny, {}, folder=cells, classes=classes)
        assert data.instances(data.split["test"][0]) is None
        for stem in data.split["test"]:
            assert np.bincount(data.target(stem).ravel()).tolist() == [32**2 - 192, 128, 64]
    study = Study(tiny)
    files = study.source_files(study.datasets["d"])
    assert files == ["cells/images", "cells/labels", "cells/masks_alone"]


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


def test_random_masks_of_several_classes_are_apart_and_of_their_shares():
    truth = np.zeros((1, 2, 100, 100), bool)
    truth[:, 0, :50], truth[:, 1, 50:60] = True, True
    drawn = controls.predictions(rng(), truth)["random mask"]
    assert drawn.sum(1).max() == 1
    assert drawn.mean((0, 2, 3)) == pytest.approx([0.5, 0.1], abs=0.02)
