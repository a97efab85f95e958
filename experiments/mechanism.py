"""What losses do without any training: `python -m experiments.mechanism CONFIG mechanism.csv`.

Quantities: `perfect`, the loss of a perfect prediction of n foreground pixels in an image of
128x128; `gradient`, how hard a loss pulls at an object of n pixels: the gradient of the object's
probabilities, summed, absolute, in an image of 64x64 with the object predicted 0.5 and the rest
0.01.
"""

import argparse

import pandas as pd
import torch

import losses
from experiments.files import write_whole
from experiments.plan import Study

COMPARED = ("cross_entropy", "dice", "squared_dice", "article_dice")
"""Measured whether a study trains with them or not: what the article's formula is beside."""
COLUMNS = ("quantity", "loss", "n", "value")
PERFECT_N = (1, 10, 100, 1000, 10_000)
GRADIENT_N = (1, 4, 16, 64, 256, 1024)


def perfect_match(loss, n):
    target = _first_pixels(n, 128)
    return loss(60 * (2 * target - 1), target).item()


def object_gradient(loss, n):
    target = _first_pixels(n, 64)
    prob = 0.01 + 0.49 * target
    logits = prob.logit().requires_grad_()
    loss(logits, target).backward()
    return (logits.grad / (prob * (1 - prob)))[target > 0].sum().abs().item()


def _first_pixels(n, side):
    """A target with its first n pixels foreground."""
    return (torch.arange(side * side) < n).float().reshape(1, 1, side, side)


def measure(specs):
    """Rows of COLUMNS for losses, name -> specification."""
    rows = [
        (quantity, name, n, function(losses.build(spec), n))
        for quantity, function, numbers in (
            ("perfect", perfect_match, PERFECT_N),
            ("gradient", object_gradient, GRADIENT_N),
        )
        for name, spec in specs.items()
        for n in numbers
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("output")
    args = parser.parse_args()
    study = Study.read(args.config)
    missing = {name: name for name in COMPARED if name not in study.losses}
    write_whole(args.output, measure(study.losses | missing).to_csv(index=False))


if __name__ == "__main__":
    main()
