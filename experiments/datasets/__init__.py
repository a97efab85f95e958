"""Public datasets: a module each. Standard library only, so that the plan can name them.

A module has `ABOUT`, what the dataset is and where it comes from, and `samples(folder)`, which
yields its images and masks (`experiments.datasets.reading.Sample`) from the unpacked files.
"""

import importlib
from dataclasses import dataclass

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
"""Module -> its targets beside ``masks``."""


@dataclass(frozen=True)
class File:
    """An archive: its name on disk, its address, its checksum.

    address: None where it cannot be had without asking (`About.ask` says how).
    checksum: ``algorithm:digest``; None where none is published that lasts.
    """

    name: str
    address: str | None
    checksum: str | None = None


@dataclass(frozen=True)
class About:
    """What a dataset is.

    masks: meaning of each target, ``masks`` first. ignore: class id in ``labels/`` that is no
    class. ask: what to do before the files can be had, where a download does not do.
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


def github(repository, commit):
    """The archive of a commit. Its bytes are not promised to last: there is no checksum."""
    name = f"{repository.split('/')[1]}-{commit}.zip"
    return File(name, f"https://github.com/{repository}/archive/{commit}.zip")


def load(name):
    """The module of a dataset."""
    if name not in DATASETS:
        raise ValueError(
            f"dataset {name!r} is not known{nearest(name, DATASETS)}; "
            f"allowed: {', '.join(DATASETS)}"
        )
    return importlib.import_module(f"{__name__}.{name}")
