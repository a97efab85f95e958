"""The images of a dataset with the masks that a study uses, at full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.data import prepared
from experiments.data.prepared import Prepared, image_hash
from experiments.layout import CLASS, IGNORED, INSTANCES, LABELS, MASKS, layer_of, masks_of

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

Masks = dict[str, np.ndarray]
"""Folder -> mask of 0 and 1, or ids: MASKS, IGNORED, INSTANCES, LABELS, `layer_of` each class that
may overlap others, other observers' masks."""


class Source:
    """All images of a dataset, with their masks.

    stems: split -> stems, ordered by content hash: file names often encode patient, video or
    stain. Grey images have three channels if the dataset has images in colour too.
    """

    def __init__(self, folder: Prepared, dataset: Dataset, observers: list[str]) -> None:
        stems = [stem for split in folder.split.values() for stem in split]
        self._samples = {s: _read_sample(folder, dataset, observers, s) for s in stems}
        hashes = {s: image_hash(image) for s, (image, _) in self._samples.items()}
        self.stems = {
            split: sorted(stems, key=lambda stem: (hashes[stem], stem))
            for split, stems in folder.split.items()
        }
        self._grey = all(image.ndim == 2 for image, _ in self._samples.values())

    def read(self, stem: str) -> tuple[np.ndarray, Masks]:
        """Return an image and its masks."""
        image, masks = self._samples[stem]
        if image.ndim == 2 and not self._grey:
            image = np.repeat(image[..., None], 3, axis=2)
        return image, masks


def read_source(study: Study, dataset: Dataset) -> Source | None:
    """Return all images of a dataset with the masks that the study uses; None for generated ones.

    MASKS: the foreground. IGNORED: ignored pixels. INSTANCES: object ids. LABELS: class index,
    from 1, if there are several classes; if they may overlap, a mask of each instead. Other
    observers' masks have the names of their folders.
    """
    if dataset.controlled:
        return None
    folder = prepared.read(dataset.folder, dataset.masks)
    observers = study.observers(dataset.name)
    return Source(folder, dataset, observers)


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
