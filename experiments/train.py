"""Train and evaluate one run.

Everything that it starts from (images, weights, order, augmentation) follows from its dataset,
stress and seed, never from the loss or from what else runs; it takes one thread, so that the same
cell gives the same bytes with one job or many.
"""

import hashlib
import io
import itertools
import json
import logging
import os
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
import torch
from PIL import Image

import losses
from experiments import evaluate, models, prepared, provenance, results
from experiments.plan import CLEAN, IGNORED, stable_seed

log = logging.getLogger("dicebench")

CURVE_POINTS = 6
LARGE = 2**28
"""Bytes above which a split's images are kept in a file and mapped instead of held in memory."""
SURE = -15.0
"""The logit at which a pixel is background for certain. Where pixels do not count, it stands for
what the model said: nothing is learned from them, under any loss, the suite's or another's."""
SAY_EVERY = 20.0
"""Seconds between lines about a run in progress."""


def keep(arrays, shape, path):
    """Arrays of one shape as one array; above LARGE bytes a file below `path`, mapped to memory.

    The file is whole or not there; whoever comes second finds it, so that the processes that
    train on a folder share its pages.
    """
    if np.prod(shape, dtype=np.int64) <= LARGE:
        return np.stack(list(arrays))
    if not path.exists():
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        mapped = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
        for place, array in enumerate(arrays):
            mapped[place] = array
        mapped.flush()
        os.replace(beside, path)
    return np.load(path, mmap_mode="r")


class Cell:
    """The images and labels that all losses of a (dataset, stress, seed) share, decoded once."""

    def __init__(self, folder):
        data = prepared.read(folder)
        self.content = data.info["content"]
        self.classes = data.classes

        def load(split):
            stems = data.split[split]
            first = data.image(stems[0])
            place = f"{self.content[:16]}-{split}"
            images, masks = (
                keep(map(read, stems), (len(stems), *shape), data.folder / f"{place}-{name}.npy")
                for name, read, shape in (
                    ("images", data.image, first.shape),
                    ("masks", data.target, first.shape[:2]),
                )
            )
            return images if images.ndim == 4 else images[..., None], masks

        def layer(split, name):
            """A further layer of masks, or None where the folder has none."""
            if not (data.folder / name).is_dir():
                return None
            return np.stack([data.mask(stem, name) for stem in data.split[split]])

        self.images, self.masks = load("train")
        self.clean, self.ignored = layer("train", CLEAN), layer("train", IGNORED)
        self.val_images, self.val_masks = load("val")
        self.val_ignored = layer("val", IGNORED)
        self.test_images, _ = load("test")
        self.test = evaluate.truths(data)
        self.channels = self.images.shape[-1]


@lru_cache(maxsize=2)
def open_cell(folder, content):
    """The cell of a folder; `content` keeps one that was prepared anew from being mistaken."""
    return Cell(folder)


def resolve_device(device):
    """`auto` falls back to the CPU, `cuda` does not."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' is not available here; allowed: auto, cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def to_tensor(images, device):
    """(N, H, W, C) uint8 to (N, C, H, W) float32, about zero mean and unit scale."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    tensor = (tensor.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    return tensor.contiguous(memory_format=torch.channels_last)


def to_target(masks, classes, device="cpu"):
    """(N, H, W) numbers of classes as losses take them.

    Of one class (N, 1, H, W) float32, the foreground's probability; of several (N, H, W) int64.
    """
    target = torch.from_numpy(masks).to(device)
    return target[:, None].float() if classes == 1 else target.long()


def set_aside(ignored, logits, target):
    """Logits and target that are background for certain where pixels do not count."""
    without = torch.from_numpy(ignored).to(logits.device, torch.bool)
    sure = logits.new_full((1, logits.shape[1], 1, 1), SURE)
    if logits.shape[1] > 1:
        sure[:, 0] = 0
    logits = torch.where(without[:, None], sure, logits)
    return logits, target.masked_fill(without.reshape(-1, *target.shape[1:]), 0)


def turned(arrays, element):
    """(N, H, W, ...) under an element 0 to 7 of the square's symmetries: a view of the same pixels.

    Quarter turns (element % 4), then mirrored from 4 on: they leave the foreground's share.
    """
    arrays = np.rot90(arrays, element % 4, axes=(1, 2))
    return arrays[:, :, ::-1] if element >= 4 else arrays


def batches(cell, run, maps=None):
    """Steps of (image numbers, images, masks, ignored, maps): the cell's, whatever the loss.

    ignored: the pixels that do not count, or None. maps: what the loss has computed of each
    training mask, (N, H, W, K), or None; both are turned like the mask.
    Array operations on what was decoded once: for small images a transform's call per image
    takes longer than the pixels do.
    """
    training = run.training
    order_rng = np.random.default_rng(stable_seed("order", *run.cell))
    turn_rng = np.random.default_rng(stable_seed("augment", *run.cell))
    parts = [cell.images, cell.masks, cell.ignored, maps]
    order = []
    for _ in range(training.steps):
        while len(order) < training.batch_size:
            order += order_rng.permutation(len(cell.images)).tolist()
        picked, order = np.array(order[: training.batch_size]), order[training.batch_size :]
        elements = turn_rng.integers(8, size=len(picked)) if training.augment else picked * 0
        batch = [
            None if part is None else np.empty((len(picked), *part.shape[1:]), part.dtype)
            for part in parts
        ]
        for element in np.unique(elements):
            places = np.flatnonzero(elements == element)
            for whole, part in zip(batch, parts, strict=True):
                if part is not None:
                    whole[places] = turned(part[picked[places]], element)
        yield picked, *batch


@torch.no_grad()
def predict(model, images, device, ignored=None, batch=32):
    """Probabilities of the classes (N, K, H, W), float32, of (N, H, W, C) uint8 images.

    ignored: (N, H, W), where they are 0; or None.
    """
    model.eval()
    parts = []
    for i in range(0, len(images), batch):
        logits = model(to_tensor(images[i : i + batch], device)).float()
        several = logits.shape[1] > 1
        parts.append((logits.softmax(1)[:, 1:] if several else logits.sigmoid()).cpu())
    model.train()
    prob = torch.cat(parts).numpy()
    return prob if ignored is None else np.where(ignored[:, None], np.float32(0), prob)


def fit(model, loss_fn, cell, run, device, say):
    """Adam for `steps` steps; returns the learning curve and the step of divergence, or None."""
    training = run.training
    optimizer = torch.optim.Adam(model.parameters(), lr=run.learning_rate, fused=True)
    amp = training.mixed_precision and device == "cuda"
    scaler = torch.amp.GradScaler(device, enabled=amp)
    every = -(-training.steps // CURVE_POINTS)  # rounded up: no stub of a last interval
    curve, recent = [], []
    maps, classes = None, len(cell.classes)
    if hasattr(loss_fn, "maps"):  # distances and the like: once per image, not per step
        channels = [models.outputs(classes)] if classes > 1 else []
        maps = loss_fn.maps(to_target(cell.masks, classes), *channels)
        maps = maps.permute(0, 2, 3, 1).numpy()
    for step, (_, images, masks, ignored, turned_maps) in enumerate(batches(cell, run, maps)):
        images = to_tensor(images, device)
        target = to_target(masks, classes, device)
        extra = {}
        if maps is not None:
            extra["maps"] = torch.from_numpy(turned_maps).permute(0, 3, 1, 2).to(device)
        if hasattr(loss_fn, "set_progress"):
            loss_fn.set_progress(step / training.steps)
        with torch.autocast(device, enabled=amp):
            logits = model(images)
            if ignored is not None:
                logits, target = set_aside(ignored, logits, target)
            value = loss_fn(logits, target, **extra)
        if not torch.isfinite(value):
            return curve, step
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        recent.append(value.item())
        say(step, recent[-1])
        if (step + 1) % every == 0 or step + 1 == training.steps:
            prob = predict(model, cell.val_images, device, cell.val_ignored)
            found = results.most_probable(prob)
            dice = evaluate.dice_by_class(found, cell.val_masks)
            curve.append(
                {
                    "step": step + 1,
                    "loss": float(np.mean(recent)),
                    "val_dice": float(np.mean(dice)),
                    "val_fraction": float(found.any(1).mean()),
                }
            )
            recent = []
    # The loss of a step tells of the steps before it; of the last one the weights do.
    whole = all(parameter.isfinite().all() for parameter in model.parameters())
    return curve, None if whole else training.steps


def train(study, run):
    """Train and evaluate one run, and write its record whatever happens; returns the record."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    folder = Path(study.folder, run.path)
    record = {"fingerprint": run.fingerprint, "run": results.describe(run)}
    counts = probabilities = None
    clock = {"start": time.perf_counter()}
    device = resolve_device(study.device)
    # Not every operation has a deterministic form on CUDA; on a CPU none may do without.
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
    try:
        data = study.data_folder(*run.cell)
        content = prepared.content(data)
        record |= {"data": content, "code": provenance.code(run.loss_spec)}
        cell = open_cell(data, content)
        clock["load"] = time.perf_counter()
        torch.manual_seed(stable_seed("weights", *run.cell))
        model = models.build(run.training, cell.channels, len(cell.classes))
        model = model.to(device, memory_format=torch.channels_last).train()
        loss_fn = losses.build(json.loads(run.loss_spec)).to(device)
        curve, diverged = fit(model, loss_fn, cell, run, device, Sayer(run))
        clock["train"] = time.perf_counter()
        record |= {"status": "ok" if diverged is None else "diverged", "curve": curve}
        if diverged is None:
            prob = predict(model, cell.val_images, device, cell.val_ignored)
            threshold, val_dice = evaluate.tune(prob, cell.val_masks, cell.classes)
            prob = predict(model, cell.test_images, device)
            counts = evaluate.evaluate(prob, cell.test, threshold)
            probabilities = strip(prob[: results.EXAMPLES])
            record |= {
                "threshold": threshold,
                "val_dice": val_dice,
                "calibration": evaluate.calibration(prob, cell.test),
                "weights": weights_hash(model),
            }
            if cell.clean is not None:
                prob = predict(model, cell.images, device)
                counted = slice(None) if cell.ignored is None else cell.ignored == 0
                record["noise"] = evaluate.reproduced(
                    prob[:, 0][counted], cell.masks[counted], cell.clean[counted]
                )
        else:
            record["step"] = diverged
    except torch.OutOfMemoryError as error:
        record |= {"status": "failed", "reason": f"out of memory: {error}"}
    except Exception as error:
        log.exception("run %s failed", run.path)
        record |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    clock["evaluate"] = time.perf_counter()
    times = list(clock.items())
    record |= provenance.origin(device) | {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {
            name: round(at - before, 3) for (_, before), (name, at) in itertools.pairwise(times)
        },
    }
    results.write_record(folder, record, counts, probabilities)
    return record


def strip(prob):
    """(N, K, H, W) probabilities as the bytes of an 8-bit PNG: images beside each other, classes
    below each other."""
    buffer = io.BytesIO()
    pixels = (np.block([list(of_class) for of_class in prob.swapaxes(0, 1)]) * 255).round()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def weights_hash(model):
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Sayer:
    """Says now and then how far a run is."""

    def __init__(self, run):
        self.run, self.last = run, time.monotonic()

    def __call__(self, step, value):
        if time.monotonic() - self.last > SAY_EVERY:
            self.last = time.monotonic()
            steps = self.run.training.steps
            log.info("... %s step %d of %d, loss %.4f", name_of(self.run), step + 1, steps, value)


def name_of(run):
    dataset, stress, seed = run.cell
    return f"{dataset} {stress} {run.loss} seed {seed}"
