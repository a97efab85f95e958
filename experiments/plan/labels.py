"""Short texts for values of training fields, in tables and in paths."""

import re
from typing import Any

from experiments.plan.config import Optimizer, Schedule
from experiments.plan.seeds import shortened

LONGEST = 48
"""Characters of a label; longer ones end in a fingerprint."""


def label_of(value: Any) -> str:
    """Return a text for a value: letters, digits and ``. + - _`` only, so that it fits a path.

    >>> label_of(1600), label_of(None), label_of(True), label_of("tu-resnet18")
    ('1600', 'none', 'true', 'tu-resnet18')
    >>> label_of(Optimizer(name="SGD", options={"momentum": 0.9}))
    'SGD-momentum-0.9'
    >>> label_of([{"HorizontalFlip": {}}, {"RandomGamma": {"p": 0.5}}])
    'HorizontalFlip+RandomGamma-p-0.5'
    """
    text = re.sub(r"[^A-Za-z0-9.+_-]+", "-", _text(value)).strip("-")
    return shortened(text, LONGEST)


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return str(value).lower()
        case float():
            return _number(value)
        case Optimizer():
            return _text({value.name: value.options})
        case Schedule():
            return (
                f"polynomial-{_number(value.power)}" if value.name == "polynomial" else value.name
            )
        case dict():
            return "-".join(f"{k}-{_text(v)}".rstrip("-") for k, v in value.items())
        case list():
            return "+".join(map(_text, value))
    return str(value)


def _number(value: float) -> str:
    """Return the short text of a number, or all its digits if the short one is another number.

    >>> _number(1e-3), _number(0.0010000001)
    ('0.001', '0.0010000001')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
