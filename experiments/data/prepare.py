"""Step `prepare`: write the stressed folder of each cell of a dataset.

A cell is a dataset under one stress and one seed. Training labels are the stressed ones
(``masks/``); true ones are in ``masks_clean/`` if a knob corrupts labels. Labels of validation
and test images are always true. ``ignored/`` has the ignored pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.data import stress, writing
from experiments.data.scenes import observed, scenes
from experiments.data.source import Masks, Source, read_source
from experiments.errors import ConfigError
from experiments.layout import CLEAN, FOREGROUND, INSTANCES, MASKS, SPLITS
from experiments.plan.knobs import LABEL_KNOBS, NATURAL
from experiments.plan.seeds import stable_seed
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

REACH = 0.25
"""Relative error of the mean foreground fraction that is allowed."""

log = logging.getLogger("dicebench")


def run(study: Study, name: str | None = None) -> None:
    """Write all cells of a dataset, or of every dataset if `name` is None.

    ConfigError if the study has no such dataset.
    """
    if name is not None and name not in study.datasets:
        raise ConfigError(
            f"prepare: unknown dataset {name!r}{nearest(name, study.datasets)}; "
            f"allowed: {', '.join(study.datasets)}"
        )
    for dataset in [study.datasets[name]] if name else study.datasets.values():
        source = read_source(study, dataset)
        for stress_name in study.stresses(dataset.name):
            for seed in study.seeds:
                measured = write_cell(study, dataset, stress_name, seed, source)
            log.info(
                "prepared %s %s: %d seeds, foreground %.4f, label agreement %.3f",
                *(dataset.name, stress_name, len(study.seeds)),
                *(measured["foreground_fraction"]["train"], measured["label_agreement"]),
            )


def write_cell(
    study: Study, dataset: Dataset, stress_name: str, seed: int, source: Source | None = None
) -> dict[str, Any]:
    """Write the stressed folder of one cell and return its measured properties.

    source: `read_source` of the dataset, if several cells share it. ValueError if the images do
    not reach the foreground fraction.
    """
    source = source or read_source(study, dataset)
    knobs = dict(study.stresses(dataset.name)[stress_name])
    samples: dict[str, list[tuple[str, np.ndarray, Masks]]] = {split: [] for split in SPLITS}
    for split, items in scenes(study, dataset, knobs, seed, source).items():
        for stem, image, masks in items:
            key = stable_seed("labels", dataset.name, seed, stem, stress_name)
            masks = _labelled(masks, knobs, key if split == "train" else None)
            samples[split].append((stem, stress.change_image(image, knobs), masks))
    measured = _measured(samples)
    _check_fraction(study, dataset, knobs, measured["foreground_fraction"]["train"])
    info = {
        "title": f"{dataset.name}, stress {stress_name}, seed {seed}",
        "stress": knobs,
        "measured": measured,
    }
    if dataset.class_names != (FOREGROUND,):
        info["classes"] = list(dataset.class_names)
    writing.write(study.data_folder(dataset.name, stress_name, seed), samples, info)
    return measured


def _labelled(masks: Masks, knobs: Mapping[str, Any], key: int | None) -> Masks:
    """Return masks with the training label as MASKS and the true mask as CLEAN.

    key: seed of the label's random draws; None: the label stays true. Without a knob of labels
    there is no CLEAN.
    """
    masks = dict(masks)
    label, instances = masks[MASKS], masks.get(INSTANCES)
    if observer := observed(knobs):
        label, instances = masks.pop(observer), None
    if LABEL_KNOBS.isdisjoint(knobs):
        return masks
    masks[CLEAN] = masks[MASKS]
    if key is not None:
        masks[MASKS] = stress.corrupt(np.random.default_rng(key), label, knobs, instances)
    return masks


def _measured(samples: Mapping[str, list[tuple[str, np.ndarray, Masks]]]) -> dict[str, Any]:
    """Return foreground fractions and counts of empty masks by split, and the label agreement.

    The label agreement is the share of training pixels with a true label.
    """
    clean = {
        split: [masks.get(CLEAN, masks[MASKS]) for *_, masks in items]
        for split, items in samples.items()
    }
    agreement = [
        np.mean(masks[MASKS] == true)
        for (*_, masks), true in zip(samples["train"], clean["train"], strict=True)
    ]
    return {
        "foreground_fraction": {split: float(np.mean(clean[split])) for split in SPLITS},
        "empty_masks": {split: sum(not mask.any() for mask in clean[split]) for split in SPLITS},
        "label_agreement": float(np.mean(agreement)),
    }


def _check_fraction(
    study: Study, dataset: Dataset, knobs: Mapping[str, Any], reached: float
) -> None:
    """Raise ValueError if the mean foreground fraction is far from the knob `fraction`."""
    fraction = knobs.get("fraction", NATURAL)
    if fraction == NATURAL:
        return
    if abs(reached / (fraction * (1 - knobs.get("absence", 0))) - 1) > REACH:
        raise ValueError(
            f"dataset {dataset.name!r}, fraction {fraction}: windows of {study.image_size} pixels "
            f"reach {reached:.3g} on average; allowed: a fraction that the images reach (each "
            "dataset can have its own: 'values: {DATASET: [...]}')"
        )
