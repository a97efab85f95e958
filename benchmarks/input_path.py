"""Images per second of the whole input path, compared with a plain PyTorch one.

    python -m benchmarks.input_path [--images 192] [--steps 400] [--workers 0]

Ours: `batches.batches` and `batches.to_tensor` on arrays decoded once. Plain: a `Dataset` that
reads a PNG image and its mask and calls albumentations for each sample, in a `DataLoader`; same
images, batch size and augmentation (the eight symmetries of the square), up to the same tensors.
The two are measured alternately, five times; the figure is the median. The share of a training
step spent waiting for data is the time in `batches` and `to_tensor` over that of the whole step,
with the quick study's model and Dice loss, in one thread as in a run.
Writes OUT/input-path.md (default docs/benchmarks).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import torch
import yaml
from jaxtyping import Float
from PIL import Image
from torch import Tensor

import losses
from benchmarks.losses import about
from experiments.data.prepare import write_cell
from experiments.plan.runs import RunSpec
from experiments.plan.study import Study
from experiments.runs.batches import Cell, batches, to_tensor
from experiments.runs.models import build as build_model

SIZES = ((64, 4), (64, 16), (256, 16))
"""Image side and batch size."""
GOAL_RATIO, GOAL_WAIT = 5, 0.05

Samples = Iterator[tuple[Float[Tensor, "n c h w"], Float[Tensor, "n *k h w"]]]


class Plain(torch.utils.data.Dataset):
    """The dataset that one writes first: read, augment, return."""

    def __init__(self, folder: Path) -> None:
        self.images = sorted((folder / "images").glob("train-*.png"))
        self.masks = [folder / "masks" / path.name for path in self.images]
        self.transform = A.Compose([A.D4(p=1)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "h w"]]:
        image = np.asarray(Image.open(self.images[index]))[..., None]
        mask = np.asarray(Image.open(self.masks[index])) // 255
        sample = self.transform(image=image, mask=mask)
        image = torch.from_numpy(sample["image"].copy()).permute(2, 0, 1)
        return (image.float() / 255 - 0.5) / 0.25, torch.from_numpy(sample["mask"].copy()).float()


def ours(cell: Cell, run: RunSpec) -> Samples:
    """Yield the batches of a run."""
    for _, images, masks, *_ in batches(cell, run):
        yield to_tensor(images, "cpu"), torch.from_numpy(masks[:, None]).float()


def plain(folder: Path, run: RunSpec, workers: int) -> Samples:
    """Yield as many batches of a `DataLoader`."""
    loader = torch.utils.data.DataLoader(
        Plain(folder), run.training.batch_size, shuffle=True, num_workers=workers, drop_last=True
    )
    yield from itertools.islice(
        itertools.chain.from_iterable(itertools.repeat(loader)), run.training.steps
    )


def rate(samples: Samples, run: RunSpec) -> float:
    """Return images per second."""
    start = time.perf_counter()
    for _ in samples:
        pass
    return run.training.steps * run.training.batch_size / (time.perf_counter() - start)


def waiting(samples: Samples, run: RunSpec) -> float:
    """Return the share of the training time that is spent waiting for batches."""
    model = build_model(run.training, channels=1).train()
    loss_fn = losses.build({"use": "dice"})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    waited = 0.0
    start = last = time.perf_counter()
    for images, masks in samples:
        waited += time.perf_counter() - last
        optimizer.zero_grad()
        loss_fn(model(images), masks.reshape(len(masks), 1, *masks.shape[-2:])).backward()
        optimizer.step()
        last = time.perf_counter()
    return waited / (last - start)


def study_of(config: dict[str, Any], side: int, images: int, folder: str) -> Study:
    """Return the quick study with one cell of so many images, and write the cell's data."""
    changed = {"image_size": side, "seeds": [0], "study": "input_path"}
    changed["datasets"] = {"controlled": {"train": images, "val": 1, "test": 1}}
    changed["experiments"] = {"as_it_is": {"levels": {"as it is": {}}}}
    study = Study({**config, **changed}, folder)
    write_cell(study, study.datasets["controlled"], "none", 0)
    return study


def with_training(run: RunSpec, **fields: int) -> RunSpec:
    """Return a run with other training settings."""
    return replace(run, training=run.training.model_copy(update=fields))


def measure(config: dict[str, Any], side: int, batch: int, options: argparse.Namespace) -> str:
    """Return one line of the table."""
    with tempfile.TemporaryDirectory() as temporary:
        study = study_of(config, side, options.images, temporary)
        run = with_training(study.runs[0], steps=options.steps, batch_size=batch)
        folder = Path(study.data_folder(*run.cell))
        cell = Cell(folder)
        pairs = [
            (rate(ours(cell, run), run), rate(plain(folder, run, options.workers), run))
            for _ in range(5)
        ]
        few = with_training(run, steps=max(10, options.steps // 10))
        waits = waiting(ours(cell, few), few), waiting(plain(folder, few, options.workers), few)
    own, other = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    return (
        f"| {side} | {batch} | {own:,.0f} | {other:,.0f} | {own / other:.1f} "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f}) | {waits[0]:.2%} | {waits[1]:.2%} |"
    )


def main() -> None:
    """Measure every size and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, default=0, help="processes of the plain loader")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    note = about("cpu", 1)
    config = yaml.safe_load(Path("config.yaml").read_text())
    lines = [
        f"{note}, albumentations {A.__version__}.",
        "",
        f"{options.images} grey images, {options.steps} steps, {options.workers} processes of the",
        f"plain loader. Goal: at least {GOAL_RATIO} times the plain path, under {GOAL_WAIT:.0%}",
        "of a step waiting.",
        "",
        "| side | batch | ours, images/s | plain, images/s | ratio (range of 5) | ours waits "
        "| plain waits |",
        "|---" * 7 + "|",
    ]
    lines += [measure(config, side, batch, options) for side, batch in SIZES]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "input-path.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
