"""Runs: byte-equal whatever else runs, skipped when valid, recorded whatever happens."""

import json
from pathlib import Path

import numpy as np
import pytest
from albumentations.augmentations.geometric import functional
from PIL import Image

from experiments import chunk, controlled, prepare, provenance, results, train
from experiments.plan import Study
from tests.conftest import write_halves


def prepared_study(config, stresses=None):
    study = Study(config)
    for dataset in study.datasets.values():
        for name in stresses or study.stresses(dataset.name):
            for seed in study.seeds:
                prepare.prepare(study, dataset, name, seed)
    return study


def everything_but_time(study, run):
    """A run's bytes, less what tells when and how long."""
    folder = Path(study.folder, run.path)
    record = json.loads((folder / "run.json").read_text())
    del record["seconds"], record["written"]
    return record, {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "run.json"}


@pytest.fixture
def short(tiny):
    """Two cells by two losses, one seed."""
    tiny["experiments"] = {"noise": tiny["experiments"]["noise"]}
    tiny["seeds"] = [0]
    return tiny


def test_a_run_gives_the_same_bytes_alone_or_beside_others(short, in_tmp):
    study = prepared_study(short)
    assert chunk.train_all(study, study.runs, jobs=1) == 4
    alone = [everything_but_time(study, run) for run in study.runs]
    other = prepared_study({**short, "study": "other"})
    assert chunk.train_all(other, other.runs[::-1], jobs=2) == 4
    for run, before in zip(study.runs, alone, strict=True):
        assert everything_but_time(other, run) == before


def test_valid_runs_are_kept_and_only_what_changed_is_trained(short, in_tmp):
    study = prepared_study(short)
    chunk.train_all(study, study.runs, jobs=1)
    before = {run.path: everything_but_time(study, run) for run in study.runs}
    assert chunk.train_all(study, study.runs, jobs=1) == 0
    gone, cut, stale = study.runs[0], study.runs[1], study.runs[2]
    Path(study.record(gone)).unlink()
    Path(study.folder, cut.path, "counts.csv").write_text("image\n")
    Path(study.record(stale)).write_text('{"form')
    assert chunk.train_all(study, study.runs, jobs=1) == 3
    assert {run.path: everything_but_time(study, run) for run in study.runs} == before
    longer = Study({**short, "training": {**short["training"], "steps": 7}})
    assert chunk.train_all(longer, longer.runs[:1], jobs=1) == 1
    assert not chunk.is_done(study, study.runs[0])


def test_runs_are_trained_again_when_their_data_changed(short, in_tmp):
    study = prepared_study(short)
    chunk.train_all(study, study.runs, jobs=1)
    short["datasets"]["controlled"]["train"] = 9
    study = prepared_study(short)
    assert chunk.train_all(study, study.runs, jobs=1) == 4


def test_the_loss_is_the_only_difference(short, in_tmp):
    study = prepared_study(short)
    dice, other = (
        next(r for r in study.runs if r.loss == loss) for loss in ("dice", "cross_entropy")
    )
    cell = train.Cell(study.data_folder(*dice.cell))
    for one, two in zip(train.batches(cell, dice), train.batches(cell, other), strict=True):
        for a, b in zip(one[:3], two[:3], strict=True):
            assert (a == b).all()


def test_augmentation_turns_image_mask_and_maps_alike(short, in_tmp):
    study = prepared_study(short)
    run = study.runs[0]
    cell = train.Cell(study.data_folder(*run.cell))
    cell.masks = cell.images[..., 0]  # so that equal turns are seen
    seen = set()
    for picked, images, masks, _, maps in train.batches(cell, run, cell.images / 255):
        assert (images[..., 0] == masks).all()
        assert (maps == images / 255).all()
        seen |= {(i, mask.tobytes()) for i, mask in zip(picked, masks, strict=True)}
    assert len(seen) > len(cell.images)


def test_a_run_whose_last_step_has_no_finite_gradient_has_diverged(short, in_tmp, monkeypatch):
    short["training"]["steps"] = 1
    study = prepared_study(short)

    def loss(logits, target):
        return (logits - logits.detach()).abs().sqrt().sum()  # 0, and no slope there

    loss.to = lambda device: loss
    monkeypatch.setattr(train.losses, "build", lambda spec: loss)
    monkeypatch.setattr(provenance, "code", lambda spec: "none")
    record = train.train(study, study.runs[0])
    assert (record["status"], record["step"]) == ("diverged", 1)


@pytest.mark.parametrize("loss", ["dice", "cross_entropy", "boundary_loss", "elsewhere"])
def test_nothing_is_learned_from_pixels_that_do_not_count(tiny, in_tmp, loss):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):  # two folders that differ at pixels of class 7 alone
        for i in range(12):
            image, mask = controlled.scene(np.random.default_rng(i), 32, 0.2, "large")
            labels = mask.copy()
            labels[:, :8] = 7
            mask[:, :8] = rng.integers(2) if name == "one" else 1
            for part, array in (("images", image), ("masks", mask * 255), ("labels", labels)):
                (in_tmp / name / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(in_tmp / name / part / f"{i}.png")
    uses = {
        "boundary_loss": {"use": "boundary"},
        "elsewhere": {"use": "segmentation_models_pytorch.losses:DiceLoss", "mode": "binary"},
    }
    found = {}
    for name in ("one", "two"):
        for ignore in (None, 7):
            study = prepared_study(
                tiny
                | {
                    "study": f"{name}-{ignore}",
                    "datasets": {
                        "d": {"folder": name, "ignore": ignore, "train": 7, "val": 2, "test": 3}
                    },
                    "losses": {loss: uses.get(loss, {})},
                    "experiments": {"e": {"levels": {"as it is": {}}}},
                    "image_size": 32,
                    "seeds": [0],
                }
            )
            (run,) = study.runs
            record = train.train(study, run)
            assert record["status"] == "ok", record.get("reason")
            counts = Path(study.folder, run.path, "counts.csv").read_text()
            found[name, ignore] = record["weights"], record["val_dice"], counts
    assert found["one", 7] == found["two", 7]
    assert found["one", None] != found["two", None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["dice", "cross_entropy", "lovasz", "hausdorff"])
def test_pixels_set_aside_neither_count_nor_pull(channels, name):
    torch = train.torch
    generator = torch.Generator().manual_seed(0)
    ignored = np.zeros((2, 8, 8), np.uint8)
    ignored[:, 2:5] = 1
    away = torch.from_numpy(ignored)[:, None] > 0
    logits = torch.randn(2, channels, 8, 8, generator=generator)
    masks = np.random.default_rng(0).integers(max(2, channels), size=ignored.shape)
    values = []
    for more in (0.0, 3.0):
        moved = (logits + more * away).requires_grad_()
        target = train.to_target(np.where(ignored, more > 0, masks), max(1, channels - 1))
        value = train.losses.build(name)(*train.set_aside(ignored, moved, target))
        value.backward()
        assert (moved.grad.masked_select(away) == 0).all()
        assert moved.grad.abs().sum() > 0
        values.append(value.item())
    assert values[0] == values[1]


def test_several_classes_are_trained_by_one_model(tiny, in_tmp):
    write_halves(in_tmp / "halves")
    own = {"folder": "halves", "train": 7, "val": 2, "test": 3, "classes": {"left": 4, "right": 9}}
    study = prepared_study(
        tiny
        | {
            "datasets": {"halves": own},
            "losses": {
                "dice": {},
                "boundary": {},  # with maps
                "smp": {"use": "segmentation_models_pytorch.losses:DiceLoss", "mode": "multiclass"},
            },
            "experiments": {"e": {"levels": {"as it is": {}}}},
            "seeds": [0],
        }
    )
    chunk.train_all(study, study.runs, jobs=1)
    table, records = results.collect(study)
    assert [record["status"] for record in records] == ["ok"] * 3
    assert table.groupby("loss").size().tolist() == [3 * 2 * 2] * 3
    for record in records:
        assert set(record["threshold"]) == set(record["val_dice"]) == {"left", "right"}
    tuned = table["threshold"] == "tuned"
    assert table.loc[tuned, "threshold_value"].between(0, 1).all()
    assert table.loc[~tuned, "threshold_value"].isna().all()
    run = study.runs[0]
    strip = np.asarray(Image.open(Path(study.folder, run.path, "probabilities.png")))
    assert strip.shape == (2 * 32, 3 * 32)
    pixels = table[["tp", "fp", "fn", "tn"]].sum(axis=1)
    assert (pixels == 32**2).all()


def test_the_turns_are_those_of_albumentations():
    image = np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    group = ("e", "r90", "r180", "r270", "v", "hvt", "h", "t")
    theirs = {functional.d4(image, element).tobytes() for element in group}
    ours = {train.turned(image[None], e)[0].tobytes() for e in range(8)}
    assert ours == theirs
    assert len(ours) == 8


def test_large_splits_are_mapped_and_equal(short, in_tmp, monkeypatch):
    study = prepared_study(short)
    folder = study.data_folder(*study.runs[0].cell)
    held = train.Cell(folder)
    monkeypatch.setattr(train, "LARGE", 1000)
    for _ in range(2):  # written, then found
        mapped = train.Cell(folder)
        for name in ("images", "masks", "val_images", "test_images"):
            assert (getattr(mapped, name) == getattr(held, name)).all()
    assert isinstance(mapped.masks.base, np.memmap) or isinstance(mapped.masks, np.memmap)


@pytest.mark.parametrize(
    ("loss", "status", "reason"),
    [
        ("TurnsNaN", "diverged", None),
        ("Raises", "failed", "no such thing"),
        ("OutOfMemory", "failed", "out of memory"),
    ],
)
def test_a_run_that_goes_wrong_is_recorded_as_such(short, in_tmp, loss, status, reason):
    short["losses"] = {"dice": {}, "bad": {"use": f"tests.user_losses:{loss}"}}
    study = prepared_study(short)
    chunk.train_all(study, study.runs, jobs=1)
    table, records = results.collect(study)
    bad = [r for r in records if r["run"]["loss"] == "bad"]
    assert [r["status"] for r in bad] == [status, status]
    assert all(reason in r["reason"] if reason else r["step"] == 3 for r in bad)
    rows = table[table["loss"] == "bad"]
    assert len(rows) == 2
    assert rows["tp"].isna().all()
    assert (table.loc[table["loss"] == "dice", "status"] == "ok").all()


def test_losses_with_maps_and_schedules_are_trained_like_the_others(short, in_tmp):
    names = ["boundary", "hausdorff", "blob", "ce_to_dice", "dice_boundary"]
    short["losses"] = {key: {} for key in names} | {
        "mix": {"sum": {"dice": {"weight": 0.5, "smooth": 1}, "boundary": 0.1}},
        "monai": {"use": "monai.losses:DiceCELoss", "sigmoid": True},
    }
    study = prepared_study(short, ["none"])
    runs = [run for run in study.runs if not run.stress]
    chunk.train_all(study, runs, jobs=1)
    for run in runs:
        record = results.read_record(Path(study.folder, run.path))
        assert record["status"] == "ok", record


def test_the_record_says_where_it_comes_from(short, in_tmp):
    study = prepared_study(short)
    chunk.train_all(study, study.runs[:1], jobs=1)
    record = results.read_record(Path(study.folder, study.runs[0].path))
    assert record["fingerprint"] == study.runs[0].fingerprint
    assert record["run"]["training"]["steps"] == 6
    assert set(record["seconds"]) == {"load", "train", "evaluate"}
    assert {"torch", "numpy", "python"} <= set(record["versions"])
    assert record["device"] == "cpu"
    assert len(record["commit"]) == 40
    assert isinstance(record["dirty"], bool)
    assert record["curve"][-1]["step"] == 6
    assert np.isfinite(record["curve"][-1]["loss"])


def test_progress_tells_how_far_and_how_long(short, in_tmp, caplog):
    study = prepared_study(short)
    with caplog.at_level("INFO", logger="dicebench"):
        chunk.train_all(study, study.runs, jobs=1)
    assert "[1/4] controlled none cross_entropy seed 0: ok, loss" in caplog.text
    assert "[4/4]" in caplog.text
    assert "left" in caplog.text


def test_the_code_of_a_users_loss_counts(tmp_path, monkeypatch):
    (tmp_path / "brought.py").write_text("from torch import nn\nclass L(nn.Module):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = '{"use": "brought:L"}'
    before = provenance.code(spec)
    (tmp_path / "brought.py").write_text("from torch import nn\nclass L(nn.Module):\n    x = 1\n")
    provenance.code.cache_clear()
    assert provenance.code(spec) != before
    assert provenance.code('{"use": "dice"}') != provenance.code('{"use": "cross_entropy"}')


def test_cuda_is_not_silently_replaced():
    if train.torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="'cuda' is not available"):
        train.resolve_device("cuda")
    assert train.resolve_device("auto") == "cpu"
