"""Public datasets: one module each. Standard library only, so that a plan can list them.

A module has `ABOUT`, the dataset's description and addresses, and `samples(folder)`, which yields
its images and masks (`experiments.datasets.reading.Sample`) from the unpacked files.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from losses import nearest

DATASETS = {
    "busi": (),
    "camvid": ("car", "pole_sign", "pedestrian_bicyclist"),
    "chase_db1": ("2nd_observer",),
    "crackforest": (),
    "drive": (),
    "dsb2018": (),
    "isic2018": (),
    "kvasir_seg": (),
    "oxford_pet": ("with_border",),
    "sirst_v2": (),
    "vnc_em": ("mitochondria", "synapses"),
    "wbc": ("nucleus",),
}
"""Module -> its further targets, next to ``masks``."""


@dataclass(frozen=True)
class File:
    """An archive: its name on disk, its address and its checksum.

    address: None if it requires registration (see `About.ask`). checksum: ``algorithm:digest``;
    None if no stable checksum exists.
    """

    name: str
    address: str | None
    checksum: str | None = None


@dataclass(frozen=True)
class About:
    """Description of a dataset.

    masks: meaning of each target, ``masks`` first. classes: names of the class ids in
    ``labels/``. ignore: id of pixels without a class. ask: instructions for getting the files, if
    they cannot be downloaded automatically.
    """

    title: str
    homepage: str
    licence: str
    citation: str
    files: tuple[File, ...]
    masks: dict[str, str]
    notes: str = ""
    classes: tuple[str, ...] = ()
    ignore: int | None = None
    ask: str | None = None


def github(repository: str, commit: str) -> File:
    """Return the archive of a commit, without a checksum: GitHub archives are not byte-stable.

    >>> github("owner/name", "0123").name
    'name-0123.zip'
    """
    name = f"{repository.split('/')[1]}-{commit}.zip"
    return File(name, f"https://github.com/{repository}/archive/{commit}.zip")


def load(name: str) -> ModuleType:
    """Return the module of a dataset; ValueError with the nearest name if it is unknown."""
    if name not in DATASETS:
        raise ValueError(
            f"dataset {name!r} is not known{nearest(name, DATASETS)}; "
            f"allowed: {', '.join(DATASETS)}"
        )
    return importlib.import_module(f"{__name__}.{name}")
