"""Checks of a configuration: each refusal names the setting, the value and what is allowed.

Standard library only: the Snakefile reads this before any job starts.
"""

from losses import nearest


class ConfigError(ValueError):
    """A setting that cannot be meant, said before any work starts."""


def refuse(place, value, allowed):
    raise ConfigError(f"{place}: {value!r} is not allowed; allowed: {allowed}")


def mapping(value, place, allowed=None, required=()):
    """A dict, its keys among `allowed` where given, with all of `required`."""
    if not isinstance(value, dict):
        refuse(place, value, "a mapping of names to settings")
    for key in value:
        if allowed is not None and key not in allowed:
            where = f"{place}: " if place else ""
            raise ConfigError(
                f"{where}unknown setting {key!r}{nearest(key, allowed)}; "
                f"allowed: {', '.join(sorted(allowed))}"
            )
    for key in required:
        if key not in value:
            raise ConfigError(f"{place or 'configuration'}: the setting {key!r} is missing")
    return value


def number(value, place, low, high=None, *, whole=False, above=False, below=False):
    """An int or float from low to high; `above` and `below` leave the ends out."""
    kind = "a whole number" if whole else "a number"
    text = f"{kind} {'above' if above else 'of at least'} {low}"
    if high is not None:
        text += f" and {'below' if below else 'at most'} {high}"
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if (
        not right_type
        or value != value
        or value < low
        or (above and value == low)
        or (high is not None and (value > high or (below and value == high)))
    ):
        refuse(place, value, text)
    return value


def choice(value, place, allowed):
    if value not in allowed:
        raise ConfigError(
            f"{place}: {value!r} is not allowed{nearest(value, allowed)}; "
            f"allowed: {', '.join(map(str, allowed))}"
        )
    return value


def text(value, place):
    if not isinstance(value, str) or not value:
        refuse(place, value, "a text")
    return value


def name(value, place):
    """A name that can stand in a path: letters, digits, '_' and '-'."""
    if not isinstance(value, str) or not value.replace("_", "").replace("-", "").isalnum():
        refuse(place, value, "a name of letters, digits, '_' and '-'")
    return value


def unique(values, place):
    """A list of at least one value, none of them twice."""
    if not isinstance(values, list) or not values:
        refuse(place, values, "a list of at least one value")
    for value in values:
        if values.count(value) > 1:
            raise ConfigError(f"{place}: {value!r} stands there more than once")
    return values
