"""Figures that a study can have, and the part of the study that each one shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from experiments.plan.seeds import shortened
from experiments.plan.training import words
from experiments.plan.values import LONGEST_FILE

if TYPE_CHECKING:
    from experiments.plan.levels import Experiment, Level
    from experiments.plan.study import Study
    from experiments.plan.training import Setting

Captioned = tuple[Figure, str]
"""A figure and its caption."""


@dataclass(frozen=True)
class Scope:
    """A dataset at one setting of the training grid, and an experiment on it (or None for all)."""

    study: Study
    dataset: str
    setting: Setting
    experiment: Experiment | None = None

    @property
    def levels(self) -> list[Level]:
        """The experiment's levels on the dataset."""
        return self.experiment.levels[self.dataset]

    @property
    def labels(self) -> dict[str, str]:
        """Axis -> label, for the axes of the grid that the experiment does not set."""
        own = self.experiment.training_fields if self.experiment else set()
        return {
            axis: label
            for axis, label in self.setting.labels.items()
            if axis not in own and len({s.labels[axis] for s in self.study.settings}) > 1
        }

    @property
    def words(self) -> str:
        """The dataset and the setting, for captions."""
        return self.dataset + (f" ({words(self.labels)})" if self.labels else "")

    @property
    def about(self) -> dict[str, str]:
        """The scope as captions.json holds it."""
        about = {"experiment": self.experiment.name} if self.experiment else {}
        about["dataset"] = self.dataset
        return about | ({"setting": self.setting.label} if self.labels else {})

    def stem(self, *parts: str) -> str:
        """Return the parts of a file's name with the setting; the reference adds nothing."""
        text = "_".join(part for part in (*parts, self.setting.name) if part)
        return shortened(text, LONGEST_FILE)

    def where(self, level: Level) -> dict[str, str]:
        """Return the columns and values that select a level's rows of the study's table."""
        return self.study.where(self.dataset, level, self.setting)

    def rows(self) -> dict[str, str]:
        """Return the columns and values that select the scope's rows of estimates.csv."""
        return {
            "experiment": self.experiment.name,
            "dataset": self.dataset,
            "setting": self.setting.label,
        }


@dataclass(frozen=True)
class Planned:
    """A figure to draw. kind: the section of the report; about: claim, experiment, dataset."""

    stem: str
    kind: str
    draw: Callable[[], Captioned]
    about: dict[str, Any]


def of_datasets(study: Study) -> Iterator[Scope]:
    """Yield a scope for each dataset and setting that some experiment has."""
    for dataset in study.datasets:
        for setting in study.settings:
            if any(setting in study.settings_of(name) for name in study.experiments):
                yield Scope(study, dataset, setting)


def of_experiments(study: Study) -> Iterator[Scope]:
    """Yield a scope for each dataset, experiment and setting; a knob needs two levels."""
    for dataset in study.datasets:
        for name, experiment in study.experiments.items():
            if experiment.knob and len(experiment.levels[dataset]) == 1:
                continue
            for setting in study.settings_of(name):
                yield Scope(study, dataset, setting, experiment)


def cell_labels(cells: Sequence[tuple[str, str]]) -> list[str]:
    r"""Return a label per pair of dataset and setting: the parts that differ, one per line.

    >>> cell_labels([("wbc", "steps 6, model small"), ("wbc", "steps 24, model small")])
    ['steps 6\nmodel small', 'steps 24\nmodel small']
    """
    several = len({dataset for dataset, _ in cells}) > 1
    return [
        "\n".join([dataset] * several + [part for part in setting.split(", ") if part])
        for dataset, setting in cells
    ]


def stress_words(study: Study, dataset: str, stress: Mapping[str, Any]) -> list[str]:
    """Return the knobs of a stress with their values."""
    plain = "unchanged" if study.datasets[dataset].controlled else "windows around objects"
    return [f"{knob.replace('_', ' ')} {value}" for knob, value in stress.items()] or [plain]


def shared_level(scope: Scope) -> tuple[Scope, Level]:
    """Return the level whose cell most experiments share, with the scope of its experiment."""
    study, cells = scope.study, {}
    for name, experiment in study.experiments.items():
        if scope.setting in study.settings_of(name):
            for level in experiment.levels[scope.dataset]:
                cell = study.at(level, scope.setting).name, level.stress.name
                cells.setdefault(cell, []).append((experiment, level))
    shared = max(cells.values(), key=lambda same: (len(same), not same[0][1].stress))
    experiment, level = shared[0]
    return Scope(study, scope.dataset, scope.setting, experiment), level
