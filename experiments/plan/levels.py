"""Experiments of a study: levels, each with a stress and training fields that it sets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.errors import ConfigError
from experiments.plan.config import ExperimentSettings, LevelSettings, Training
from experiments.plan.dataset import Dataset
from experiments.plan.knobs import CONTROLLED_FRACTION, KNOBS, LABEL_KNOBS, NATURAL, Stress
from experiments.plan.labels import label_of
from experiments.plan.reading import level as read_level
from experiments.plan.values import unique

TRAINING = tuple(name for name in Training.model_fields if name != "learning_rate")
"""Training fields that an experiment may set."""


@dataclass(frozen=True)
class Level:
    """A point of an experiment.

    label: its name in tables and figures. value: its position on a numeric axis, or None.
    training: training fields that it sets.
    """

    label: str
    value: float | None
    stress: Stress
    training: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Experiment:
    """Levels of each dataset that differ in one knob, or by name.

    knob: a knob of a stress or a training field; None for levels by name. axis: its axis label
    if the values are numbers. log: whether the axis is logarithmic.
    """

    name: str
    knob: str | None
    levels: dict[str, list[Level]] = field(hash=False)
    axis: str | None = None
    log: bool = False

    @property
    def training_fields(self) -> set[str]:
        """Training fields that some level sets."""
        return {f for levels in self.levels.values() for level in levels for f in level.training}


def resolve(name: str, settings: ExperimentSettings, datasets: dict[str, Dataset]) -> Experiment:
    """Return an experiment; ConfigError lists every level that a dataset cannot have."""
    setting = f"experiments.{name}"
    given = [key for key in ("levels", "knob") if getattr(settings, key) is not None]
    if len(given) != 1:
        raise ConfigError(
            f"{setting}: {', '.join(given) or 'nothing'} is not allowed; allowed: either 'levels' "
            "(label: knobs) or 'knob' with 'values'"
        )
    levels, problems = {}, []
    for dataset in datasets.values():
        try:
            levels[dataset.name] = list(_levels(settings, setting, dataset, datasets))
            problems += _duplicates(levels[dataset.name], setting, dataset.name)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    numeric = all(level.value is not None for each in levels.values() for level in each)
    knob = settings.knob
    if knob is None or not numeric:
        return Experiment(name, knob, levels)
    if knob in KNOBS:
        return Experiment(name, knob, levels, KNOBS[knob].axis, KNOBS[knob].log)
    return Experiment(name, knob, levels, Training.model_fields[knob].title, log=True)


def _levels(
    settings: ExperimentSettings, setting: str, dataset: Dataset, datasets: dict[str, Dataset]
) -> Iterator[Level]:
    """Yield the levels of an experiment on one dataset."""
    if settings.levels is not None:
        for label, level in settings.levels.items():
            yield _level(str(label), None, level, f"{setting}.levels.{label}", dataset)
        return
    values, hold = (
        _own(getattr(settings, part), f"{setting}.{part}", dataset, datasets)
        for part in ("values", "hold")
    )
    setting = f"{setting}.values"
    if not values:
        raise ConfigError(f"{setting}: {values!r} is not allowed; allowed: at least one value")
    try:
        unique(values)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    hold = hold.model_dump(exclude_unset=True) if hold else {}
    for value in values:
        level = read_level(hold | {settings.knob: value}, setting)
        value = getattr(level, settings.knob)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        label = f"{value:g}" if number else label_of(value)
        yield _level(label, value if number else None, level, setting, dataset)


def _own(given: Any, setting: str, dataset: Dataset, datasets: dict[str, Dataset]) -> Any:
    """Return the part of an experiment for a dataset; a dictionary has a part for each dataset."""
    if not isinstance(given, dict):
        return given
    unknown, missing = sorted(set(given) - set(datasets)), sorted(set(datasets) - set(given))
    if unknown or missing:
        problem = f"unknown dataset {unknown}" if unknown else f"{missing[0]!r} is missing"
        raise ConfigError(f"{setting}: {problem}; allowed: {', '.join(datasets)}")
    return given[dataset.name]


def _level(
    label: str, value: float | None, settings: LevelSettings | None, setting: str, dataset: Dataset
) -> Level:
    settings = settings or LevelSettings()
    training = {f: getattr(settings, f) for f in TRAINING if f in settings.model_fields_set}
    return Level(label, value, _stress(settings, setting, dataset), training)


def _duplicates(levels: list[Level], setting: str, dataset: str) -> Iterator[str]:
    cells = [(level.stress, level.training) for level in levels]
    for level, cell in zip(levels, cells, strict=True):
        if cells.count(cell) > 1:
            yield (
                f"{setting}: two levels have the same cell, {level.stress.name!r} of {dataset!r}; "
                "allowed: levels that differ"
            )
            return


def _stress(settings: LevelSettings, setting: str, dataset: Dataset) -> Stress:
    """Return the knobs that differ from the dataset as it is; ConfigError for impossible ones."""
    neutral: dict[str, Any] = {name: knob.neutral for name, knob in KNOBS.items()}
    neutral["observer"] = dataset.target
    if dataset.controlled:
        neutral["fraction"] = CONTROLLED_FRACTION
    values = {
        name: getattr(settings, name)
        for name, knob in KNOBS.items()
        if name in settings.model_fields_set and not (knob.windows_only and dataset.controlled)
    }
    stress = Stress({k: v for k, v in values.items() if v is not None and v != neutral[k]})
    problems = []

    def refuse(knob: str, allowed: str) -> None:
        problems.append(f"{setting}.{knob}: {stress[knob]!r} is not allowed; allowed: {allowed}")

    if "observer" in stress:
        try:
            dataset.check_target(stress["observer"], f"{setting}.observer")
        except ConfigError as error:
            problems += error.problems
    if dataset.controlled and stress.get("fraction") == NATURAL:
        refuse("fraction", "a number, for controlled images")
    if not dataset.controlled and stress.share is not None and "mosaic" not in stress:
        refuse("fraction", "'natural', or a number next to 'mosaic: K', K windows on each side")
    for knob in stress:
        if KNOBS[knob].generated_only and not dataset.controlled:
            refuse(knob, "0 for a dataset's images")
        if knob in LABEL_KNOBS and len(dataset.class_names) > 1:
            refuse(knob, "nothing, for labels of several classes")
    for knob in ("flips_background", "flips_foreground"):
        if knob in stress and "flips" in stress:
            refuse(knob, "0 next to 'flips', which flips both")
    if problems:
        raise ConfigError(problems)
    return stress
