"""Loss specifications of a configuration, checked without importing a loss."""

import importlib.util
from collections.abc import Iterator
from typing import Any

from experiments.errors import ConfigError
from experiments.plan.values import numbers, to_name
from losses import LOSSES, nearest
from losses.building import IMPORT_PATH, term


def loss_specs(value: Any) -> dict[str, dict[str, Any]]:
    """Check the losses: name -> options, `use` or `sum`; unknown names are refused."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{value!r} is not allowed; allowed: at least one entry, name: options")
    problems: list[str] = []
    specs = {}
    for name, spec in value.items():
        setting = f".{name}"
        try:
            to_name(name)
        except ValueError as error:
            problems.append(f"{setting}: {error}")
        spec = {} if spec is None else numbers(spec)
        if not isinstance(spec, dict):
            problems.append(f"{setting}: {spec!r} is not allowed; allowed: a mapping of options")
        elif "sum" in spec:
            problems += _sum_problems(spec, setting)
            specs[name] = spec
        else:
            use = spec.get("use", name)
            if use not in LOSSES and ":" not in str(use):
                problems.append(
                    f"{setting}: unknown loss {use!r}{nearest(use, LOSSES)}; allowed: "
                    f"{', '.join(LOSSES)}, or 'use: \"package.module:Class\"'"
                )
            specs[name] = {"use": use, **spec}
        problems += [f"{setting}: {problem}" for problem in _missing_modules(spec)]
    if problems:
        raise ConfigError(problems)
    return specs


def _sum_problems(spec: dict, setting: str) -> Iterator[str]:
    terms = spec["sum"]
    if len(spec) > 1:
        yield f"{setting}: {sorted(spec)} is not allowed; allowed: 'sum' alone"
    if not isinstance(terms, dict) or not terms:
        yield f"{setting}.sum: {terms!r} is not allowed; allowed: at least one entry, loss: weight"
        return
    for part, value in terms.items():
        weight, spec = term(part, value)
        use = spec.get("use")
        if use is not None and use not in LOSSES and not IMPORT_PATH.fullmatch(str(use)):
            yield (
                f"{setting}.sum: {use!r} is not allowed{nearest(use, LOSSES)}; allowed: "
                f"{', '.join(LOSSES)}, or a name with 'use: \"package.module:Class\"'"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
            yield f"{setting}.sum.{part}: {weight!r} is not allowed; allowed: at least 0"


def custom_modules(spec: Any) -> set[str]:
    """Return the modules of the import paths anywhere in a specification, without importing any.

    >>> sorted(custom_modules({"use": "blob", "criterion": {"use": "mine:Loss"}}))
    ['mine']
    """
    if isinstance(spec, str):
        return {spec.partition(":")[0]} if IMPORT_PATH.fullmatch(spec) else set()
    if isinstance(spec, dict):
        spec = [*spec, *spec.values()]
    return set().union(*map(custom_modules, spec)) if isinstance(spec, list) else set()


def _missing_modules(spec: Any) -> Iterator[str]:
    for module in sorted(custom_modules(spec)):
        top = module.partition(".")[0]
        if importlib.util.find_spec(top) is None:
            yield (
                f"there is no module {top!r} on the Python path; allowed: a module whose file is "
                "next to the Snakefile or in a folder on PYTHONPATH"
            )
