"""Predictions that no model made, scored alike: `python -m experiments.controls CONFIG OUT`.

Controls show what a score means: nothing predicted, the true mask, and a random mask of the true
mask's size.
"""

import argparse

import numpy as np
import pandas as pd

from experiments import evaluate, prepared
from experiments.files import write_whole
from experiments.plan import Study, stable_seed
from experiments.results import COLUMNS, NUMERIC


def predictions(rng, masks):
    """Name -> (N, K, H, W) probabilities, of the true masks (N, K, H, W)."""
    ends = masks.mean((2, 3), keepdims=True).cumsum(1)
    drawn = rng.random(masks[:, :1].shape)
    return {
        "all background": np.zeros(masks.shape),
        "random mask": np.diff(drawn < ends, axis=1, prepend=False).astype(float),
        "true mask": masks.astype(float),
    }


def control(study):
    """Rows of the study's table for each cell and control, at threshold 0.5."""
    rows = []
    for dataset in study.datasets:
        for stress in study.stresses(dataset):
            for seed in study.seeds:
                data = prepared.read(study.data_folder(dataset, stress, seed))
                truths = evaluate.truths(data)
                masks = [[truth.mask for truth in of_class] for of_class in truths.values()]
                masks = np.stack(masks, axis=1)
                rng = np.random.default_rng(stable_seed("controls", dataset, stress, seed))
                key = {"dataset": dataset, "stress": stress, "seed": seed, "status": "ok"}
                for name, prob in predictions(rng, masks).items():
                    rows += [key | {"loss": name} | row for row in evaluate.evaluate(prob, truths)]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("output")
    args = parser.parse_args()
    write_whole(args.output, control(Study.read(args.config)).to_csv(index=False))


if __name__ == "__main__":
    main()
