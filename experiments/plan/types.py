"""Types of settings: numbers within bounds, names and labels."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WrapValidator

from experiments.plan.values import to_flag, to_label, to_name, to_number, to_whole


def number(**bounds: float) -> Any:
    """Return the type of numbers within bounds (ge, gt, le, lt); whole numbers stay whole."""

    def check(value: Any, within: Callable[[Any], float]) -> int | float:
        value = to_number(value)
        if isinstance(value, bool):
            raise ValueError(f"{value!r} is not allowed; allowed: a number")
        within(value)
        return int(value) if value == int(value) and abs(value) < 2**53 else value

    return Annotated[float, Field(allow_inf_nan=False, **bounds), WrapValidator(check)]


def whole(**bounds: int) -> Any:
    """Return the type of whole numbers within bounds (ge, le, multiple_of)."""
    return Annotated[int, Field(**bounds), BeforeValidator(to_whole)]


Name = Annotated[str, BeforeValidator(to_name)]
Label = Annotated[str, BeforeValidator(to_label)]
Text = Annotated[str, Field(min_length=1)]
Count = whole(ge=1)
Flag = Annotated[bool, BeforeValidator(to_flag)]
