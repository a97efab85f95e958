"""Checkpoints: a killed run continues and ends like an unbroken one; damaged files are refused."""

import hashlib
import json
import multiprocessing
import os
import pickle
import random
import resource
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from experiments.plan.config import Training
from experiments.runs import optimizers
from experiments.runs.batches import Cell
from experiments.runs.checkpoint import Checkpoint
from experiments.runs.fit import fit, predict, weights_hash
from tests.conftest import write_halves
from tests.runs.conftest import prepared_study

IDENTITY = {"run": "abc", "versions": {"torch": "1"}}


class Counting(nn.Module):
    """A loss that depends on the number of its calls, on earlier losses and on a buffer."""

    def __init__(self):
        super().__init__()
        self.calls, self.earlier, self.mean = 0, [], torch.zeros(())
        self.register_buffer("total", torch.zeros(()))

    def forward(self, logits, target):
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        loss = loss * (1 + self.calls % 3 + self.mean / (1 + self.total) + sum(self.earlier))
        self.calls += 1
        self.earlier = [*self.earlier, loss.item() / 9][-2:]
        self.mean = (self.mean + loss.detach()) / 2
        self.total += self.mean
        return loss


class OwnGenerator(nn.Module):
    """A loss with a generator of random numbers, which no checkpoint can store."""

    def __init__(self):
        super().__init__()
        self.rng = torch.Generator()

    def forward(self, logits, target):
        weight = torch.rand(target.shape, generator=self.rng)
        return nn.functional.binary_cross_entropy_with_logits(logits, target, weight)


FPN = {"architecture": "FPN", "model_options": {"encoder_depth": 3, "upsampling": 1}}
CASES = {
    "Adam": ("dice", {}),
    "SGD with momentum": ("dice", {"optimizer": {"name": "SGD", "momentum": 0.9}}),
    "AdamW, cosine": ("dice", {"optimizer": "AdamW", "schedule": "cosine"}),
    "polynomial": ("dice", {"schedule": "polynomial"}),
    "augmentation by a list": ("dice", {"augment": [{"Rotate": {"p": 1}}, {"GaussNoise": {}}]}),
    "no augmentation": ("dice", {"augment": False}),
    "loss with progress": ("ce_to_dice", {}),
    "loss with maps": ("boundary", {}),
    "loss with memory": ("counting", {}),
    "dropout": ("dice", FPN),
    "several classes": ("dice_ce", {}),
    "last weights": ("dice", {"weights": "last"}),
    "averaged weights": ("dice", {"weights": "averaged"}),
}


def make(config, case="Adam", steps=8):
    """A run and its cell."""
    loss, training = CASES.get(case, (case, {}))
    own = "tests.runs.test_checkpoint"
    uses = {"counting": {"use": f"{own}:Counting"}, "generator": {"use": f"{own}:OwnGenerator"}}
    config = config | {
        "losses": {loss: uses.get(loss, {})},
        "experiments": {"e": {"levels": {"as it is": {}}}},
        "seeds": [0],
        "training": config["training"] | {"steps": steps} | training,
    }
    if case == "several classes":
        write_halves(Path("halves"))
        data = {"folder": "halves", "classes": {"left": 4, "right": 9}}
        config["datasets"] = {"halves": data | {"train": 7, "val": 2, "test": 3}}
    study = prepared_study(config)
    return study.runs[0], Cell(study.data_folder(*study.runs[0].cell))


def outcome(fitted, cell):
    """Everything that a fit gives."""
    probabilities = predict(fitted.model, cell.test_images, "cpu").tobytes()
    return weights_hash(fitted.model), fitted.curve, fitted.diverged, probabilities


def checkpoint(every=0, **identity):
    return Checkpoint("kept", IDENTITY | identity, every)


class Killed(BaseException):
    """Stands for the end of the process."""


def train(run, cell, kept=None, last=None):
    """The outcome of a run; None if it was killed at step `last`."""

    def report(step, loss):
        if step == last:
            raise Killed

    try:
        return outcome(fit(cell, run, "cpu", report, kept), cell)
    except Killed:
        return None


def steps_kept():
    return sorted(int(path.stem) for path in Path("kept/checkpoint").glob("*.safetensors"))


def names_kept():
    return sorted(path.name for path in Path("kept/checkpoint").iterdir())


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_ends_with_the_same_bytes(tiny, in_tmp, case):
    run, cell = make(tiny, case)
    unbroken = train(run, cell)
    assert train(run, cell, checkpoint(), last=5) is None
    assert steps_kept() == [4, 5]
    seen = []
    fitted = fit(cell, run, "cpu", lambda step, loss: seen.append(step), checkpoint())
    assert outcome(fitted, cell) == unbroken
    assert seen == [5, 6, 7]
    assert train(run, cell, checkpoint()) == unbroken  # from the last step


def test_a_run_is_resumed_any_number_of_times(tiny, in_tmp):
    run, cell = make(tiny, "loss with memory")
    for last in range(1, 8):
        assert train(run, cell, checkpoint(), last) is None
        assert max(steps_kept()) == last
    assert train(run, cell, checkpoint()) == train(run, cell)


@pytest.mark.parametrize("name", [n for n in optimizers.names() if n != "Muon"])
def test_the_state_of_every_optimizer_is_stored(in_tmp, name):
    """Also its strides: the model is in channels_last, and a fused step reads plain memory."""
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))

    def start():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, (2, 3)))
        model = model.to(memory_format=torch.channels_last)
        return model, optimizers.build(Training(optimizer=name), model.parameters())

    def step(model, optimizer):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()

    model, optimizer = start()
    for _ in range(2):
        step(model, optimizer)
    state = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict()}
    kept = checkpoint()
    kept.save(2, lambda: state)
    assert kept.every == 0
    step(model, optimizer)
    other_model, other = start()
    loaded = checkpoint().load()
    other_model.load_state_dict(loaded["model"])
    other.load_state_dict(loaded["optimizer"])
    step(other_model, other)
    assert weights_hash(other_model) == weights_hash(model)


def train_in_a_child(run, cell):
    torch.set_num_threads(1)
    fit(cell, run, "cpu", lambda step, loss: None, checkpoint())


def test_fault_20_a_killed_run_continues_and_ends_with_the_same_bytes(
    tiny, in_tmp, caplog, monkeypatch
):
    run, cell = make(tiny, "AdamW, cosine", steps=60)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # so that the server can preload
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rng = random.Random(0)
    newest = 0
    for _ in range(5):
        child = context.Process(target=train_in_a_child, args=(run, cell))
        child.start()
        while max(steps_kept(), default=0) <= newest and child.is_alive():
            time.sleep(0.005)
        time.sleep(rng.random() / 20)  # then at any moment of a step or of a write
        child.kill()
        child.join()
        assert child.exitcode == -9
        newest = max(steps_kept())
    assert newest < 60
    caplog.set_level("INFO", "dicebench")
    assert train(run, cell, checkpoint()) == train(run, cell)
    assert f"{run.path} resumes at step " in caplog.text
    assert not [name for name in names_kept() if name.startswith(".")]


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[: len(data) // 2] if how == "truncated" else data)
    if how == "missing":
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
@pytest.mark.parametrize("number", [1, 2])
def test_fault_22_the_previous_checkpoint_or_a_restart_replaces_a_damaged_one(
    tiny, in_tmp, caplog, how, number
):
    run, cell = make(tiny)
    unbroken = train(run, cell)
    train(run, cell, checkpoint(), last=5)
    for step in (5, 4)[:number]:
        damage(Path(f"kept/checkpoint/{step}.safetensors"), how)
    seen = []
    fitted = fit(cell, run, "cpu", lambda step, loss: seen.append(step), checkpoint())
    assert outcome(fitted, cell) == unbroken
    assert seen[0] == (4 if number == 1 else 0)
    reason = "No such file" if how == "missing" else "SHA-256 differs"
    assert caplog.text.count("refused: ") == caplog.text.count(reason) == number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("null", "refused: "),
        ("[]", "refused: "),
        ('{"identity": 3}', "refused: "),
        ("\xff", "refused: "),
        ('{"checkpoints": []}', "identity"),
        ('{"identity": {"run": "abc", "versions": {"torch": "1"}}}', "checkpoints"),
        ('{"identity": {"run": "abc", "versions": {"torch": "2"}}}', "with another versions"),
        ('{"identity": {"run": "abcd", "code": "1"}}', "with another run, versions, code"),
    ],
)
def test_fault_22_a_damaged_list_of_checkpoints_is_refused(in_tmp, caplog, text, words):
    checkpoint().save(1, lambda: {"a": 1})
    Path("kept/checkpoint/checkpoint.json").write_text(text, encoding="latin1")
    assert checkpoint().load() is None
    assert words in caplog.text
    assert "kept/checkpoint/1.safetensors: removed" in caplog.text
    assert names_kept() == []


def test_fault_22_a_checkpoint_of_another_run_is_not_used(tiny, in_tmp, caplog):
    run, cell = make(tiny)
    train(run, cell, checkpoint(code="old"), last=5)
    assert train(run, cell, checkpoint(code="new")) == train(run, cell)
    assert "refused: it is of a run with another code" in caplog.text


class Payload:
    """Its unpickling writes a file."""

    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def forge(path, data):
    """Put data in the place of the only checkpoint, with its right hash."""
    path.write_bytes(data)
    info = json.loads(Path("kept/checkpoint/checkpoint.json").read_text())
    info["checkpoints"] = [{"step": 5, "sha256": hashlib.sha256(data).hexdigest()}]
    Path("kept/checkpoint/checkpoint.json").write_text(json.dumps(info))


def test_fault_23_a_checkpoint_that_is_a_pickle_is_refused(tiny, in_tmp, caplog):
    run, cell = make(tiny)
    train(run, cell, checkpoint(), last=5)
    path = Path("kept/checkpoint/5.safetensors")
    torch.save(Payload(), "by_torch")
    for data in (pickle.dumps(Payload()), Path("by_torch").read_bytes()):
        forge(path, data)
        caplog.clear()
        assert checkpoint().load() is None
        assert f"{path}: refused" in caplog.text
        assert not path.exists()
        train(run, cell, checkpoint(), last=5)
    assert not Path("harmed").exists()
    torch.load("by_torch", weights_only=False)
    assert Path("harmed").exists()


def test_fault_23_no_file_outside_the_folder_is_read(in_tmp, caplog):
    checkpoint().save(5, lambda: {"a": 1})
    path = Path("kept/checkpoint/checkpoint.json")
    path.write_text(path.read_text().replace('"step": 5', '"step": "../5"'))
    assert checkpoint().load() is None
    assert "invalid literal for int" in caplog.text


@pytest.mark.parametrize("change", ["shape", "name", "text"])
def test_fault_23_a_forged_state_restarts_the_run(tiny, in_tmp, caplog, change):
    run, cell = make(tiny)
    train(run, cell, checkpoint(), last=5)
    path = Path("kept/checkpoint/5.safetensors")
    with safe_open(path, "pt") as file:
        tensors, text = file.get_tensors(), file.metadata()["state"]
    first = next(iter(tensors))
    if change == "shape":
        tensors[first] = torch.zeros(3)
    elif change == "name":
        tensors["other"] = tensors.pop(first)
    else:
        text = text.replace('"step"', '"stop"')
    save_file(tensors, path, {"state": text})
    forge(path, path.read_bytes())
    assert train(run, cell, checkpoint()) == train(run, cell)
    assert "refused" in caplog.text


def test_a_short_run_writes_no_checkpoint(tiny, in_tmp):
    run, cell = make(tiny)
    assert train(run, cell, checkpoint(every=120)) == train(run, cell)
    assert not Path("kept").exists()


def test_two_checkpoints_are_kept_and_all_are_removed(tiny, in_tmp):
    run, cell = make(tiny)
    kept = checkpoint()
    Path("kept/checkpoint").mkdir(parents=True)
    Path("kept/checkpoint/.tmpXy").write_bytes(b"by a killed process")
    Path("kept/run.json").write_text("{}")
    train(run, cell, kept)
    assert names_kept() == ["7.safetensors", "8.safetensors", "checkpoint.json"]
    modes = {path.stat().st_mode for path in Path("kept").rglob("*.*")}
    assert modes == {Path("kept/run.json").stat().st_mode}
    kept.remove()
    assert [path.name for path in Path("kept").iterdir()] == ["run.json"]


def test_a_full_disk_ends_no_run(tiny, in_tmp, caplog):
    run, cell = make(tiny)
    train(run, cell, checkpoint(), last=5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        result = train(run, cell, checkpoint())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result == train(run, cell)
    assert "no checkpoint at step 6: " in caplog.text
    assert names_kept() == ["5.safetensors", "checkpoint.json"]
    assert train(run, cell, checkpoint(), last=6) is None  # the older one can still be used
    assert caplog.text.count("refused") == 0


def test_a_loss_that_cannot_be_stored_has_no_checkpoints(tiny, in_tmp, caplog):
    run, cell = make(tiny, "generator")
    assert train(run, cell, checkpoint()) == train(run, cell)
    assert steps_kept() == []
    assert caplog.text.count("no checkpoints of this run") == 1
    assert "attributes" in caplog.text
    assert "rng: Generator cannot be stored" in caplog.text


def test_plain_data_and_tensors_are_loaded_as_saved(in_tmp):
    tensor = torch.arange(12.0).reshape(3, 4)
    state = {
        "plain": [None, True, 1, -0.0, 0.1, float("inf"), "ü\ud800", (), [], {}],
        "keys": {1: "int", "1": "text", (1, 2): "tuple"},
        "strides": [tensor.T, tensor[:, 1], torch.zeros(2, 3).expand(4, 2, 3)],
        "types": [torch.tensor(1, dtype=t) for t in (torch.int64, torch.bfloat16, torch.bool)],
        "arrays": [tensor.numpy(), tensor.numpy()[0, 1], tensor.numpy().astype(">f8")[0].sum()],
    }
    checkpoint().save(1, lambda: state)
    loaded = checkpoint().load()
    for key in ("plain", "keys"):
        assert repr(loaded[key]) == repr(state[key])
    for key in ("strides", "types"):
        for one, other in zip(loaded[key], state[key], strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
    assert loaded["strides"][0].stride() == (1, 4)
    for one, other in zip(loaded["arrays"], state["arrays"], strict=True):
        assert type(one) is type(other)
        assert (one == other).all()
