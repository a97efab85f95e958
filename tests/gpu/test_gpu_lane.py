"""The steps of a run on a GPU: recordings repeat the calls, and the host waits for none of them."""

import threading
from contextlib import nullcontext

import pytest
import torch

from experiments.runs import devices, feed, lane, models
from experiments.runs.batches import batches
from experiments.runs.fit import fit, weights_hash
from tests.gpu.conftest import no_wait
from tests.runs.tape import repeat
from tests.runs.test_lane import MODELS, SETTINGS, STEPS, Reads, cell_and_run

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
TRANSFORMS = SETTINGS["list"]
LOSSES = {
    "dice": {"use": "dice"},
    "cross_entropy": {"use": "cross_entropy"},
    "maps": {"use": "boundary"},
    "maps and schedule": {"use": "dice_boundary"},
    "schedule": {"use": "ce_to_dice"},
    "on the CPU": {"use": "hausdorff"},
    "per object": {"use": "blob"},
    "stateful": {"use": "tests.gpu.helpers:Counts"},
}


def recorder():
    return lane.CudaGraphs()


def trained(cell, run, record, kind=lane.Lane):
    """The weights and the losses after the steps of a run; the record's entries on a GPU."""
    devices.set_process(DEVICE, run.training.precision)
    with torch.cuda.stream(record.stream) if hasattr(record, "stream") else nullcontext():
        line = kind(cell, run, DEVICE, record)
        while line.step < line.steps:
            line.advance()
        assert line.read() is None
        found = weights_hash(line.model), line.recent, line.on_gpu()
        line.close()
    return found


def check_recording(cell, run):
    """Compare a recording with the calls that it replaces; return the losses of the steps."""
    weights, values, entries = trained(cell, run, recorder())
    assert entries == {"captured": True, "nondeterministic": []}
    assert (weights, values) == trained(cell, run, repeat)[:2]
    assert len(set(values)) == STEPS
    return values


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_recording_gives_the_bytes_of_the_calls_for_any_loss(tiny, in_tmp, loss):
    check_recording(*cell_and_run(tiny, loss))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("model", ["U-Net", "FPN"])
def test_a_recording_gives_the_bytes_of_the_calls(tiny, in_tmp, model, settings):
    check_recording(*cell_and_run(tiny, {"use": "dice_ce"}, **MODELS[model], **settings))


def with_dropout(monkeypatch, build=models.build):
    layers = lambda *settings: torch.nn.Sequential(build(*settings), torch.nn.Dropout(0.5))  # noqa: E731
    monkeypatch.setattr(models, "build", layers)


def test_a_recording_draws_the_dropout_masks_of_its_steps(tiny, in_tmp, monkeypatch):
    cell, run = cell_and_run(tiny)
    without = check_recording(cell, run)
    with_dropout(monkeypatch)
    assert check_recording(cell, run) != without


def test_a_model_that_cannot_be_recorded_harms_no_later_run(tiny, in_tmp, monkeypatch):
    with_dropout(monkeypatch)
    cell, run = cell_and_run(tiny)
    before = check_recording(cell, run)
    with monkeypatch.context() as patch:
        with_dropout(patch, lambda *settings: Reads())
        with pytest.raises(lane.NotRecorded):
            trained(cell, run, recorder())
        fitted = fit(cell, run, DEVICE, lambda *_: None)
        assert not fitted.on_gpu["captured"]
        assert weights_hash(fitted.model) == trained(cell, run, repeat)[0]
    assert check_recording(cell, run) == before


def test_pinned_memory_that_a_thread_takes_harms_no_recording(tiny, in_tmp):
    cell, run = cell_and_run(tiny)
    ended, errors = threading.Event(), []

    def pin():
        size = 2**20
        try:
            while not ended.is_set():
                size += 2**20  # a new size each time, so that no memory is used again
                torch.empty(size % 2**28, dtype=torch.uint8).pin_memory()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=pin)
    thread.start()
    try:
        for _ in range(5):
            assert trained(cell, run, recorder())[2].captured
    finally:
        ended.set()
        thread.join()
    assert not errors


class NeverWaits(lane.Lane):
    """The host may wait for the GPU in the loss only, and in the first step."""

    def advance(self):
        with no_wait() if self.step else nullcontext():
            super().advance()

    def loss(self):
        torch.cuda.set_sync_debug_mode("default")
        super().loss()
        torch.cuda.set_sync_debug_mode("error" if self.step else "default")


class Waits(NeverWaits):
    def forward(self):
        super().forward()
        self.logits.sum().item()


@pytest.mark.parametrize("record", [repeat, None], ids=["eager", "recorded"])
@pytest.mark.parametrize("loss", ["dice", "on the CPU", "maps"])
@pytest.mark.parametrize("augment", [True, TRANSFORMS["augment"]], ids=["feed", "list"])
def test_the_host_waits_for_no_feed_forward_and_backward(tiny, in_tmp, record, loss, augment):
    settings = SETTINGS["cosine"] | {"augment": augment}
    cell, run = cell_and_run(tiny, LOSSES[loss], **settings)
    trained(cell, run, record or recorder(), NeverWaits)


def test_a_step_that_waits_is_found(tiny, in_tmp):
    with pytest.raises(RuntimeError, match="synchroniz"):
        trained(*cell_and_run(tiny), repeat, Waits)


@pytest.mark.parametrize("kind", ["device", "staged"])
def test_the_batches_are_those_of_the_cpu(tiny, in_tmp, kind):
    cell, run = cell_and_run(tiny, augment=True if kind == "device" else TRANSFORMS["augment"])
    ours, theirs = feed.build(cell, run, None, DEVICE, 0), feed.HostFeed(batches(cell, run), 1)
    assert isinstance(ours, feed.DeviceFeed if kind == "device" else feed.StagedFeed)
    for _ in range(STEPS):
        for one in (ours, theirs):
            one.stage()
        found, expected = ours.batch(), theirs.batch()
        assert found.images.device.type == DEVICE
        torch.testing.assert_close(found.images.cpu(), expected.images, rtol=0, atol=1e-6)
        assert torch.equal(found.target.cpu(), expected.target)
    ours.close()


def test_the_losses_are_those_of_the_cpu(tiny, in_tmp):
    cell, run = cell_and_run(tiny, {"use": "dice_ce"})
    on_gpu = trained(cell, run, recorder())[1]
    devices.set_process("cpu")
    line = lane.Lane(cell, run, "cpu")
    for _ in range(STEPS):
        line.advance()
    line.read()
    line.close()
    assert on_gpu == pytest.approx(line.recent, rel=5e-3)
    assert len(on_gpu) == STEPS
