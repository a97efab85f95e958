"""The faults of the suite's list by their numbers, each caused for real: 1 to 18.

The faults of whole studies, 19 to 25, have their tests next to the code that meets them.
"""

import json
import math
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from analysis.scores import metrics
from experiments.data import archives, prepared
from experiments.data import fetch as fetching
from experiments.data.archives import unpack
from experiments.data.fetch import fetch
from experiments.errors import ConfigError
from experiments.plan.reading import refuse_duplicates
from experiments.plan.study import Study
from experiments.runs import check, devices, evaluate
from experiments.runs.run import train
from experiments.runs.truth import Truth
from tests import layouts
from tests.layouts import folder_of, pack, png
from tests.runs.conftest import prepared_study


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "WAIT", 0.01)
    with layouts.serving(tmp_path / "served") as server:
        yield server


def refused(config, *words):
    """The configuration is refused, with all of these words."""
    with pytest.raises(ConfigError) as error:
        Study(config)
    for word in words:
        assert word in str(error.value)


def unreadable(folder, *words):
    """The prepared folder is refused, with all of these words."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as error:
        prepared.read(folder)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seedz": [0]}, "unknown setting 'seedz' (did you mean 'seeds'?)"),
        ({"training": {"stepz": 1}}, "training: unknown setting 'stepz' (did you mean 'steps'?)"),
        (
            {"datasets": {"controlled": {"trian": 8}}},
            "datasets.controlled: unknown setting 'trian'",
        ),
        ({"experiments": {"e": {"levels": {"a": {"blurr": 1}}}}}, "did you mean 'blur'"),
    ],
)
def test_fault_01_an_unknown_setting_is_refused_with_the_nearest(tiny, change, words):
    refused(tiny | change, words, "allowed: ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": ["a"]}, "seeds: 'a' is not allowed; allowed: a whole number"),
        ({"training": {"steps": 0}}, "training.steps: 0 is not allowed; allowed: at least 1"),
        ({"training": {"learning_rate": math.inf}}, "training.learning_rate: inf is not allowed"),
        ({"losses": {"l": {"use": ["dice"]}}}, "losses.l: unknown loss ['dice']"),
        ({"study": "-h"}, "study: '-h' is not allowed"),
        ({"device": "mps"}, "device: 'mps' is not allowed: the backward pass of its max pooling"),
        ({"device": "xpu"}, "never been tested; allowed: auto, cpu, cuda"),
        ({"runs_per_gpu": 0}, "runs_per_gpu: 0 is not allowed; allowed: at least 1"),
        ({"image_size": 10**9}, "image_size: 1000000000 is not allowed; allowed: at most 8192"),
        ({"datasets": {"a": {"source": "$(x)"}}}, "datasets.a.source: '$(x)' is not allowed"),
    ],
)
def test_fault_02_a_wrong_type_or_range_is_refused_with_its_place(tiny, change, words):
    refused(tiny | change, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": {"dise": {}}}, "did you mean 'dice'"),
        ({"losses": {"l": {"use": "no_such_module:Loss"}}}, "no module 'no_such_module'"),
        ({"losses": {"l": {"use": "subprocess:Popen", "args": "true"}}}, "no losses"),
        ({"datasets": {"wbd": {}}}, "did you mean 'wbc'"),
        ({"datasets": {"wbc": {"target": "nuclues"}}}, "did you mean 'nucleus'"),
        ({"experiments": {"e": {"knob": "flip", "values": [0]}}}, "did you mean 'flips'"),
    ],
)
def test_fault_03_an_unknown_loss_dataset_or_stress_is_refused(tiny, change, words):
    refused(tiny | change, words)


def test_fault_03_an_unknown_model_is_refused_before_training(tiny):
    tiny["training"]["architecture"] = "Unett"
    with pytest.raises(ConfigError, match=r"'Unett'.*did you mean 'Unet'"):
        check.check(Study(tiny))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": [0, 1, 0]}, "seeds: duplicate value 0"),
        ({"experiments": {"e": {"levels": {"a": {}, "b": {"flips": 0}}}}}, "the same cell"),
        ({"experiments": {"e": {"knob": "blur", "values": [1, "1e0"]}}}, "duplicate value '1e0'"),
        ({"training": {"learning_rate": [1e-3, 0.0010000001]}}, "as 0.001 to six digits"),
    ],
)
def test_fault_04_duplicate_seeds_and_cells_are_refused(tiny, change, words):
    refused(tiny | change, words)


def test_fault_04_two_texts_of_one_number_are_one_cell(tiny):
    levels = {"a": {"levels": {"x": {"blur": 1}}}, "b": {"levels": {"x": {"blur": 1.0}}}}
    study = Study(tiny | {"experiments": levels})
    assert list(study.stresses("controlled")) == ["blur-1"]
    assert len(study.runs) == len(study.losses) * len(study.seeds)


def test_fault_04_a_duplicate_key_is_refused(tiny, tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(yaml.safe_dump(tiny) + "seeds: [5]\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml: duplicate key 'seeds'.*each key once"):
        refuse_duplicates(path)


def test_fault_05_only_auto_does_without_cuda_and_the_run_records_it(tiny, in_tmp, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "allotted", lambda: None)
    with pytest.raises(ConfigError, match=r"device.*cuda.*allowed: auto, cpu"):
        check.check(Study(tiny | {"device": "cuda"}))
    tiny |= {"device": "auto", "seeds": [0], "experiments": {"e": {"levels": {"x": {}}}}}
    study = prepared_study(tiny)
    assert train(study.workspace, study.runs[0])["device"] == "cpu"


def test_fault_06_a_download_of_the_wrong_hash_is_refused_and_nothing_is_kept(
    server, monkeypatch, in_tmp
):
    (file,) = layouts.serve(server, monkeypatch, "wbc")
    path = server.folder / "wbc" / file.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s)does not match.*{file.checksum}"):
        fetch("wbc")
    assert not [p for p in Path("data").rglob("*") if p.is_file()]


def test_fault_06_a_mirrors_image_that_is_not_its_manifests_is_refused(server, monkeypatch, in_tmp):
    layouts.serve(server, monkeypatch, "wbc")
    folder = fetch("wbc", root="own")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    members = {f"wbc/{path.relative_to(folder)}": path.read_bytes() for path in files}
    pack(server.folder / "wbc.zip", members)
    assert (fetch("wbc", server.address, "whole") / "dataset.json").exists()
    members["wbc/images/000.png"] = members["wbc/images/001.png"]
    pack(server.folder / "wbc.zip", members)
    with pytest.raises(ValueError, match=r"images/000\.png has the SHA-256 .*manifest\.sha256"):
        fetch("wbc", server.address, "changed")
    assert not list(Path("changed").rglob("*.png"))


def test_fault_07_a_download_that_is_cut_off_is_retried_and_then_an_error(
    server, monkeypatch, in_tmp
):
    layouts.serve(server, monkeypatch, "wbc")
    server.cuts = 2
    assert (fetch("wbc", root="resumed") / "dataset.json").exists()
    server.cuts, server.ranges = 99, False
    with pytest.raises(ValueError, match="dataset 'wbc': cannot download"):
        fetch("wbc", root="never")
    assert not [p for p in Path("never").rglob("*") if p.is_file()]


def test_fault_08_without_a_network_each_file_is_named_and_a_cached_one_works(
    server, monkeypatch, in_tmp
):
    (file,) = layouts.serve(server, monkeypatch, "wbc")
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match="put these files in place") as error:
        fetch("wbc")
    for word in (f"data/downloads/wbc/{file.name}", file.checksum, file.address):
        assert word in str(error.value)
    put = Path("data/downloads/wbc")
    put.mkdir(parents=True, exist_ok=True)
    (server.folder / "wbc" / file.name).rename(put / file.name)
    assert (fetch("wbc") / "dataset.json").exists()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"])
def test_fault_09_an_archive_member_that_leaves_its_folder_is_refused(tmp_path, name):
    pack(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(ValueError, match=r"a\.zip: member .* is not allowed"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_fault_09_an_archive_member_that_is_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("images/link.png")
    link.external_attr = 0o120777 << 16
    pack(tmp_path / "a.zip", {link: "/etc/passwd"})
    with pytest.raises(ValueError, match=r"link\.png' is not allowed"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a": bytes(2**20 + 1)}, "more than .* 1048576 bytes"),
        ({str(i): b"" for i in range(50)}, "more than 40 files"),
    ],
)
def test_fault_10_an_archive_bomb_is_refused(tmp_path, monkeypatch, members, words):
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20)
    monkeypatch.setattr(archives, "MAX_FILES", 40)
    pack(tmp_path / "a.zip", members)
    with pytest.raises(ValueError, match=words):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_fault_11_images_without_masks_and_masks_without_images_are_listed(tiny, tmp_path, caplog):
    folder = folder_of(tmp_path / "own")
    tiny["datasets"] = {"own": {"folder": str(folder)}}
    lost = folder / "masks" / "3.png"
    lost.rename(tmp_path / "3.png")
    refused(tiny, "masks/3.png", "every image needs a file of its name in masks/")
    (tmp_path / "3.png").rename(lost)
    (folder / "images" / "4.png").unlink()
    caplog.set_level("INFO", "dicebench")
    prepared.read(folder)
    assert "1 file(s) not used: masks/4.png" in caplog.text


def test_fault_12_an_image_and_a_mask_of_different_sizes_are_named(tmp_path):
    folder_of(tmp_path)
    Image.new("L", (40, 48)).save(tmp_path / "masks" / "3.png")
    unreadable(tmp_path, "masks/3.png", "(40, 48)", "(40, 40)")


def test_fault_13_mask_values_outside_the_classes_are_refused_unless_declared(
    server, monkeypatch, in_tmp
):
    path = folder_of(in_tmp / "own") / "masks" / "3.png"
    for image, words in (
        (Image.new("L", (40, 40), 128), r"mask values \[128\]; allowed: 0 and 255"),
        (Image.new("RGB", (40, 40), "red"), r"the mask is colour \(mode RGB\) and its channels"),
        (Image.new("F", (40, 40)), r"the file is floating point \(mode F\); allowed"),
    ):
        image.save(path, "tiff")
        with pytest.raises(ValueError, match=rf"masks/3\.png: {words}"):
            prepared.read(in_tmp / "own")
    members = layouts.layout("camvid")
    (archive,) = members.values()
    labels = next(name for name in archive if "trainannot" in name)
    ids = np.zeros((layouts.SIDE, layouts.SIDE), np.uint8)
    archive[labels] = layouts.encoded(ids + 11)  # declared as `ignore`
    layouts.serve(server, monkeypatch, "camvid", members)
    assert (fetch("camvid", root="declared") / "dataset.json").exists()
    archive[labels] = layouts.encoded(ids + 12)
    layouts.serve(server, monkeypatch, "camvid", members)
    with pytest.raises(ValueError, match=r"values \[12\] are not allowed"):
        fetch("camvid", root="undeclared")


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", png(40, 40), png(30_000, 30_000), png(9, 9, text=bytes(2**21))]
)
def test_fault_14_an_image_that_cannot_be_decoded_is_named(tmp_path, data):
    folder_of(tmp_path)
    (tmp_path / "images" / "3.png").write_bytes(data)
    unreadable(tmp_path, "images/3.png: cannot be read as an image")


@pytest.mark.parametrize("text", ['{"split": {"train": ["0"', "[]", '{"split": {"trian": ["0"]}}'])
def test_fault_14_a_damaged_description_is_named(tmp_path, text):
    (folder_of(tmp_path) / "dataset.json").write_text(text)
    unreadable(tmp_path, "dataset.json: ")


def test_fault_15_empty_masks_and_an_absent_class_have_no_score_and_are_counted(tiny, in_tmp):
    folder = folder_of(in_tmp / "empty")
    for path in (folder / "masks").iterdir():
        Image.new("L", (40, 40)).save(path)
    tiny["datasets"] = {"empty": {"folder": "empty", "train": 6, "val": 2, "test": 2}}
    tiny |= {"seeds": [0], "experiments": {"e": {"levels": {"x": {}}}}}
    study = prepared_study(tiny)
    record = train(study.workspace, study.runs[0])
    assert record["status"] == "ok"
    counts = pd.read_csv(study.run_folder(study.runs[0]) / "counts.csv")
    assert len(counts) == 4  # each image is counted, at each threshold
    nothing = np.zeros((1, 2, 8, 8))
    here, absent = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    here[2:4] = 1
    rows = evaluate.count(nothing, {"here": [Truth("a", here)], "absent": [Truth("a", absent)]})
    scored = metrics.scores(pd.DataFrame(rows).assign(status="ok"), by_class=True)
    dice = scored.set_index("class")["score_dice"]
    assert dice["here"] == 0
    assert math.isnan(dice["absent"])


def test_fault_16_an_empty_prediction_is_a_miss_of_the_images_diagonal():
    mask = np.zeros((30, 40), np.uint8)
    mask[5:9, 5:9] = 1
    rows = evaluate.count(np.zeros((1, 1, 30, 40)), {"a": [Truth("i", mask)]})
    scored = metrics.scores(pd.DataFrame(rows).assign(status="ok")).iloc[0]
    diagonal = math.sqrt(2 * 30 * 40)
    assert scored["score_hd95"] == pytest.approx(diagonal)
    assert scored["score_surface_dice"] == scored["score_dice"] == 0
    assert "diagonal if one mask is empty" in metrics.hd95.__doc__


def test_fault_17_the_same_image_in_two_lists_is_refused_by_its_content(tmp_path):
    folder_of(tmp_path)
    for part in ("images", "masks"):
        (tmp_path / part / "copy.png").write_bytes((tmp_path / part / "0.png").read_bytes())
    lists = {"train": [*"0123"], "val": [*"456"], "test": [*"789", "copy"]}
    description = tmp_path / "dataset.json"
    description.write_text(json.dumps({"split": lists}))
    unreadable(tmp_path, "dataset.json: split: the same image", "train/0 and test/copy", "one list")
    lists["train"] = [*"123"]
    description.write_text(json.dumps({"split": lists}))
    assert prepared.read(tmp_path).split == lists
    lists["val"].append("copy")  # by name
    description.write_text(json.dumps({"split": lists}))
    unreadable(tmp_path, "val/copy and test/copy")


NAN_AT_ITS_FOURTH_CALL = """
from torch import nn


class Value(nn.Module):
    calls = 0

    def forward(self, logits, target):
        self.calls += 1
        return logits.mean() * (float("nan") if self.calls == 4 else 1.0)


class Gradient(Value):
    def forward(self, logits, target):
        self.calls += 1
        no_slope = (logits - logits.detach()).abs().sqrt().sum()  # 0
        return logits.mean() + (no_slope if self.calls == 4 else 0)
"""


@pytest.mark.parametrize(("name", "step"), [("Value", 3), ("Gradient", 4)])
def test_fault_18_a_run_with_nan_in_its_loss_or_gradient_is_diverged_at_a_step(
    tiny, in_tmp, monkeypatch, name, step
):
    (in_tmp / "nan_losses.py").write_text(NAN_AT_ITS_FOURTH_CALL)
    monkeypatch.syspath_prepend(in_tmp)
    tiny |= {"seeds": [0], "experiments": {"e": {"levels": {"x": {}}}}}
    tiny["losses"] = {"own": {"use": f"nan_losses:{name}"}}
    study = prepared_study(tiny)
    record = train(study.workspace, study.runs[0])
    assert (record["status"], record["step"]) == ("diverged", step)
