"""Checks of a configuration: each refusal names the setting, the value and what is allowed.

Standard library only: the Snakefile reads this before any job starts.
"""

import importlib.util
import os
from pathlib import Path

from experiments.datasets import DATASETS
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


def local_source(use):
    """The file of a loss given as ``package.module:Class``, unless it is an installed one.

    ConfigError where the top-level module cannot be found; nothing is imported.
    """
    module = use.partition(":")[0]
    top, *below = module.split(".")
    if ":" not in use or top == "losses":
        return None
    found = importlib.util.find_spec(top)
    if found is None:
        raise ConfigError(
            f"use: {use!r}: there is no module {top!r} on the Python path; put its file beside "
            "the Snakefile, or its folder on PYTHONPATH"
        )
    if not found.origin or "site-packages" in found.origin:
        return None
    if not below:
        return os.path.relpath(found.origin)
    path = Path(found.submodule_search_locations[0], *below)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return os.path.relpath(path) if path.exists() else None


def sources(*packages):
    """The Python files of packages: what made from them is made again when they change."""
    return sorted(str(path) for package in packages for path in Path(package).glob("*.py"))


def is_url(mirror):
    return bool(mirror) and "://" in mirror


def located(source, mirror, place):
    """Where a dataset given by its name lies, and whether it is to be fetched there.

    A mirror comes first: a folder that holds it, or an address. Without one, or where the folder
    lacks it, a public dataset of the suite is fetched from its own address.
    """
    fetched = f"data/{source}", True
    if is_url(mirror):
        return fetched
    held = []
    if mirror is not None:
        if not Path(mirror).is_dir():
            refuse("mirror", mirror, "an existing folder of prepared datasets, or an address")
        held = sorted(p.name for p in Path(mirror).iterdir() if p.is_dir())
    if source in held:
        return str(Path(mirror, source)), False
    if source in DATASETS:
        return fetched
    holds = "" if mirror is None else f"the mirror {mirror!r} holds: {', '.join(held) or 'nothing'}"
    raise ConfigError(
        f"{place}: there is no dataset {source!r}{nearest(source, [*held, *DATASETS])}; allowed: "
        f"'folder: PATH' in the configuration, or a public dataset ({', '.join(DATASETS)}), or "
        f"{holds or 'what a mirror holds (--config mirror=FOLDER_OR_URL)'}"
    )


def prepared_folder(folder, masks, place):
    """Refuse a folder that is not in the prepared layout, naming what is amiss."""
    if not folder.is_dir():
        refuse(f"{place}.folder", str(folder), "an existing folder with images/ and masks/")
    for part in ("images", masks):
        if not (folder / part).is_dir():
            have = sorted(p.name for p in folder.iterdir() if p.is_dir())
            raise ConfigError(
                f"{place}: the folder {str(folder)!r} has no {part}/{nearest(part, have)}; "
                f"it has: {', '.join(have) or 'no folders'}"
            )
    images, labels = ({p.stem for p in (folder / part).glob("*.png")} for part in ("images", masks))
    if not images:
        raise ConfigError(f"{place}: {str(folder / 'images')!r} holds no PNG image")
    for have, lack, what in ((images, labels, masks), (labels, images, "images")):
        missing = sorted(have - lack)
        if missing:
            names = ", ".join(f"{what}/{stem}.png" for stem in missing[:5])
            raise ConfigError(
                f"{place}: {len(missing)} file(s) missing in {str(folder)!r}: {names}"
                f"{', ...' if len(missing) > 5 else ''}; every image needs a mask of equal name"
            )
