"""What losses do without any training: `python -m experiments.mechanism mechanism.csv`.

Quantities: `perfect`, the loss of a perfect prediction of n foreground pixels; `gradient`, how
hard it pulls at an object of n pixels (both as `losses.page` says).
"""

import argparse

import pandas as pd

from experiments.files import write_whole
from losses import page

COMPARED = ("cross_entropy", "dice", "squared_dice", "article_dice")
COLUMNS = ("quantity", "loss", "n", "value")
PERFECT_N = (1, 10, 100, 1000, 10_000)
GRADIENT_N = (1, 4, 16, 64, 256, 1024)


def measure():
    """Rows of COLUMNS for the losses that the article's formula is compared with."""
    rows = [
        (quantity, name, n, function(name, n))
        for quantity, function, numbers in (
            ("perfect", page.perfect_match, PERFECT_N),
            ("gradient", page.object_gradient, GRADIENT_N),
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
