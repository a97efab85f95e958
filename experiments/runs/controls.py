"""Step `controls`: score predictions that no model made.

They show the meaning of a score: nothing predicted, the true mask, and a random mask of the true
mask's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from experiments.data import prepared
from experiments.files import write_whole
from experiments.layout import CONTROLS
from experiments.plan.seeds import stable_seed
from experiments.runs import evaluate
from experiments.runs.table import NUMERIC, columns
from experiments.runs.truth import truths

if TYPE_CHECKING:
    from experiments.plan.study import Study


def run(study: Study) -> None:
    """Write ``controls.csv``."""
    write_whole(study.file(CONTROLS), control(study).to_csv(index=False))


def predictions(
    rng: np.random.Generator, masks: Bool[np.ndarray, "n k h w"], multilabel: bool = False
) -> dict[str, Float[np.ndarray, "n k h w"]]:
    """Return the probabilities of each control, for true masks of k classes.

    multilabel: the classes may overlap; their random masks are then drawn apart.
    """
    shares = masks.mean((2, 3), keepdims=True)
    if multilabel:
        random = rng.random(masks.shape) < shares
    else:
        random = np.diff(rng.random(masks[:, :1].shape) < shares.cumsum(1), axis=1, prepend=False)
    return {
        "all background": np.zeros(masks.shape),
        "random mask": random.astype(float),
        "true mask": masks.astype(float),
    }


def control(study: Study) -> pd.DataFrame:
    """Return rows of the study's table for each cell and control, at threshold 0.5."""
    rows = []
    for dataset in study.datasets:
        for stress in study.stresses(dataset):
            for seed in study.plan.seeds(dataset, stress):
                rows += _rows(study, dataset, stress, seed)
    table = pd.DataFrame(rows).reindex(columns=columns(study.axes))
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return table


def _rows(study: Study, dataset: str, stress: str, seed: int) -> list[dict[str, Any]]:
    cell = prepared.read_cell(study.data_folder(dataset, stress, seed))
    test, multilabel = truths(cell), cell.multilabel
    masks = np.stack([[truth.mask for truth in of_class] for of_class in test.values()], axis=1)
    rng = np.random.default_rng(stable_seed("controls", dataset, stress, seed))
    key = {"dataset": dataset, "stress": stress, "seed": seed, "status": "ok"}
    key |= study.settings[0].labels
    return [
        key | {"loss": name} | row
        for name, prob in predictions(rng, masks, multilabel).items()
        for row in evaluate.count(prob, test, multilabel=multilabel)
    ]
