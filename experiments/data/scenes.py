"""Images of a cell with their true masks: generated ones, or windows of a dataset's images.

The knobs of objects act here (`size`, `fraction`, `absence`, `left_out`, and those of generated
images). Knobs of images and labels are in `experiments.data.stress`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from experiments.data import controlled, stress
from experiments.data.prepared import image_hash
from experiments.data.source import Masks, Source, with_union
from experiments.data.windows import window
from experiments.layout import CLASS, IDS, IGNORED, INSTANCES, MASKS, SPLITS, masks_of
from experiments.plan.knobs import CONTROLLED_FRACTION, KNOBS, NATURAL
from experiments.plan.seeds import stable_seed

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

Maker = Callable[[float | str | None], tuple[np.ndarray, Masks]]
"""Function of a foreground fraction that returns an image and its masks, the same ones each time.

It raises LookupError if the fraction is 0 and the image has no window without foreground.
"""
Makers = list[tuple[str, Maker]]
"""Stem and maker of each image of a split."""


def scenes(
    study: Study, dataset: Dataset, knobs: Mapping[str, Any], seed: int, source: Source | None
) -> dict[str, list[tuple[str, np.ndarray, Masks]]]:
    """Return split -> [(stem, image, true masks)] of a cell, with the knobs of objects applied.

    source: `read_source` of the dataset.
    """
    if dataset.controlled:
        makers = generated(study, dataset, knobs, seed)
    else:
        makers = windows(study, dataset, knobs, source)
    samples = {split: with_absence(dataset, split, makers[split], knobs) for split in SPLITS}
    if "left_out" not in knobs:
        return samples
    return {
        split: [
            (stem, image, left_out(image, masks, knobs["left_out"])) for stem, image, masks in s
        ]
        for split, s in samples.items()
    }


def generated(
    study: Study, dataset: Dataset, knobs: Mapping[str, Any], seed: int
) -> dict[str, Makers]:
    """Return split -> makers of generated images. Each seed has its own images."""
    options = {knob: value for knob, value in knobs.items() if KNOBS[knob].generated_only}
    size = knobs.get("size", "large")
    # Stresses with the same objects show the same images.
    same = {knob: knobs[knob] for knob in ("size", "fraction") if knob in knobs}

    def maker(split: str, i: int) -> Maker:
        key = stable_seed(same, seed, split, i)

        def make(fraction: float | str | None) -> tuple[np.ndarray, Masks]:
            share = CONTROLLED_FRACTION if fraction is None else fraction
            rng = np.random.default_rng(key)
            image, mask = controlled.scene(rng, study.image_size, share, size, **options)
            return image, {MASKS: mask}

        return make

    return {
        split: [(f"{split}-{i:04d}", maker(split, i)) for i in range(getattr(dataset, split))]
        for split in SPLITS
    }


def observed(knobs: Mapping[str, Any]) -> str | None:
    """Return the folder of the masks that replace the training labels, or None.

    >>> observed({"observer": "second"}), observed({})
    ('masks_second', None)
    """
    return masks_of(knobs["observer"]) if "observer" in knobs else None


def windows(
    study: Study, dataset: Dataset, knobs: Mapping[str, Any], source: Source
) -> dict[str, Makers]:
    """Return split -> makers of windows of a dataset's images.

    Windows do not depend on the seed, so all seeds share test images. Windows placed anywhere are
    also shared by all targets. If a study needs fewer windows than there are images, images are
    picked by content hash (file names often encode patient, video or stain).
    """
    size = knobs.get("size", "large")
    # Without the size: large and small objects share the same first window.
    same = {knob: knobs[knob] for knob in ("fraction",) if knob in knobs}
    unused = {masks_of(name) for name in study.observers(dataset.name)} - {observed(knobs)}
    owner = dataset.source if knobs.get("fraction") == NATURAL else dataset.name

    def maker(split: str, stem: str, repeat: int) -> Maker:
        key = stable_seed(owner, same, stem, repeat)

        def make(fraction: float | str | None) -> tuple[np.ndarray, Masks]:
            image, masks = source.read(stem)
            names = [MASKS, *sorted(masks.keys() - unused - {MASKS})]
            layers = [image, *(masks[name] for name in names)]
            rng = np.random.default_rng(key)
            cut, *masks_cut = window(rng, layers, study.image_size, size, fraction)
            # At half scale each layer is rounded alone, so the union is made again.
            return cut, with_union(dict(zip(names, masks_cut, strict=True)))

        return make

    def makers(split: str) -> Iterator[tuple[str, Maker]]:
        stems = source.stems[split]
        for i in range(getattr(dataset, split)):
            stem, repeat = stems[i % len(stems)], i // len(stems)
            yield f"{stem}-{repeat}", maker(split, stem, repeat)

    return {split: list(makers(split)) for split in SPLITS}


def with_absence(
    dataset: Dataset, split: str, makers: Makers, knobs: Mapping[str, Any]
) -> list[tuple[str, np.ndarray, Masks]]:
    """Return [(stem, image, masks)] with the share of images without foreground that is set.

    Images that are without foreground anyway come first, the others in a fixed random order. An
    image without an empty window is skipped. All other images are unchanged. ValueError if too
    few images can be without foreground.
    """
    samples = [(stem, *make(knobs.get("fraction"))) for stem, make in makers]
    share = knobs.get("absence", 0.0)
    wanted = round(share * len(samples)) if share else 0
    order = np.random.default_rng(stable_seed("absence", dataset.name, split))
    order = order.permutation(len(samples))
    for i in sorted(order, key=lambda i: samples[i][2][MASKS].any()):
        if not wanted:
            break
        if samples[i][2][MASKS].any():
            stem, make = makers[i]
            try:
                samples[i] = (stem, *make(0))
            except LookupError:
                continue
        wanted -= 1
    if wanted:
        raise ValueError(
            f"dataset {dataset.name!r}, absence {share}: only "
            f"{round(share * len(samples)) - wanted} of {len(samples)} {split} images can be "
            f"without foreground in windows of {dataset.name!r}; allowed: a share that the images "
            "reach"
        )
    return samples


def left_out(image: UInt8[np.ndarray, "h w *c"], masks: Masks, share: float) -> Masks:
    """Return masks with a share of the objects ignored; a greater share contains a smaller one.

    The objects depend on the content of the image only.
    """
    mask = masks[MASKS]
    rng = np.random.default_rng(stable_seed("left_out", image_hash(image)))
    visible = stress.missed(rng, mask, share, mask=mask, instances=masks.get(INSTANCES))
    own = {n: m * visible for n, m in masks.items() if n in IDS or n.startswith(CLASS)}
    return masks | {MASKS: visible, IGNORED: masks.get(IGNORED, 0) | (mask ^ visible)} | own
