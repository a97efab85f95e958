"""Time, disk and memory that the images of a dataset cost, from their number and size."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from experiments.layout import IMAGES
from experiments.plan.knobs import LABEL_KNOBS
from experiments.runs.batches import LARGE
from experiments.runs.fit import CURVE_POINTS
from experiments.runs.lane import AT_ONCE
from experiments.runs.records import EXAMPLES

if TYPE_CHECKING:
    from experiments.plan.dataset import Dataset
    from experiments.plan.knobs import Stress
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

IMAGE, MASK = 0.6, 0.1
"""Bytes of a PNG file for each byte of its pixels."""
ROW, TABLE_ROW, RECORD, FIGURES = 125, 190, 4096, 16e6
"""Bytes of a row of ``counts.csv`` and of the study's table, a record, a dataset's figures."""
TRUTH, COUNTING = 20, 32
"""Bytes of memory per pixel: the truth of a test image, and a prediction while it is counted."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, of an image's prediction and of its counts; bytes of the weights.

    gpu: bytes of the tensors on a GPU, without those of the training images.
    """

    step: float
    predict: float
    count: float
    weights: int
    gpu: int = 0


class Sizes:
    """A dataset of a study: its numbers of images, channels and classes, and their costs.

    layers: masks of an image in a batch.
    """

    def __init__(self, study: Study, dataset: Dataset) -> None:
        self.study, self.dataset = study, dataset
        self.splits = dataset.train, dataset.val, dataset.test
        self.classes = len(dataset.class_names)
        self.layers = self.classes if dataset.multilabel else 1
        self.largest = max(map(self.pixels, study.stresses(dataset.name).values()))

    def pixels(self, stress: Stress) -> int:
        """Return the pixels of an image of a stress."""
        return self.study.side(stress) ** 2

    @cached_property
    def channels(self) -> int:
        """Channels of an image, by the first one; 3 if it cannot be read yet."""
        if self.dataset.controlled:
            return 1
        first = min(Path(self.dataset.folder, IMAGES).glob("*.png"), default=None)
        # A damaged image is named by the step `prepare`.
        with contextlib.suppress(Exception), Image.open(first) as image:
            return 1 if image.mode in ("L", "I;16") else 3
        return 3

    def predicted(self, stress: Stress) -> int:
        """Return the number of images that are predicted after training."""
        return sum(self.splits if _noisy(stress) else self.splits[1:])

    def seconds(self, run: RunSpec, pace: Pace) -> float:
        """Return the seconds of a run: its steps, the points of its curve, and its evaluation."""
        steps, (train, val, test) = run.training.steps, self.splits
        points = -(-steps // -(-steps // CURVE_POINTS))
        predicted = points * val + self.predicted(run.stress)
        if run.training.weights == "recalibrated":
            predicted += (points - 1) * min(train, AT_ONCE) + train
        return steps * pace.step + predicted * pace.predict + test * self.classes * pace.count

    def record(self, run: RunSpec, pace: Pace) -> float:
        """Return the bytes on disk of a run's files and of its rows of the study's table."""
        rows = 2 * self.dataset.test * self.classes
        pixels = self.pixels(run.stress) * self.classes
        total = _file(ROW * rows) + TABLE_ROW * rows + RECORD + _file(IMAGE * EXAMPLES * pixels)
        total += pixels * self.predicted(run.stress) * ("predictions" in self.study.keep)
        return total + pace.weights * ("weights" in self.study.keep)

    def data(self) -> float:
        """Return the bytes on disk of all stressed images, and of the figures."""
        fixed = 1 + self.dataset.has_instances + (self.classes > 1) * self.layers
        total = 0.0
        for name, stress in self.study.stresses(self.dataset.name).items():
            seeds = len(self.study.plan.seeds(self.dataset.name, name))
            ignored = self.dataset.ignore is not None or "left_out" in stress
            layers = fixed + ignored + _noisy(stress) + (stress.mosaic > 1)
            pixels = self.pixels(stress)
            files = _file(IMAGE * pixels * self.channels) + layers * _file(MASK * pixels)
            arrays = [n * pixels * self.channels for n in self.splits]
            total += seeds * sum(self.splits) * files
            total += seeds * sum(size for size in arrays if size > LARGE)  # mapped files
        return total + FIGURES

    def gpu(self, pace: Pace) -> int:
        """Return the bytes of a run on a GPU: its tensors and the training images with labels."""
        return pace.gpu + self.dataset.train * self.largest * (self.channels + self.layers + 1)

    def memory(self) -> int:
        """Return the bytes of two decoded cells, and of the predictions while they are counted."""
        train, val, test = self.splits
        images = sum(min(n * self.largest * self.channels, LARGE) for n in self.splits)
        labels = self.layers * (train + val) + 2 * train + TRUTH * test * self.classes
        counted = COUNTING * self.classes * sum(self.splits)
        return 2 * images + self.largest * (2 * labels + counted)


def used(folder: str | Path) -> int:
    """Return the bytes on disk of all files in a folder; a file that vanishes has none."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def _noisy(stress: Stress) -> bool:
    return not LABEL_KNOBS.isdisjoint(stress)


def _file(size: float) -> float:
    """Return the bytes on disk of a file: whole blocks of 4,096 bytes."""
    return -(-size // 4096) * 4096
