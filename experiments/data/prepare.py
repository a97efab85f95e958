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

from experiments.data import objects, stress, writing
from experiments.data.scenes import borders, observed, scenes, sources
from experiments.data.source import Masks, Source, read_source
from experiments.errors import ConfigError
from experiments.layout import CLEAN, FOREGROUND, INSTANCES, MASKS, SPLITS
from experiments.plan import looks
from experiments.plan.knobs import LABEL_KNOBS, Stress
from experiments.plan.seeds import stable_seed
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

SIZE_CHANGE, BORDER_CHANGE = 0.1, 0.05
"""Largest relative change of the median object's size, and change of the foreground's share near
borders, that `fraction` may cause."""

Samples = list[tuple[str, np.ndarray, Masks]]
"""Stem, image and masks of each image of a split."""

log = logging.getLogger("dicebench")


def run(study: Study, name: str | None = None) -> None:
    """Write all cells of a dataset at a look, or every cell if `name` is None.

    name: of a dataset, with a suffix after the first look (`looks.named`). ConfigError if the study
    has no such dataset.
    """
    parts = {
        looks.named(dataset, look): (dataset, look)
        for look in range(1, len(study.looks) + 1)
        for dataset in study.datasets
    }
    if name is not None and name not in parts:
        raise ConfigError(
            f"prepare: unknown dataset {name!r}{nearest(name, parts)}; allowed: {', '.join(parts)}"
        )
    for dataset, look in [parts[name]] if name else parts.values():
        _prepare(study, study.datasets[dataset], look)


def _prepare(study: Study, dataset: Dataset, look: int) -> None:
    """Write the cells of a dataset for the seeds that are new at a look."""
    stresses = study.stresses(dataset.name)
    planned = {name: study.plan.seeds(dataset.name, name, look=look) for name in stresses}
    source = read_source(study, dataset) if any(planned.values()) else None
    for stress_name, seeds in planned.items():
        if not seeds:
            continue
        knobs = stresses[stress_name]
        shown = None if dataset.controlled else checked_scenes(study, dataset, knobs, source)
        for seed in seeds:
            measured = write_cell(study, dataset, stress_name, seed, shown, source)
        log.info(
            "prepared %s %s: %d seeds, foreground %.4f, label agreement %.3f",
            *(dataset.name, stress_name, len(seeds)),
            *(measured["foreground_fraction"]["train"], measured["label_agreement"]),
        )


def write_cell(
    study: Study,
    dataset: Dataset,
    stress_name: str,
    seed: int,
    shown: Mapping[str, Samples] | None = None,
    source: Source | None = None,
) -> dict[str, Any]:
    """Write the stressed folder of one cell and return its measured properties.

    shown: the images with their true masks; None makes them. source: of a dataset's images; None
    opens it. The description gets the source of each test image, unless images are generated.
    """
    knobs = study.stresses(dataset.name)[stress_name]
    samples: dict[str, Samples] = {split: [] for split in SPLITS}
    source = source or read_source(study, dataset)
    if shown is None:
        shown = scenes(study, dataset, knobs, seed, source)
    for split, items in shown.items():
        for stem, image, masks in items:
            key = stable_seed("labels", dataset.name, seed, stem, stress_name)
            masks = _labelled(masks, knobs, key if split == "train" else None)
            samples[split].append((stem, stress.change_image(image, knobs), masks))
    measured = _measured(samples)
    info = {
        "title": f"{dataset.name}, stress {stress_name}, seed {seed}",
        "stress": dict(knobs),
        "measured": measured,
    }
    if dataset.class_names != (FOREGROUND,):
        info["classes"] = list(dataset.class_names)
    if source is not None:
        info["sources"] = sources(study, dataset, source)
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


def _measured(samples: Mapping[str, Samples]) -> dict[str, Any]:
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


def checked_scenes(
    study: Study, dataset: Dataset, knobs: Stress, source: Source
) -> dict[str, Samples]:
    """Return the images of a dataset with their true masks, which do not depend on the seed.

    ValueError if images do not reach a knob, or if `fraction` also changes the training images'
    objects or where windows cut them, compared with the same stress without it.
    """
    shown = scenes(study, dataset, knobs, 0, source)
    if knobs.share is None:
        return shown
    plain = Stress({k: v for k, v in knobs.items() if k not in ("fraction", "mosaic", "absence")})
    unchanged = scenes(study, dataset, plain, 0, source)["train"]
    found, wanted = (
        objects.summary(
            [masks[MASKS] for *_, masks in items],
            [masks.get(INSTANCES) for *_, masks in items],
            borders(study, dataset, stress),
        )
        for items, stress in ((shown["train"], knobs), (unchanged, plain))
    )
    size = found["size_q50"] / wanted["size_q50"]
    border = found["near_border"] - wanted["near_border"]
    if abs(size - 1) > SIZE_CHANGE or abs(border) > BORDER_CHANGE:
        raise ValueError(
            f"dataset {dataset.name!r}, {knobs.name}: the median object has {size:.0%} of its "
            f"size without 'fraction', and {border:+.0%} of the foreground is near a window's "
            f"border; allowed: 90% to 110%, and -5% to +5%"
        )
    return shown
