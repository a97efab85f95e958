"""Train segmentation models without the suite: the script that `benchmarks.training` compares with.

    python -m benchmarks.plain --run FOLDER LOSS SEED [--run ...] [--steps 160] [--device cuda]

A run trains a model of segmentation-models-pytorch on a prepared folder of one class. A DataLoader
reads its PNG files, albumentations augments them, Adam minimises a loss of MONAI (cross-entropy: of
torch). Prints a line of JSON for each run and writes it to OUT/LOSS-SEED.json. Imports nothing of
the project.

Besides the usual: images in channels-last order, validation without gradients, losses read only at
validation, pinned memory and cudnn.benchmark on a GPU, one thread by default.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from albumentations.pytorch import ToTensorV2
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

IMPORTED = time.time()
LOSSES = {
    "cross_entropy": nn.BCEWithLogitsLoss,
    "dice": lambda: DiceLoss(sigmoid=True),
    "dice_ce": lambda: DiceCELoss(sigmoid=True),
}


class Clock:
    """Seconds by phase, if they are asked for: on a GPU each phase then waits for the device."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.on, self.gpu = options.phases, options.device == "cuda"
        self.seconds: Counter[str] = Counter()

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time of the body to a phase."""
        if not self.on:
            yield
            return
        began = self._now()
        yield
        self.seconds[phase] += self._now() - began

    def _now(self) -> float:
        if self.gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


class Images(Dataset):
    """The images and masks of a split."""

    def __init__(self, folder: Path, split: str, seed: int) -> None:
        stems = json.loads((folder / "dataset.json").read_text())["split"][split]
        self.files = [
            (str(folder / "images" / f"{s}.png"), str(folder / "masks" / f"{s}.png")) for s in stems
        ]
        augment = [A.D4(p=1)] if split == "train" else []  # flips and rotations by 90 degrees
        self.transform = A.Compose(
            [*augment, A.Normalize(mean=(0.5,), std=(0.25,)), ToTensorV2()], seed=seed
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image_file, mask_file = self.files[index]
        image = cv2.imread(image_file, cv2.IMREAD_UNCHANGED)
        image = image[..., None] if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        mask = (cv2.imread(mask_file, cv2.IMREAD_GRAYSCALE) > 0).astype(np.float32)
        sample = self.transform(image=image, mask=mask)
        return sample["image"], sample["mask"][None]


def loader(folder: Path, split: str, seed: int, options: argparse.Namespace) -> DataLoader:
    """Return the batches of a split."""
    train = split == "train"
    return DataLoader(
        Images(folder, split, seed),
        batch_size=options.batch_size if train else 32,
        shuffle=train,
        drop_last=train,
        num_workers=options.workers,
        pin_memory=options.device == "cuda",
        persistent_workers=options.workers > 0,
    )


def endless(batches: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever."""
    while True:
        yield from batches


def to_device(tensor: Tensor, device: str) -> Tensor:
    """Return a batch on the device, channels last."""
    return tensor.to(device, non_blocking=True, memory_format=torch.channels_last)


@torch.no_grad()
def dice(model: nn.Module, batches: DataLoader, device: str) -> float:
    """Return the Dice score over all pixels of all images."""
    model.eval()
    counts = []
    for images, masks in batches:
        probability = model(to_device(images, device)).sigmoid()
        target = to_device(masks, device).long()
        stats = smp.metrics.get_stats(probability, target, mode="binary", threshold=0.5)
        counts.append(torch.stack([part.sum() for part in stats]))
    model.train()
    tp, fp, fn, _ = torch.stack(counts).sum(0).tolist()
    return 2 * tp / max(1, 2 * tp + fp + fn)


def train(folder: Path, loss: str, seed: int, options: argparse.Namespace) -> dict:
    """Train and test one model; return its scores."""
    began, clock, device = time.perf_counter(), Clock(options), options.device
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    with clock("data"):
        loaders = {
            split: loader(folder, split, seed, options) for split in ("train", "val", "test")
        }
        channels = loaders["train"].dataset[0][0].shape[0]
        batches = endless(loaders["train"])
    model = smp.create_model(
        options.architecture,
        options.encoder,
        encoder_weights=None,
        in_channels=channels,
        classes=1,
        **options.model_options,
    )
    model = model.to(device, memory_format=torch.channels_last).train()
    loss_fn = LOSSES[loss]()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    autocast = torch.autocast(device, torch.bfloat16, enabled=options.precision == "bf16")
    curve, recent = [], []
    for step in range(1, options.steps + 1):
        with clock("data"):
            images, masks = (to_device(part, device) for part in next(batches))
        with clock("forward"), autocast:
            logits = model(images)
        with clock("loss"):
            value = loss_fn(logits.float(), masks)
        with clock("backward"):
            optimizer.zero_grad()
            value.backward()
        with clock("optimiser"):
            optimizer.step()
        recent.append(value.detach())
        if step % options.every == 0 or step == options.steps:
            with clock("evaluation"):
                mean = torch.stack(recent).mean().item()
                if not math.isfinite(mean):
                    raise SystemExit(f"{folder} {loss}: the loss is {mean} at step {step}")
                score = dice(model, loaders["val"], device)
                curve.append({"step": step, "loss": mean, "val_dice": score})
                recent = []
    with clock("evaluation"):
        result = {"loss": loss, "seed": seed, "dice": dice(model, loaders["test"], device)}
    with clock("writing"):
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{loss}-{seed}.json").write_text(json.dumps(result | {"curve": curve}))
    seconds = time.perf_counter() - began
    return result | {"seconds": seconds, "phases": clock.seconds, "imported": IMPORTED}


def main() -> None:
    """Train all runs, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", nargs=3, action="append", metavar=("FOLDER", "LOSS", "SEED"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--architecture", default="Unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--model-options", type=json.loads, default={}, help="as JSON")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--every", type=int, default=27, help="steps between two validations")
    parser.add_argument("--workers", type=int, default=0, help="processes of the DataLoader")
    parser.add_argument("--threads", type=int, default=1, help="of torch; 0: its default")
    parser.add_argument("--phases", action="store_true", help="measure seconds by phase")
    parser.add_argument("--out", type=Path, default=Path("plain"))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    cv2.setNumThreads(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    for folder, loss, seed in options.run:
        print(json.dumps(train(Path(folder), loss, int(seed), options)), flush=True)


if __name__ == "__main__":
    main()
