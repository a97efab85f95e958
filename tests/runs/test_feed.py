"""Feeds give the batches of `experiments.runs.batches.batches`, byte for byte."""

import numpy as np
import pytest
import torch

from experiments.runs import feed
from experiments.runs.batches import Cell, batches, to_target, to_tensor
from tests.conftest import write_halves
from tests.runs.conftest import prepared_study

TRANSFORMS = [{"HorizontalFlip": {}}, {"RandomRotate90": {}}]
KINDS = {
    "several classes": {"classes": {"left": [4], "right": [9]}},
    "classes that overlap": {"classes": {"any": [4, 9], "right": [9]}, "multilabel": True},
    "one class, ignored pixels": {"classes": {"left": [4]}, "ignore": 9},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def cell(request, tiny, in_tmp):
    """A function that returns a cell and its run, with these training settings."""

    def make(**training):
        write_halves(in_tmp / "mine")
        images = {"train": 7, "val": 2, "test": 3}
        tiny["datasets"] = {"d": {"folder": "mine", **images, **request.param}}
        tiny["experiments"] = {"e": {"levels": {"as it is": {}}}}
        tiny["losses"], tiny["seeds"], tiny["image_size"] = {"dice": {}}, [0], 32
        tiny["training"] |= {"steps": 6, **training}
        study = prepared_study(tiny)
        (run,) = study.runs
        found = Cell(study.workspace.data_folder(*run.cell))
        assert (found.ignored is None) == ("ignore" not in request.param)
        if found.multilabel:
            assert (found.masks.min((0, 1, 2)) == 0).all()
            assert (found.masks.sum((0, 1, 2)) > 0).all()
        else:
            assert len(np.unique(found.masks)) == 1 + len(request.param["classes"])
        return found, run

    return make


def maps_of(cell):
    """Maps that differ at all pixels of all images."""
    shape = (*cell.images.shape[:3], 2)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def check(one, cell, run, maps, start):
    """Compare a feed with the batches of a run."""
    for _, images, masks, ignored, some in batches(cell, run, maps, start):
        one.stage()
        batch = one.batch()
        expected = (
            to_tensor(images, "cpu"),
            to_target(torch.from_numpy(masks), len(cell.classes)),
            None if ignored is None else torch.from_numpy(ignored) > 0,
            None if some is None else torch.from_numpy(some).permute(0, 3, 1, 2),
        )
        for found, wanted in zip(batch, expected, strict=True):
            assert (found is None) == (wanted is None)
            assert found is None or (found.dtype == wanted.dtype and torch.equal(found, wanted))
        assert batch.images.stride() == expected[0].stride()


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("kind", [feed.DeviceFeed, feed.StagedFeed, feed.HostFeed])
def test_feeds_give_the_batches(cell, kind, augment, start):
    cell, run = cell(augment=augment)
    maps, classes = maps_of(cell), len(cell.classes)
    if kind is feed.DeviceFeed:
        one = feed.DeviceFeed(cell, run, maps, "cpu", start)
    else:
        device = ["cpu"] if kind is feed.StagedFeed else []
        one = kind(batches(cell, run, maps, start), classes, *device)
    check(one, cell, run, maps, start)
    one.close()


def test_a_list_of_transforms_is_applied_on_the_host(cell):
    cell, run = cell(augment=TRANSFORMS)
    one = feed.build(cell, run, None, "cpu", 0)
    assert isinstance(one, feed.StagedFeed)
    check(one, cell, run, None, 0)
    one.close()


def test_a_cell_that_does_not_fit_is_fed_from_the_host(cell, monkeypatch):
    cell, run = cell()
    parts = (cell.images, cell.masks, cell.ignored)
    size = sum(part.nbytes for part in parts if part is not None)
    for free, kind in ((3 * size, feed.DeviceFeed), (3 * size - 4, feed.StagedFeed)):
        monkeypatch.setattr(feed, "_free", lambda device, free=free: free)
        one = feed.build(cell, run, None, "cpu", 0)
        assert type(one) is kind
        one.close()


def test_a_feed_keeps_its_memory(cell):
    """A recording reads the same memory at each step."""
    cell, run = cell(augment=TRANSFORMS)
    one = feed.build(cell, run, None, "cpu", 0)
    one.stage()
    places = [part.data_ptr() for part in one.parts if part is not None]
    one.stage()
    assert places == [part.data_ptr() for part in one.parts if part is not None]
    one.close()


def test_an_error_of_the_thread_is_raised():
    def broken():
        yield np.zeros(1, int), np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8)), None, None
        raise ValueError("no more")

    one = feed.StagedFeed(broken(), 1, "cpu")
    one.stage()
    with pytest.raises(ValueError, match="no more"):
        one.stage()


def test_a_closed_feed_has_no_thread(cell):
    cell, run = cell(augment=TRANSFORMS, steps=100)
    one = feed.build(cell, run, None, "cpu", 0)
    one.stage()
    one.close()
    assert not one._thread.is_alive()
