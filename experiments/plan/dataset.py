"""Datasets of a study: where the images are, and which masks are the target."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.datasets import DATASETS
from experiments.errors import ConfigError
from experiments.layout import (
    DESCRIPTION,
    FETCHED,
    FOREGROUND,
    IMAGES,
    INSTANCES,
    LABELS,
    MASKS,
    check_folder,
    masks_of,
)
from experiments.plan.config import DatasetSettings
from experiments.plan.seeds import fingerprint
from losses import nearest

CONTROLLED = "controlled"
"""Source of the images that the suite makes."""


@dataclass(frozen=True)
class Dataset:
    """A dataset of a study: images made by the suite, or a prepared folder.

    target: the foreground is this target's masks. classes: the training target instead, pairs of
    a class name with its class ids in ``labels/`` or with a target; later classes overwrite
    earlier ones, unless `multilabel` lets them overlap. ignore: class id whose pixels are ignored
    in training and in scores. fetched: whether `folder` is filled by a download.
    """

    name: str
    source: str
    folder: str | None = None
    target: str | None = None
    classes: tuple[tuple[str, tuple[int, ...] | str], ...] = ()
    multilabel: bool = False
    ignore: int | None = None
    train: int = 96
    val: int = 32
    test: int = 64
    fetched: bool = False

    @property
    def controlled(self) -> bool:
        """True if the suite generates the images."""
        return self.source == CONTROLLED

    @property
    def description(self) -> dict[str, Any]:
        """The settings as plain data, without the place of the files."""
        settings = asdict(self) | {"classes": [list(pair) for pair in self.classes]}
        return {k: v for k, v in settings.items() if k not in ("name", "folder", "fetched")}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the foreground classes."""
        return tuple(name for name, _ in self.classes) or (FOREGROUND,)

    @property
    def masks(self) -> str:
        """The folder of the first class's masks."""
        return self.layers[0]

    @property
    def layers(self) -> list[str]:
        """The folders of all training targets."""
        targets = [ids for _, ids in self.classes] or [self.target]
        return [LABELS if isinstance(ids, tuple) else masks_of(ids) for ids in targets]

    @property
    def has_instances(self) -> bool:
        """Whether object ids separate touching objects; ids belong to the masks of no target."""
        folder = Path(self.folder or "", INSTANCES)
        return not (self.controlled or self.classes or self.masks != MASKS) and folder.is_dir()

    @property
    def on_disk(self) -> bool:
        """True if the images are on disk."""
        return not self.fetched or os.path.exists(f"{self.folder}/{DESCRIPTION}")

    def check_target(self, target: str | None, setting: str) -> None:
        """Raise ConfigError if the dataset is known to lack the target."""
        if self.controlled:
            raise ConfigError(
                f"{setting}: {target!r} is not allowed; allowed: nothing, for controlled images"
            )
        if self.on_disk:
            check_folder(Path(self.folder), masks_of(target), setting)
        elif target and target != MASKS and self.source in DATASETS:
            allowed = DATASETS[self.source]
            if target not in allowed:
                raise ConfigError(
                    f"{setting}: {target!r} is not allowed{nearest(target, allowed)}; "
                    f"allowed: {', '.join(allowed) or 'no target'}"
                )

    def parts(self, observers: list[str]) -> list[str]:
        """Return the folders of masks and ids that stressed images are made from.

        observers: targets whose masks are training labels in some stress.
        """
        parts = {*self.layers, *map(masks_of, observers)}
        parts |= {LABELS} if self.ignore is not None else set()
        parts |= {INSTANCES} if self.has_instances else set()
        return sorted(parts)

    def input_files(self, observers: list[str]) -> list[Path]:
        """Return the files that stressed images are made from, as far as they are on disk.

        observers: targets whose masks are training labels in some stress.
        """
        if self.controlled or not self.on_disk:
            return []
        root, folders = Path(self.folder), [IMAGES, *self.parts(observers)]
        files = [p for part in folders for p in (root / part).rglob("*") if p.is_file()]
        return sorted([*files, *filter(Path.is_file, [root / DESCRIPTION])])

    def signature(self, observers: list[str]) -> str:
        """Return a fingerprint of the input files: names, sizes and times of change.

        Of a fetched dataset only files that changed after the download are part of it, so that
        it is the same before and after the download.
        """
        if not self.on_disk:
            return fingerprint([])
        fetched = fetched_state(Path(self.folder)) if self.fetched else {}
        paths = self.input_files(observers)
        files = {str(path.relative_to(self.folder)): stat(path) for path in paths}
        folders = {name.partition("/")[0] for name in files}
        names = files.keys() | {n for n in fetched if n.partition("/")[0] in folders}
        return fingerprint(
            [(n, files.get(n)) for n in sorted(names) if fetched.get(n) != files.get(n)]
        )


def stat(path: Path) -> list[int]:
    """Return the size, mtime and ctime (ns) of a file.

    No program can set a file's ctime, so a change is seen even if the mtime stays.
    """
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def stats(folder: Path) -> dict[str, list[int]]:
    """Return name -> `stat` of every file of a folder; hidden files are left out."""
    return {
        str(path.relative_to(folder)): stat(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def fetched_state(folder: Path) -> dict[str, list[int]]:
    """Return the `stats` of a fetched folder right after its download; empty if unknown."""
    try:
        return json.loads((folder / FETCHED).read_text())
    except (OSError, ValueError):
        return {}


def resolve(name: str, settings: DatasetSettings | None, mirror: str | None) -> Dataset:
    """Return a dataset with its folder; ConfigError if it is not available or does not fit."""
    setting = f"datasets.{name}"
    settings = settings or DatasetSettings()
    values = settings.model_dump() | {"source": settings.source or name}
    dataset = Dataset(name, **values | {"classes": tuple(settings.classes.items())})
    if dataset.controlled:
        for key in ("folder", "target", "classes", "multilabel", "ignore"):
            if values[key] not in (None, {}, False):
                raise ConfigError(
                    f"{setting}.{key}: {values[key]!r} is not allowed; allowed: nothing, for "
                    "controlled images"
                )
        return dataset
    if problems := list(_class_problems(dataset, setting)):
        raise ConfigError(problems)
    if dataset.folder:
        dataset = replace(dataset, folder=os.path.expanduser(dataset.folder))
    else:
        folder, fetched = locate(dataset.source, mirror, setting)
        dataset = replace(dataset, folder=folder, fetched=fetched)
    _check(dataset, setting)
    return dataset


def _class_problems(dataset: Dataset, setting: str) -> Iterator[str]:
    """Yield the problems of the classes among themselves."""
    if dataset.multilabel and len(dataset.classes) < 2:
        yield (
            f"{setting}.multilabel: True is not allowed; allowed: false, for fewer than two classes"
        )
    taken: set[int | str] = set()
    for name, ids in dataset.classes if not dataset.multilabel else ():
        own = {ids} if isinstance(ids, str) else set(ids)
        if shared := sorted(taken & own):
            yield (
                f"{setting}.classes.{name}: {shared} is not allowed; allowed: ids of no other "
                "class, or 'multilabel: true'"
            )
        taken |= own


def _check(dataset: Dataset, setting: str) -> None:
    """Raise ConfigError if a folder lacks the masks or labels that the settings name."""
    if not dataset.classes:
        dataset.check_target(dataset.target, f"{setting}.target" if dataset.target else setting)
    elif dataset.target:
        raise ConfigError(
            f"{setting}.target: {dataset.target!r} is not allowed; allowed: nothing next to "
            "'classes'"
        )
    ids_of = [(f"{setting}.ignore", LABELS)] if dataset.ignore is not None else []
    ids_of += [(setting, INSTANCES)] if dataset.has_instances else []
    for _, ids in dataset.classes:
        if isinstance(ids, str):
            dataset.check_target(ids, f"{setting}.classes")
        else:
            ids_of.append((f"{setting}.classes", LABELS))
    if dataset.on_disk:
        for one, part in ids_of:
            check_folder(Path(dataset.folder), part, one)


def is_url(mirror: str | None) -> bool:
    """Return whether a mirror is an address and not a folder."""
    return bool(mirror) and "://" in mirror


def locate(source: str, mirror: str | None, setting: str) -> tuple[str, bool]:
    """Return the folder of a dataset that is given by its name, and whether it is fetched there.

    A mirror is tried first: a folder that holds the dataset, or an address. Otherwise a public
    dataset of the suite is fetched from its own address.
    """
    fetched = f"data/{source}", True
    if is_url(mirror):
        return fetched
    present = []
    if mirror is not None:
        mirror = os.path.expanduser(mirror)
        if not Path(mirror).is_dir():
            raise ConfigError(
                f"mirror: {mirror!r} is not allowed; allowed: an existing folder of prepared "
                "datasets, or an address"
            )
        present = sorted(p.name for p in Path(mirror).iterdir() if p.is_dir())
    if source in present:
        return str(Path(mirror, source)), False
    if source in DATASETS:
        return fetched
    holds = f"the mirror {mirror!r} holds: {', '.join(present) or 'nothing'}"
    raise ConfigError(
        f"{setting}: there is no dataset {source!r}{nearest(source, [*present, *DATASETS])}; "
        f"allowed: 'folder: PATH' in the configuration, or a public dataset "
        f"({', '.join(DATASETS)}), or "
        + ("a dataset of a mirror (--config mirror=FOLDER_OR_URL)" if mirror is None else holds)
    )
