"""What losses do without any training: `python -m experiments.mechanism mechanism.csv`.

- `perfect`: the loss of a perfect prediction of n foreground pixels, in a 128 x 128 image.
- `gradient`: the sum over the foreground pixels of |dL/dlogit|, for one object of n pixels in a
  64 x 64 image, predicted with p = 0.5 on the object and 0.01 elsewhere.
"""

import argparse

import pandas as pd
import torch

import losses
from experiments.files import write_whole

COMPARED = ("cross_entropy", "dice", "squared_dice", "article_dice")
COLUMNS = ("quantity", "loss", "n", "value")
PERFECT_N = (1, 10, 100, 1000, 10_000)
GRADIENT_N = tuple(4**k for k in range(1, 6))


def first_pixels(n, side):
    """A (1, 1, side, side) target with its first n pixels foreground: no loss here sees shape."""
    return (torch.arange(side * side) < n).double().reshape(1, 1, side, side)


def perfect(loss, n):
    target = first_pixels(n, 128)
    return loss(200 * (target - 0.5), target).item()


def gradient(loss, n):
    target = first_pixels(n, 64)
    logits = (0.01 + 0.49 * target).logit().requires_grad_()
    loss(logits, target).backward()
    return logits.grad[target > 0].abs().sum().item()


def measure():
    """Rows of COLUMNS for the losses that the article's formula is compared with."""
    rows = [
        (quantity, name, n, function(losses.build(name), n))
        for quantity, function, numbers in (
            ("perfect", perfect, PERFECT_N),
            ("gradient", gradient, GRADIENT_N),
        )
        for name in COMPARED
        for n in numbers
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    args = parser.parse_args()
    write_whole(args.output, measure().to_csv(index=False))


if __name__ == "__main__":
    main()
