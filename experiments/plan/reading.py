"""Read a configuration: every problem at once, each with its setting, value and allowed values."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from experiments.errors import ConfigError
from experiments.plan.config import (
    REQUIRED,
    Config,
    DatasetSettings,
    ExperimentSettings,
    LevelSettings,
    Optimizer,
    Schedule,
    Timeout,
    Training,
    TrainingPart,
)
from experiments.plan.looks import Looks
from losses import nearest

ALLOWED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "string_too_short": "a text",
    "dict_type": "a mapping of names to settings",
    "model_type": "a mapping of names to settings",
    "model_attributes_type": "a mapping of names to settings",
    "list_type": "a list",
    "too_short": "at least one entry",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
}
"""Kind of a pydantic error -> the allowed values."""


def _problem(error: Mapping[str, Any], values: Any) -> Iterator[str]:
    """Yield an error of pydantic as lines with the setting, its value and the allowed values.

    values: those that pydantic has read.
    """
    keys = _keys(error["loc"], values)
    setting = ".".join(keys)
    value, kind, context = error["input"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        *parents, key = keys
        parent, allowed = ".".join(parents), sorted(_fields_at(parents))
        yield (
            f"{parent}{': ' * bool(parent)}unknown setting {key!r}{nearest(key, allowed)}; "
            f"allowed: {', '.join(allowed)}"
        )
    elif kind == "value_error":
        problem = context["error"]
        if isinstance(problem, ConfigError):
            yield from (f"{setting}{line}" for line in problem.problems)
        else:
            yield f"{setting}: {problem}"
    elif kind == "literal_error":
        allowed = re.findall("'([^']*)'", context["expected"])
        yield (
            f"{setting}: {value!r} is not allowed{nearest(value, allowed)}; "
            f"allowed: {', '.join(allowed)}"
        )
    elif kind == "missing":
        yield f"{setting}: the setting {error['loc'][-1]!r} is missing"
    else:
        allowed = ALLOWED.get(kind, error["msg"]).format(**context)
        yield f"{setting}: {value!r} is not allowed; allowed: {allowed}"


def _keys(location: Iterable[str | int], values: Any) -> list[str]:
    """Return the parts of a pydantic location that are keys of the values.

    >>> _keys(("datasets", "one", "[key]"), {"datasets": {"one": {}}})
    ['datasets', 'one']
    """
    keys = []
    for part in location:
        if isinstance(values, Mapping) and part in values:
            keys.append(part)
            values = values[part]
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
    return keys


def _unquoted(values: Any, setting: str = "") -> Iterator[str]:
    """Yield the names in a configuration that YAML does not read as text, such as ``2018:``."""
    if isinstance(values, list):
        for value in values:
            yield from _unquoted(value, setting)
    if isinstance(values, Mapping):
        for key, value in values.items():
            if isinstance(key, str):
                yield from _unquoted(value, f"{setting}.{key}".strip("."))
            else:
                yield (
                    f"{setting or 'configuration'}: the name {key!r} is not allowed; allowed: "
                    "a text (YAML reads names such as 2018, 007, null and yes as text only if "
                    "they have quotes)"
                )


def _fields_at(parents: list[str]) -> Iterable[str]:
    """Return the names of the settings of a group of the configuration."""
    match parents:
        case []:
            model = Config
        case ["datasets", _]:
            model = DatasetSettings
        case ["experiments", _]:
            model = ExperimentSettings
        case ["experiments", *_]:
            model = LevelSettings
        case ["seeds"]:
            model = Looks
        case ["timeout"]:
            model = Timeout
        case ["models", _]:
            model = TrainingPart
        case [*_, "optimizer"]:
            model = Optimizer
        case [*_, "schedule"]:
            model = Schedule
        case _:
            model = Training
    return model.model_fields


def read(config: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return the settings that are valid (the others keep their default) and all problems.

    Of the datasets and experiments, the valid entries are returned.
    """
    missing = [key for key in REQUIRED if config.get(key) is None]
    problems = [f"configuration: the setting {key!r} is missing" for key in missing]
    values = {key: value for key, value in config.items() if key not in missing}
    for key in list(values):
        if unquoted := list(_unquoted({key: values[key]})):
            problems += unquoted
            del values[key]
    try:
        return Config.model_validate(values), problems
    except ValidationError as error:
        errors = error.errors()
    problems += (problem for one in errors for problem in _problem(one, values))
    for one in errors:
        section, *entry = one["loc"]
        if section in ("datasets", "experiments") and entry and len(values.get(section, {})) > 1:
            values[section] = {k: v for k, v in values[section].items() if str(k) != entry[0]}
        else:
            values.pop(section, None)
    return Config.model_validate(values), problems


def level(values: Mapping[str, Any], setting: str) -> LevelSettings:
    """Return the checked settings of one level; ConfigError names them `setting`."""
    values = dict(values)
    try:
        return LevelSettings.model_validate(values)
    except ValidationError as error:
        lines = [line for one in error.errors() for line in _problem(one, values)]
        raise ConfigError(f"{setting}: {line.partition(': ')[2]}" for line in lines) from None


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict = {}
        for part, _ in node.value:
            key, line = self.construct_object(part, deep=True), part.start_mark.line + 1
            if key in seen:
                raise ConfigError(
                    f"{self.name}: duplicate key {key!r} at lines {seen[key]} and {line}; "
                    "allowed: each key once"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def refuse_duplicates(path: str | Path) -> None:
    """Raise ConfigError if a mapping of a YAML file has a key twice."""
    with open(path) as file:
        yaml.load(file, _Loader)
