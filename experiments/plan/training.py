"""Grids of training settings: the axes of a study."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.errors import ConfigError
from experiments.plan.config import Settings, Training, is_axis
from experiments.plan.labels import label_of

MODEL = "model"
"""The axis of the settings with a name, `models`."""


@dataclass(frozen=True)
class Setting:
    """A point of the training grid: one value for each field.

    labels: axis -> text of its value, with the fields that experiments set. label: text of the
    grid's axes in tables and captions; empty for a study without axes. name: the axes that differ
    from the study's reference setting, as a part of a path; empty for the reference itself.
    """

    training: Training = field(hash=False)
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    label: str = ""
    name: str = ""


def words(labels: Mapping[str, str]) -> str:
    """Return the text of axes and their labels.

    >>> words({"batch_size": "4", "steps": "160"})
    'batch size 4, steps 160'
    """
    return ", ".join(f"{axis.replace('_', ' ')} {label}" for axis, label in labels.items())


def rates(grid: Settings) -> list[float]:
    """Return the learning rates of a grid; the first is the fixed one."""
    values = grid.learning_rate
    return [float(v) for v in (values if is_axis("learning_rate", values) else [values])]


def points(grid: Settings, models: dict[str, Settings]) -> list[tuple[dict[str, str], Training]]:
    """Return the labels and values of every combination; the first is the reference.

    models: names with the fields that each sets. ConfigError if a field is both an axis and set
    by a model, if two values of an axis have the same label, or if two models are the same.
    """
    fields = {f: getattr(grid, f) for f in Training.model_fields if f != "learning_rate"}
    axes = {f: v for f, v in fields.items() if is_axis(f, v) and len(v) > 1}
    single = {f: v[0] if is_axis(f, v) else v for f, v in fields.items() if f not in axes}
    problems = []
    for name, part in models.items():
        problems += [
            f"models.{name}.{f}: {label_of(getattr(part, f))!r} is not allowed; allowed: fields "
            f"that are no list in 'training'"
            for f in axes
            if f in part.model_fields_set
        ]
    parts = [{f: getattr(part, f) for f in part.model_fields_set} for part in models.values()]
    problems += [
        f"models.{name}: {part} is not allowed; allowed: settings of no other model"
        for i, (name, part) in enumerate(zip(models, parts, strict=True))
        if single | part in [single | other for other in parts[:i]]
    ]
    for f, values in axes.items():
        labels = [label_of(v) for v in values]
        if len(set(labels)) < len(labels):
            problems.append(
                f"training.{f}: {labels} is not allowed; allowed: values with different labels "
                "(give them names under 'models')"
            )
    if problems:
        raise ConfigError(problems)
    fixed = {"learning_rate": rates(grid)[0]}
    combinations = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        labels = {f: label_of(v) for f, v in chosen.items()}
        for name, part in (models or {"": Settings()}).items():
            own = {f: getattr(part, f) for f in part.model_fields_set}
            training = Training.model_construct(**fixed | single | chosen | own)
            combinations.append((labels | ({MODEL: name} if models else {}), training))
    return combinations
