"""A study's scores as arrays (seeds, images, losses), one per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.scores import metrics, tuning
from analysis.scores.draws import Scores

if TYPE_CHECKING:
    from analysis.results import Results


class Cells:
    """Dice scores of a study's cells at the fixed learning rate.

    A diverged run scores 0 on every image. A failed run has no scores.
    """

    def __init__(self, results: Results) -> None:
        study = results.study
        table = tuning.fixed(study, results.table)
        self.seeds = sorted(table["seed"].unique())
        self._losses = list(study.losses)
        self._cell = [c for c in tuning.cell_columns(table) if c not in ("loss", "threshold")]
        self._scored = _grouped(results.scored, [*self._cell, "threshold"])
        self._diverged = _grouped(metrics.select(table, status="diverged"), self._cell)
        sources = results.image_sources
        self._sources = _grouped(sources, ["dataset", "stress"])
        self._shared = {name for name, dataset in study.datasets.items() if not dataset.controlled}

    def scores(self, where: Mapping[str, Any], threshold: str) -> Scores:
        """Return the scores of a cell; where: `Study.where`.

        A test image without a known source is a source of its own.
        """
        cell = tuple(where[column] for column in self._cell)
        rows = self._scored.get((*cell, threshold))
        images = [""] if rows is None else sorted(rows["image"].unique())
        scores = np.full((len(self.seeds), len(images), len(self._losses)), np.nan)
        if rows is not None:
            places = self._places(rows)
            scores[places[0], pd.Index(images).get_indexer(rows["image"]), places[1]] = rows[
                "score_dice"
            ]
        if (lost := self._diverged.get(cell)) is not None:
            seed, loss = self._places(lost)
            scores[seed, :, loss] = 0
        if where["dataset"] not in self._shared:
            return Scores(scores)
        known = self._sources.get((where["dataset"], where["stress"]))
        names = {} if known is None else dict(zip(known["image"], known["source"], strict=True))
        return Scores(scores, [names.get(image, image) for image in images])

    def _places(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the rows' seeds and losses."""
        return (
            pd.Index(self.seeds).get_indexer(rows["seed"]),
            pd.Index(self._losses).get_indexer(rows["loss"]),
        )


def _grouped(rows: pd.DataFrame, columns: Sequence[str]) -> dict[tuple, pd.DataFrame]:
    """Return the values of columns -> the rows that have them."""
    return dict(list(rows.groupby(list(columns), sort=False))) if len(rows) else {}
