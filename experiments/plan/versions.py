"""Versions of the packages that numbers depend on. Standard library only."""

import sys
from functools import cache
from importlib import metadata

TRAINING = ("torch", "segmentation-models-pytorch", "timm", "numpy")
AUGMENTATION = ("albumentations", "albucore", "opencv-python-headless")
"""Matter only to runs that are augmented by a list of transforms."""
EVALUATION = ("numpy", "scipy")
DATA = ("numpy", "scipy", "opencv-python-headless", "pillow")
ANALYSIS = ("numpy", "scipy", "pandas", "matplotlib", "jinja2")
PACKAGES = tuple(dict.fromkeys((*TRAINING, *AUGMENTATION, *EVALUATION, *DATA, *ANALYSIS)))


@cache
def version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(*packages: str) -> dict[str, str | None]:
    """Return the versions of Python and of packages.

    >>> sorted(versions("numpy"))
    ['numpy', 'python']
    """
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


def distributions(modules: set[str]) -> dict[str, str | None]:
    """Return name -> version of the installed packages that modules belong to."""
    if not modules:
        return {}
    tops = {module.partition(".")[0] for module in modules}
    names = {name for top in tops for name in _packages().get(top, ())}
    return {name: version(name) for name in sorted(names)}


@cache
def _packages() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())
