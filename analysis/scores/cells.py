"""A study's scores as arrays (seeds, images, losses), one per cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.scores import metrics, tuning
from analysis.scores.draws import Scores

if TYPE_CHECKING:
    from analysis.results import Results


class Cells:
    """Dice scores of a study's cells at the fixed learning rate."""

    def __init__(self, results: Results) -> None:
        study, scored = results.study, results.scored
        self._seeds, self._losses = pd.Index(scored["seed"].unique()), pd.Index(study.losses)
        cell = [c for c in tuning.cell_columns(scored) if c != "loss"]
        self._cell = cell
        self._rows = dict(list(scored.groupby(cell, sort=False))) if len(scored) else {}
        self._sources = metrics.sources(study, scored, results.image_sources)

    def scores(self, where: Mapping[str, Any], threshold: str) -> Scores:
        """Return the scores of a cell; where: `Study.where`. NaN for a missing run."""
        cell = where | {"threshold": threshold}
        rows = self._rows.get(tuple(cell[column] for column in self._cell))
        if rows is None:
            return Scores(np.full((len(self._seeds), 1, len(self._losses)), np.nan))
        images = pd.Index(sorted(rows["image"].unique()))
        scores = np.full((len(self._seeds), len(images), len(self._losses)), np.nan)
        scores[
            self._seeds.get_indexer(rows["seed"]),
            images.get_indexer(rows["image"]),
            self._losses.get_indexer(rows["loss"]),
        ] = rows["score_dice"]
        return Scores(scores, self._sources.get((where["dataset"], where["stress"])))
