"""The images of a dataset with the masks that a study uses, at full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.data import prepared
from experiments.data.prepared import Prepared
from experiments.datasets import DATASETS
from experiments.errors import ConfigError
from experiments.layout import (
    CLASS,
    IGNORED,
    IMAGES,
    INSTANCES,
    LABELS,
    MASKS,
    few,
    layer_of,
    masks_of,
)

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

KEPT = 2**30
"""Bytes of decoded images and masks that a source keeps, at most."""

Masks = dict[str, np.ndarray]
"""Folder -> mask of 0 and 1, or ids: MASKS, IGNORED, INSTANCES, LABELS, `layer_of` each class that
may overlap others, other observers' masks."""


class Source:
    """The images of a dataset with their masks, decoded on demand.

    stems: split -> stems, ordered by content hash: file names often encode patient, video or
    stain. groups: stem -> source, see `Prepared`. Grey images have three channels if the dataset
    has images in colour too.
    """

    def __init__(self, folder: Prepared, dataset: Dataset, observers: list[str]) -> None:
        images = folder.layers[IMAGES]
        self._place = folder, dataset, observers
        self.groups = folder.sources
        self.stems = {
            split: sorted(stems, key=lambda stem: (images.hashes[stem], stem))
            for split, stems in folder.split.items()
        }
        stems = {stem for split in folder.split.values() for stem in split}
        self._grey = stems <= {*images.grey}
        self._kept: dict[str, tuple[np.ndarray, Masks]] = {}
        self._latest: tuple[str, tuple[np.ndarray, Masks]] | tuple[None, None] = None, None
        self._room = KEPT

    def read(self, stem: str) -> tuple[np.ndarray, Masks]:
        """Return an image and its masks; the first ones are kept, up to `KEPT`, and the latest.

        Each cell reads the images in the same order, in which a cache of many latest ones would
        never hit.
        """
        if stem in self._kept:
            return self._kept[stem]
        if stem == self._latest[0]:
            return self._latest[1]
        image, masks = _read_sample(*self._place, stem)
        if image.ndim == 2 and not self._grey:
            image = np.repeat(image[..., None], 3, axis=2)
        size = image.nbytes + sum(mask.nbytes for mask in masks.values())
        if size <= self._room:
            self._kept[stem] = image, masks
            self._room -= size
        else:
            self._latest = stem, (image, masks)
        return image, masks


def read_source(study: Study, dataset: Dataset) -> Source | None:
    """Open the images of a dataset and the masks that the study uses; None for generated ones.

    Every file is decoded once and checked. ValueError names the first one that does not fit;
    ConfigError names class ids that no image has.

    MASKS: the foreground. IGNORED: ignored pixels. INSTANCES: object ids. LABELS: class index,
    from 1, if there are several classes; if they may overlap, a mask of each instead. Other
    observers' masks have the names of their folders.
    """
    if dataset.controlled:
        return None
    observers = study.observers(dataset.name)
    folder = prepared.read(
        dataset.folder,
        dataset.masks,
        dataset.parts(observers),
        published=dataset.source in DATASETS,
    )
    _check_ids(folder, dataset)
    return Source(folder, dataset, observers)


def _check_ids(folder: Prepared, dataset: Dataset) -> None:
    """Raise ConfigError for class ids in the settings that no image has."""
    if LABELS not in folder.layers:
        return
    present = folder.layers[LABELS].present
    used = [("classes", one) for _, ids in dataset.classes if isinstance(ids, tuple) for one in ids]
    used += [("ignore", dataset.ignore)] if dataset.ignore is not None else []
    if problems := [
        f"datasets.{dataset.name}.{setting}: no image has the class id {one}; allowed: "
        f"{few(map(str, sorted(present)), 20)}"
        for setting, one in used
        if one not in present
    ]:
        raise ConfigError(problems)


def _read_sample(
    folder: Prepared, dataset: Dataset, observers: list[str], stem: str
) -> tuple[np.ndarray, Masks]:
    masks = {masks_of(name): folder.mask(stem, masks_of(name)) for name in observers}
    if dataset.multilabel:
        regions = {layer_of(name): _region(folder, ids, stem) for name, ids in dataset.classes}
        masks = with_union(masks | {name: r.astype(np.uint8) for name, r in regions.items()})
    elif dataset.classes:
        labels = _class_indices(folder, dataset, stem)
        masks[MASKS] = (labels > 0).astype(np.uint8)
        if len(dataset.classes) > 1:
            masks[LABELS] = labels
    else:
        masks[MASKS] = folder.mask(stem)
    if dataset.has_instances:
        masks[INSTANCES] = folder.instances(stem) * masks[MASKS]
    if dataset.ignore is not None:
        ignored = folder.labels(stem) == dataset.ignore
        masks = {name: mask * ~ignored for name, mask in masks.items()}
        masks[IGNORED] = ignored.astype(np.uint8)
    return folder.image(stem), masks


def _class_indices(folder: Prepared, dataset: Dataset, stem: str) -> np.ndarray:
    """Return the class index of each pixel, from 1; later classes overwrite earlier ones."""
    labels = np.uint16(0)
    for index, (_, ids) in enumerate(dataset.classes, 1):
        labels = np.where(_region(folder, ids, stem), np.uint16(index), labels)
    return labels


def _region(folder: Prepared, ids: tuple[int, ...] | str, stem: str) -> np.ndarray:
    """Return the pixels of a class, by its target or its class ids."""
    if isinstance(ids, str):
        return folder.mask(stem, masks_of(ids)) > 0
    return np.isin(folder.labels(stem), ids)


def with_union(masks: Masks) -> Masks:
    """Return masks with MASKS as the union of the classes that may overlap, if there are any.

    >>> a, b = np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0])
    >>> with_union({"class_a": a, "class_b": b})["masks"].tolist()
    [1, 1, 1, 0]
    """
    layers = [mask for name, mask in masks.items() if name.startswith(CLASS)]
    return masks | {MASKS: np.maximum.reduce(layers)} if layers else masks
