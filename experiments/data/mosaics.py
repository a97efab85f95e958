"""Mosaics: images of K x K windows, of which some show objects: the knob `fraction` of a dataset.

All levels have the same windows with objects: those of the unstressed dataset, which cut the same
objects at the same places. A level sets how many windows of an image show objects; the others show
background of the same images. So objects, seams, image size and mixture of images are the same at
all levels, and the fraction alone differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from experiments.data import objects
from experiments.data.source import Masks
from experiments.layout import INSTANCES, MASKS
from experiments.plan.seeds import stable_seed

PIECES = (1, 2, 4)
"""Windows on each side that a background window is joined from: the fewest that an image has."""
Window = tuple[np.ndarray, Masks]
"""An image and its masks."""


class Windows(Protocol):
    """The windows of a split, see `experiments.data.scenes.Windows`."""

    stems: Sequence[str]

    def __len__(self) -> int:
        """Return the number of windows."""

    def image(self, i: int) -> Window:
        """Return window i."""

    def background(self, i: int, draw: int, pieces: int) -> Window:
        """Return a window without foreground of the same image; LookupError without any."""


class Mosaics:
    """Mosaics of the windows of a split, as many as windows.

    Place j of image i shows window i + j, or background of the same image. The places are in
    random order, the same at all levels: a larger fraction adds objects to a smaller one's.
    side: K.
    """

    def __init__(self, windows: Windows, side: int) -> None:
        self.side, self._windows = side, windows
        # An image is decoded once for all that is cut of it.
        found = [(windows.image(i), self._pieces(i)) for i in range(len(windows))]
        self._cuts, own = [cut for cut, _ in found], [pieces for _, pieces in found]
        self._backgrounds: dict[int, dict[int, Window]] = {}
        self.pieced = float(np.mean([(pieces or 1) > 1 for pieces in own]))
        """Share of windows whose image has no background window in one piece."""
        self.borrowed = float(np.mean([pieces is None for pieces in own]))
        """Share of windows whose image has no background: the next image's is shown."""
        self._donors = _donors(own)

    def __len__(self) -> int:
        return len(self._cuts)

    @property
    def fraction(self) -> float:
        """Foreground fraction of the windows with objects: the largest that a mosaic reaches."""
        return float(np.mean([masks[MASKS].mean() for _, masks in self._cuts]))

    @property
    def smallest(self) -> float:
        """Foreground fraction if one window of an image shows objects; without background, all."""
        return self.fraction / (self.side**2 if self.borrowed < 1 else 1)

    def shown(self, share: float) -> float:
        """Return the mean number of windows of an image that show objects, for a fraction.

        ValueError with the reachable range outside of it; 2% beyond its ends are rounded.
        """
        if not 0.98 * self.smallest <= share <= 1.02 * self.fraction:
            raise ValueError(self._reach(share))
        return min(max(share / self.fraction * self.side**2, 1.0), float(self.side**2))

    def _reach(self, share: float) -> str:
        """Return the reachable range in words, and the mosaic that reaches a smaller `share`."""
        if not self.fraction:
            return "the windows have no foreground"
        if self.borrowed == 1:
            return f"no window is without foreground, so mosaics reach {self.fraction:.3g} only"
        words = f"mosaics of {self.side} x {self.side} windows reach {self.smallest:.3g} to "
        words += f"{self.fraction:.3g}"
        if share < self.smallest:
            more = math.ceil(math.sqrt(self.fraction / share))
            words += f", those of {more} x {more} from {self.fraction / more**2:.3g}"
        return words

    def image(self, i: int, shown: int, empty: bool = False) -> Window:
        """Return image i, of which `shown` windows show objects; none of them with `empty`.

        LookupError if no image has a window without foreground.
        """
        shown = 0 if empty else shown
        order = np.random.default_rng(stable_seed("mosaic", self._windows.stems[i]))
        tiles: list[Window | None] = [None] * self.side**2
        for j, place in enumerate(order.permutation(self.side**2)):
            window = (i + j) % len(self)
            tiles[place] = self._cuts[window] if j < shown else self._background(window, i)
        masks = {name: self._joined([m[name] for _, m in tiles]) for name in tiles[0][1]}
        # Objects that touch across a seam stay apart.
        masks[INSTANCES] = self._joined(_numbered([m for _, m in tiles]))
        return self._joined([image for image, _ in tiles]), masks

    def _pieces(self, window: int) -> int | None:
        """Return the fewest pieces of a background window, or None if its image has none."""
        for pieces in PIECES:
            try:
                self._windows.background(window, 0, pieces)
            except LookupError:
                continue
            return pieces
        return None

    def _background(self, window: int, draw: int) -> Window:
        if self._donors[window] is None:
            raise LookupError("no image has a window without foreground")
        if window not in self._backgrounds:
            donor, pieces = self._donors[window]
            draws = {(window - j) % len(self) for j in range(self.side**2)}
            self._backgrounds[window] = {
                i: self._windows.background(donor, i, pieces) for i in draws
            }
        return self._backgrounds[window][draw]

    def _joined(self, tiles: Sequence[np.ndarray]) -> np.ndarray:
        rows = [tiles[n : n + self.side] for n in range(0, len(tiles), self.side)]
        return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _donors(pieces: Sequence[int | None]) -> list[tuple[int, int] | None]:
    """Return for each window the first one from it on, round the end, that has background.

    pieces: of the background of each window, None without any.

    >>> _donors([None, 2, None])
    [(1, 2), (1, 2), (1, 2)]
    """
    donors: list[tuple[int, int] | None] = [None] * len(pieces)
    donor = None
    for i in [*reversed(range(len(pieces)))] * 2:
        donor = donor if pieces[i] is None else (i, pieces[i])
        donors[i] = donor
    return donors


def _numbered(tiles: Sequence[Masks]) -> list[np.ndarray]:
    """Return the object ids of each window, which no other window has."""
    numbers, last = [], 0
    for masks in tiles:
        own, areas = objects.label(masks[MASKS], masks.get(INSTANCES))
        numbers.append(np.where(own > 0, own + last, 0).astype(np.uint16))
        last += len(areas)
    return numbers


def spread(number: float, count: int) -> list[int]:
    """Return whole numbers for `count` images, as equal as possible, of this mean.

    >>> spread(1.5, 4)
    [1, 2, 1, 2]
    """
    ends = [math.floor(i * number + 1e-9) for i in range(count + 1)]
    return [high - low for low, high in pairwise(ends)]
