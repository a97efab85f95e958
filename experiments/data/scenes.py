"""Images of a cell with their true masks: generated ones, or windows of a dataset's images.

The knobs of objects act here (`size`, `fraction`, `absence`, `left_out`, and those of generated
images). Knobs of images and labels are in `experiments.data.stress`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

from experiments.data import controlled, stress
from experiments.data.mosaics import Mosaics, Window, spread
from experiments.data.prepared import image_hash
from experiments.data.source import Masks, Source, with_union
from experiments.data.windows import joined, to_border, window
from experiments.layout import CLASS, IDS, IGNORED, INSTANCES, MASKS, SPLITS, masks_of
from experiments.plan.knobs import CONTROLLED_FRACTION, KNOBS, NATURAL, Stress
from experiments.plan.seeds import stable_seed

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

log = logging.getLogger("dicebench")

Maker = Callable[[bool], tuple[np.ndarray, Masks]]
"""Function that returns an image and its masks, the same ones each time.

With True the image is without foreground; LookupError if no such image can be made.
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
        makers = windows(study, dataset, Stress(knobs), source)
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

        def make(empty: bool) -> tuple[np.ndarray, Masks]:
            share = 0 if empty else knobs.get("fraction", CONTROLLED_FRACTION)
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


def windows(study: Study, dataset: Dataset, knobs: Stress, source: Source) -> dict[str, Makers]:
    """Return split -> makers of windows of a dataset's images, or of mosaics of them.

    Windows do not depend on the seed, so all seeds share test images. If a study needs fewer
    windows than there are images, images are picked by content hash (file names often encode
    patient, video or stain). ValueError if mosaics do not reach the foreground fraction.
    """
    makers, number = {}, None
    for split in SPLITS:
        own = Windows(study, dataset, knobs, source, split)
        if knobs.mosaic == 1:
            make = [partial(own.image, i) for i in range(len(own))]
        else:
            mosaics = Mosaics(own, knobs.mosaic)
            if number is None:  # from the training images; other splits show as many objects
                number = _shown(dataset, knobs, mosaics)
            if number < knobs.mosaic**2 and mosaics.borrowed == 1:
                raise ValueError(
                    f"dataset {dataset.name!r}, {knobs.name}: no {split} image has a window "
                    "without foreground; allowed: other splits, or a smaller image_size"
                )
            shown = spread(number, len(own))
            make = [partial(mosaics.image, i, objects) for i, objects in enumerate(shown)]
        makers[split] = list(zip(own.stems, make, strict=True))
    return makers


class Windows:
    """The windows of a split of a dataset.

    Windows placed anywhere are shared by all targets. Those at objects are the same for large
    and small objects.
    """

    def __init__(
        self, study: Study, dataset: Dataset, knobs: Stress, source: Source, split: str
    ) -> None:
        self._source, self._side, self._size = source, study.image_size, knobs.get("size", "large")
        self._place = "anywhere" if knobs.get("fraction") == NATURAL else "at objects"
        self._key = (
            (dataset.source, {"fraction": NATURAL})
            if self._place == "anywhere"
            else (dataset.name, {})
        )
        self._unused = {masks_of(o) for o in study.observers(dataset.name)} - {observed(knobs)}
        stems = source.stems[split]
        count = getattr(dataset, split)
        self._names = [(stems[i % len(stems)], i // len(stems)) for i in range(count)]
        self.stems = [f"{stem}-{repeat}" for stem, repeat in self._names]
        """Stem of each window: of its image, with a number."""
        self.groups = [source.groups[stem] for stem, _ in self._names]
        """Source of each window: group of its image, else the image."""

    def __len__(self) -> int:
        return len(self._names)

    def image(self, i: int, empty: bool = False) -> Window:
        """Return window i; with `empty` one without foreground, of the same image.

        LookupError if the image has no such window.
        """
        place = "empty" if empty else self._place
        return self._cut(i, 0, partial(window, side=self._side, size=self._size, place=place))

    def background(self, i: int, draw: int, pieces: int) -> Window:
        """Return a window of the image of window i without foreground, of `pieces` on each side.

        draw: number of the window, as several are cut from an image. LookupError as for `image`.
        """
        return self._cut(i, draw, partial(joined, side=self._side, pieces=pieces))

    def _cut(self, i: int, draw: int, cut: Callable[..., Sequence[np.ndarray]]) -> Window:
        stem, repeat = self._names[i]
        image, masks = self._source.read(stem)
        layers = [MASKS, *sorted(masks.keys() - self._unused - {MASKS})]
        rng = np.random.default_rng(stable_seed(*self._key, stem, repeat, *[draw] * (draw > 0)))
        image, *cuts = cut(rng, [image, *(masks[name] for name in layers)])
        # At half scale each layer is rounded alone, so the union of classes is made again.
        return image, with_union(dict(zip(layers, cuts, strict=True)))


def sources(study: Study, dataset: Dataset, source: Source) -> dict[str, str]:
    """Return stem -> source of the test images of a cell, the same for all stresses and seeds.

    A mosaic has the source of its first window, which shows objects if any does.
    """
    own = Windows(study, dataset, Stress(), source, "test")
    return dict(zip(own.stems, own.groups, strict=True))


def _shown(dataset: Dataset, knobs: Stress, mosaics: Mosaics) -> float:
    """Return the mean number of windows with objects in a mosaic."""
    if mosaics.pieced + mosaics.borrowed > 0 and mosaics.borrowed < 1:
        log.info(
            "%s %s: %.0f%% of the windows have background joined from smaller pieces, %.0f%% have "
            "that of another image: their own images have none",
            *(dataset.name, knobs.name, 100 * mosaics.pieced, 100 * mosaics.borrowed),
        )
    if knobs.share is None:
        return mosaics.side**2
    try:
        return mosaics.shown(knobs.share)
    except ValueError as error:
        raise ValueError(
            f"dataset {dataset.name!r}, fraction {knobs.share}: {error}; allowed: a fraction in "
            "this range (`snakemake probe` prints the levels of every dataset)"
        ) from None


def borders(study: Study, dataset: Dataset, knobs: Stress) -> Int[np.ndarray, "h w"]:
    """Return the distance of each pixel of a stressed image to the border of its window."""
    if dataset.controlled:
        return to_border(study.image_size)
    return to_border(study.image_size, knobs.get("size", "large"), knobs.mosaic)


def with_absence(
    dataset: Dataset, split: str, makers: Makers, knobs: Mapping[str, Any]
) -> list[tuple[str, np.ndarray, Masks]]:
    """Return [(stem, image, masks)] with the share of images without foreground that is set.

    Images that are without foreground anyway come first, the others in a fixed random order. An
    image without an empty window is skipped. All other images are unchanged. ValueError if too
    few images can be without foreground.
    """
    samples = [(stem, *make(False)) for stem, make in makers]
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
                samples[i] = (stem, *make(True))
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
