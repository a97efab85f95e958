"""A study's folder as the analysis reads it: each file by its fixed name, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.scores import metrics, tuning
from analysis.steps import COMPARISONS, RECOMMENDATION
from experiments import layout
from experiments.errors import ConfigError
from experiments.plan.study import Study
from experiments.runs.table import read_csv, read_rows, read_table

MADE_BY = {
    layout.RUNS: "experiments collect",
    layout.RECORDS: "experiments collect",
    layout.IMAGE_SOURCES: "experiments collect",
    layout.CONTROLS: "experiments controls",
    layout.MECHANISM: "experiments mechanism",
    layout.MAPS: "experiments mechanism",
    layout.ESTIMATES: "analysis estimates",
    layout.RANKS: "analysis estimates",
    layout.VERDICTS: "analysis verdicts",
    RECOMMENDATION: "analysis recommendation",
    COMPARISONS: "analysis recommendation",
    layout.STRESSES: "analysis stresses",
    f"{layout.FIGURES}/{layout.CAPTIONS}": "analysis figures",
}
"""File -> the step that writes it."""
NUMBERS = {
    layout.ESTIMATES: ("value", "low", "high", "n"),
    layout.RANKS: ("score", "rank", "low", "high", "first"),
    layout.VERDICTS: (
        *("estimate", "error", "df", "low", "high", "low90", "high90", "smallest", "n", "planned"),
        *("p", "p_corrected", "seeds_needed", "look", "next_low", "next_high", "next_probability"),
    ),
    RECOMMENDATION: (
        *("score", "rank", "low", "high", "best", "near", "regret", "bound"),
        *("datasets", "levels", "n"),
    ),
    COMPARISONS: ("value", "low", "high", "n", "p", "p_corrected", "detectable"),
    layout.MECHANISM: ("x", "value"),
}
"""File -> its columns of numbers; all others are text."""


@dataclass(frozen=True)
class Results:
    """The files of a study.

    ConfigError if a file does not exist; it names the step that writes the file.
    """

    study: Study

    @classmethod
    def open(cls, folder: str | Path) -> Results:
        """Return the results in a study's folder."""
        return cls(Study.open(folder))

    def path(self, name: str) -> Path:
        """Return the path of an existing file of the study's folder."""
        path = self.study.file(name)
        if not path.exists():
            raise ConfigError(
                f"{path}: there is no such file; `python -m {MADE_BY[name]} {self.study.folder}` "
                "writes it"
            )
        return path

    @cached_property
    def table(self) -> pd.DataFrame:
        """``runs.csv``: counts per run, test image, class and threshold."""
        return read_table(self.path(layout.RUNS))

    @cached_property
    def scored(self) -> pd.DataFrame:
        """Scores per run, test image and threshold at the fixed learning rate."""
        return metrics.scores(tuning.fixed(self.study, self.table))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Records of the runs, each with its key."""
        return json.loads(self.path(layout.RECORDS).read_text())

    @cached_property
    def image_sources(self) -> pd.DataFrame:
        """Image and group (patient, video, volume) that each test image was cut from.

        Columns: dataset, stress, image, source, group. Generated images are not listed.
        """
        return read_csv(self.path(layout.IMAGE_SOURCES), lambda column: False)

    @cached_property
    def controls(self) -> pd.DataFrame:
        """Counts of the controls, with the columns of ``runs.csv``."""
        return read_rows(self.path(layout.CONTROLS))

    @cached_property
    def mechanism(self) -> pd.DataFrame:
        """Quantities that were measured without training."""
        return self._read(layout.MECHANISM)

    @cached_property
    def maps(self) -> Mapping[str, np.ndarray]:
        """Gradient maps of the losses."""
        return np.load(self.path(layout.MAPS))

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Means with intervals per experiment, dataset, level, setting and loss."""
        return self._read(layout.ESTIMATES)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Ranks of the losses per dataset, experiment and setting."""
        return self._read(layout.RANKS)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """Verdicts per claim, level, dataset, loss, threshold, rate and setting."""
        return self._read(layout.VERDICTS)

    @cached_property
    def recommendation(self) -> pd.DataFrame:
        """Advice per situation, scope, threshold, setting and loss."""
        return self._read(RECOMMENDATION)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Mean scores by situation, and differences from the references."""
        return self._read(COMPARISONS)

    @cached_property
    def stresses(self) -> pd.DataFrame:
        """Measures of the stressed datasets."""
        text = ("dataset", "stress", "split")
        return read_csv(self.path(layout.STRESSES), lambda column: column not in text)

    @cached_property
    def captions(self) -> dict[str, dict[str, Any]]:
        """Figure -> its caption and other facts."""
        return json.loads(self.path(f"{layout.FIGURES}/{layout.CAPTIONS}").read_text())

    def _read(self, name: str) -> pd.DataFrame:
        """Read a table of text with some columns of numbers; empty text stays empty."""
        return read_csv(self.path(name), NUMBERS[name].__contains__)
