"""What losses do without any training: `python -m experiments.mechanism CONFIG mechanism.csv`.

Each quantity is measured on a prediction that is constructed, in an image of 64x64 (128x128 for
`perfect`). The gradient is that of the logits, as training sees it; a share is of the sum of its
absolute values over all pixels. `QUANTITIES` says what each is, and what x is.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

import losses
from experiments.files import write_whole
from experiments.plan import Study

COMPARED = ("cross_entropy", "dice", "squared_dice", "article_dice")
"""Measured whether a study trains with them or not: what the article's formula is beside."""
COLUMNS = ("quantity", "loss", "x", "value")
SIDE = 64
RADIUS = 12.0
"""Pixels; of the disk that the boundary is measured on."""
BAND = 2.0
SURE = 0.9
"""Probability of the true class where a prediction follows the truth."""
LARGE = 32
"""Side in pixels of the large square that small ones stand beside."""

QUANTITIES = {
    "perfect": ("the loss of a perfect prediction", "foreground pixels"),
    "gradient": (
        "gradient of an object's probabilities, summed, absolute; p = 0.5 on it, 0.01 elsewhere",
        "foreground pixels",
    ),
    "foreground_share": ("share that foreground gets at p = 0.5", "foreground fraction"),
    "boundary_share": (
        "share within 2 px of the boundary of a disk predicted with a soft edge",
        "width of the edge, px",
    ),
    "by_distance": (
        "share per pixel at the edge width of 1 px, over that of an average pixel",
        "distance to the boundary, px, negative inside",
    ),
    "small_over_large": (
        "gradient of a pixel of a small square over that of a large one beside it; p = 0.5 on "
        "both, 0.01 elsewhere",
        "side of the small square, px",
    ),
    "noisy_share": (
        "share that flipped labels get, of a prediction that is 0.9 sure of the truth",
        "share of labels flipped",
    ),
}
"""Quantity -> (what it is, what x is)."""


def gradient(loss, prob, target):
    """|dL / dlogit| of probabilities and a target (H, W); NumPy arrays."""
    logits = torch.from_numpy(prob).float().logit()[None, None].requires_grad_()
    loss(logits, torch.from_numpy(target).float()[None, None]).backward()
    return logits.grad[0, 0].abs().double().numpy()


def share(part, whole):
    return part.sum() / whole.sum() if whole.sum() > 0 else np.nan


def first_pixels(n, side):
    """A target with its first n pixels foreground."""
    return (np.arange(side * side) < n).astype(float).reshape(side, side)


def perfect(loss):
    for n in (1, 10, 100, 1000, 10_000):
        target = torch.from_numpy(first_pixels(n, 128)).float()[None, None]
        yield n, loss(60 * (2 * target - 1), target).item()


def object_gradient(loss):
    for n in (1, 4, 16, 64, 256, 1024):
        target = first_pixels(n, SIDE)
        prob = 0.01 + 0.49 * target
        yield n, (gradient(loss, prob, target) / (prob * (1 - prob)))[target > 0].sum()


def foreground_share(loss):
    for f in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        target = first_pixels(round(f * SIDE**2), SIDE)
        pull = gradient(loss, np.full(target.shape, 0.5), target)
        yield target.mean(), share(pull[target > 0], pull)


def disk(width):
    """Distance to the boundary (negative inside), target and soft prediction of a disk."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    away = np.hypot(y, x) - RADIUS
    return away, (away < 0).astype(float), 1 / (1 + np.exp(away.clip(-30, 30) / width))


def boundary_share(loss):
    for width in (0.5, 1.0, 2.0, 4.0):
        away, target, prob = disk(width)
        pull = gradient(loss, prob.clip(1e-6, 1 - 1e-6), target)
        yield width, share(pull[np.abs(away) <= BAND], pull)


def by_distance(loss):
    away, target, prob = disk(1.0)
    pull = gradient(loss, prob.clip(1e-6, 1 - 1e-6), target)
    for centre in np.arange(-10, 11):
        ring = np.abs(away - centre) <= 0.5
        yield float(centre), pull[ring].mean() / pull.mean() if pull.sum() > 0 else np.nan


def beside(side):
    """A small and a large square apart from each other: masks of both."""
    small, large = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    large[8 : 8 + LARGE, 4 : 4 + LARGE] = True
    small[24 : 24 + side, 46 : 46 + side] = True
    return small, large


def small_over_large(loss):
    for side in (1, 2, 4, 8, 16):
        small, large = beside(side)
        target = (small | large).astype(float)
        pull = gradient(loss, 0.01 + 0.49 * target, target)
        yield side, pull[small].mean() / pull[large].mean() if pull[large].sum() > 0 else np.nan


def noisy_share(loss):
    truth = first_pixels(round(0.06 * SIDE**2), SIDE)
    prob = np.where(truth > 0, SURE, 1 - SURE)
    for rate in (0.01, 0.03, 0.1, 0.2, 0.3):
        shares = []
        for seed in range(5):
            flipped = np.random.default_rng(seed).random(truth.shape) < rate
            pull = gradient(loss, prob, np.where(flipped, 1 - truth, truth))
            shares.append(share(pull[flipped], pull))
        yield rate, np.mean(shares)


MEASURES = {
    "perfect": perfect,
    "gradient": object_gradient,
    "foreground_share": foreground_share,
    "boundary_share": boundary_share,
    "by_distance": by_distance,
    "small_over_large": small_over_large,
    "noisy_share": noisy_share,
}


def picture():
    """Target, labels with a few flipped, and a blurred prediction, (H, W): what maps show."""
    small, large = beside(4)
    target = (small | large).astype(float)
    prob = ndimage.gaussian_filter(target, 2).clip(0.01, 0.99)
    flipped = np.random.default_rng(0).random(target.shape) < 0.01
    return target, np.where(flipped, 1 - target, target), prob


def measure(specs):
    """Rows of COLUMNS for losses, name -> specification.

    A loss that cannot be measured (one from elsewhere may ask for other shapes) has empty values.
    """
    rows = []
    for quantity, function in MEASURES.items():
        for name, spec in specs.items():
            try:
                rows += [(quantity, name, *pair) for pair in function(losses.build(spec))]
            except Exception as error:
                print(f"{quantity} of {name}: {type(error).__name__}: {error}", flush=True)
                rows.append((quantity, name, np.nan, np.nan))
    return pd.DataFrame(rows, columns=COLUMNS)


def maps(specs):
    """The picture and |dL/dlogit| of each loss on it, as shares of the total: name -> (H, W)."""
    target, labels, prob = picture()
    result = {"target": target, "labels": labels, "prediction": prob}
    for name, spec in specs.items():
        try:
            pull = gradient(losses.build(spec), prob, labels)
        except Exception:
            continue
        result[f"loss {name}"] = pull / pull.sum() if pull.sum() > 0 else pull
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("output", type=Path, help="CSV; the gradient maps stand beside it")
    parser.add_argument("maps", type=Path)
    args = parser.parse_args()
    study = Study.read(args.config)
    specs = study.losses | {name: name for name in COMPARED if name not in study.losses}
    write_whole(args.output, measure(specs).to_csv(index=False))
    np.savez_compressed(args.maps, **maps(specs))


if __name__ == "__main__":
    main()
