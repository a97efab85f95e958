"""Loss specifications of a configuration, checked without importing a loss."""

from collections.abc import Iterator
from typing import Any

from experiments.errors import ConfigError
from experiments.plan.values import numbers, to_name
from losses import LOSSES
from losses.building import IMPORT_PATH, check_path, check_use, nearest, term


def loss_specs(value: Any) -> dict[str, dict[str, Any]]:
    """Check the losses: name -> options, `use` or `sum`; unknown names are refused."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{value!r} is not allowed; allowed: at least one entry, name: options")
    problems: list[str] = []
    specs = {}
    for name, spec in value.items():
        try:
            to_name(name)
            spec = {} if spec is None else numbers(spec)
        except ValueError as error:
            problems.append(f".{name}: {error}")
            continue
        if isinstance(spec, dict):
            specs[name] = spec if "sum" in spec else {"use": name, **spec}
        problems += (f".{name}{problem}" for problem in _problems(spec, name))
    if problems:
        raise ConfigError(problems)
    return specs


def missing_references(names: list[str], specs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the problems of reference losses that are not among the losses."""
    for name in names:
        if name not in specs:
            yield (
                f"reference: {name!r} is not among the losses{nearest(name, specs)}; allowed: "
                f"{', '.join(specs)}"
            )


def _problems(spec: Any, name: str) -> Iterator[str]:
    """Yield the problems of a specification, each with its setting below the loss."""
    if not isinstance(spec, dict):
        yield f": {spec!r} is not allowed; allowed: a mapping of options"
    elif "sum" in spec:
        yield from _sum_problems(spec)
        if name in LOSSES:
            yield f".sum: {_taken(name)}"
    elif name in LOSSES and spec.get("use", name) != name:
        yield f".use: {spec['use']!r} is not allowed; {_taken(name)}"
    else:
        try:
            check_use(spec.get("use", name))
        except ValueError as error:
            yield f": {error}"
    for path in sorted(_paths(spec)):
        try:
            check_path(path)
        except ValueError as error:
            yield f": {error}"


def _taken(name: str) -> str:
    """Return the reason why another loss cannot have the name of one of the suite.

    The label, the colour, the theory and the claims of a loss belong to its name.
    """
    return f"allowed: {name!r}, or another name for this loss, as {name!r} is a loss of the suite"


def _sum_problems(spec: dict) -> Iterator[str]:
    terms = spec["sum"]
    if more := spec.keys() - {"sum", "multilabel"}:
        yield f": {sorted(map(str, more))} is not allowed; allowed: 'sum' and 'multilabel'"
    if not isinstance(terms, dict) or not terms:
        yield f".sum: {terms!r} is not allowed; allowed: at least one entry, loss: weight"
        return
    for part, value in terms.items():
        weight, spec = term(part, value)
        if "sum" in spec:
            yield from (f".sum.{part}{problem}" for problem in _sum_problems(spec))
        else:
            try:
                check_use(spec["use"])
            except ValueError as error:
                yield f".sum: {error}"
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
            yield f".sum.{part}: {weight!r} is not allowed; allowed: at least 0"


def custom_modules(spec: Any) -> set[str]:
    """Return the modules of the import paths anywhere in a specification, without importing any.

    >>> sorted(custom_modules({"use": "blob", "criterion": {"use": "mine:Loss"}}))
    ['mine']
    """
    return {path.partition(":")[0] for path in _paths(spec)}


def _paths(spec: Any) -> set[str]:
    """Return the import paths anywhere in a specification."""
    if isinstance(spec, str):
        return {spec} if IMPORT_PATH.fullmatch(spec) else set()
    if isinstance(spec, dict):
        spec = [*spec, *spec.values()]
    return set().union(*map(_paths, spec)) if isinstance(spec, list) else set()
