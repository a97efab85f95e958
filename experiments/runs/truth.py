"""Counts of a prediction against a true mask."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

from experiments.data import objects
from experiments.data.prepared import Prepared
from experiments.runs.overlap import regions
from experiments.runs.records import BAND, HIT, SIZE_BINS, TOLERANCE


class Truth:
    """A true mask with the quantities that predictions are compared with.

    ignored: pixels that are in no count, or None. instances: ids as `objects.label` takes them.
    """

    def __init__(
        self,
        stem: str,
        mask: Shaped[np.ndarray, "h w"],
        ignored: Shaped[np.ndarray, "h w"] | None = None,
        instances: Shaped[np.ndarray, "h w"] | None = None,
    ) -> None:
        self.stem = stem
        self.counted = np.ones(mask.shape, bool) if ignored is None else ignored == 0
        self.mask = mask.astype(bool) & self.counted
        self.instances = instances

    @cached_property
    def band(self) -> Bool[np.ndarray, "h w"]:
        """Pixels within BAND of the boundary, on either side; none if there is no boundary."""
        if self.mask.all() or not self.mask.any():
            return np.zeros_like(self.mask)
        inside = ndimage.distance_transform_edt(self.mask)
        outside = ndimage.distance_transform_edt(~self.mask)
        return (np.where(self.mask, inside, outside) <= BAND) & self.counted

    @cached_property
    def surface(self) -> Surface:
        """Surface of the mask."""
        return Surface(self.mask)

    @cached_property
    def objects(self) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, " n"]]:
        """Object number of each pixel (0: background), and the objects' areas."""
        return objects.label(self.mask, self.instances)

    def count(self, predicted: Bool[np.ndarray, "h w"]) -> dict[str, int | float]:
        """Return the counts of one prediction; `records.COUNTS` describes them."""
        predicted = predicted & self.counted
        row = confusion(predicted, self.mask, self.counted)
        row |= {f"band_{k}": v for k, v in confusion(predicted, self.mask, self.band).items()}
        labels, areas = self.objects
        covered = np.bincount(labels[predicted], minlength=len(areas) + 1)[1:]
        hit = covered >= HIT * areas
        for size, (low, high) in SIZE_BINS.items():
            bin_ = (areas >= low) & (areas < high)
            row[f"objects_{size}"] = int(bin_.sum())
            row[f"hits_{size}"] = int(hit[bin_].sum())
        numbers, areas = objects.label(predicted)
        row["predicted_objects"] = len(areas)
        row["false_objects"] = len(areas) - len(np.unique(numbers[self.mask & predicted]))
        return row | surface_counts(self.surface, Surface(predicted))


class Surface:
    """The surface of a mask: its pixels that share an edge with a pixel outside of the mask.

    Pixels beyond the image are outside.
    """

    def __init__(self, mask: Bool[np.ndarray, "h w"]) -> None:
        self.pixels = mask & ~ndimage.binary_erosion(mask)
        self.any = bool(self.pixels.any())
        self.distance = ndimage.distance_transform_edt(~self.pixels) if self.any else None
        """Distance in pixels of each pixel to the surface."""
        self.inner = mask & (self.distance <= BAND) if self.any else mask


def truths(data: Prepared) -> dict[str, list[Truth]]:
    """Return, for each class, the truths of the test images of a stressed folder."""
    found: dict[str, list[Truth]] = {name: [] for name in data.classes}
    for stem in data.split["test"]:
        (masks,) = regions(data.target(stem)[None], len(found))
        for of_class, mask in zip(found.values(), masks, strict=True):
            of_class.append(Truth(stem, mask, data.ignored(stem), data.instances(stem)))
    return found


def confusion(
    predicted: Bool[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    where: Bool[np.ndarray, "h w"],
) -> dict[str, int]:
    """Return the pixels tp, fp, fn, tn among those of `where`.

    >>> predicted, mask = np.array([[True, True, False]]), np.array([[True, False, False]])
    >>> confusion(predicted, mask, np.ones((1, 3), bool))
    {'tp': 1, 'fp': 1, 'fn': 0, 'tn': 1}
    """
    predicted, mask = predicted[where], mask[where]
    tp = int(np.count_nonzero(predicted & mask))
    fp, fn = int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(mask)) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": mask.size - tp - fp - fn}


def surface_counts(true: Surface, predicted: Surface) -> dict[str, int | float]:
    """Return the agreement of two surfaces; `records.COUNTS` and `DISTANCES` describe it."""
    both = true.any and predicted.any
    row, percentiles = {}, []
    for name, one, other in (("true", true, predicted), ("predicted", predicted, true)):
        distances: Float[np.ndarray, " p"] = other.distance[one.pixels] if both else np.empty(0)
        row[f"surface_{name}"] = int(np.count_nonzero(one.pixels))
        row[f"surface_{name}_near"] = int(np.count_nonzero(distances <= TOLERANCE))
        percentiles.append(np.percentile(distances, 95) if both else np.nan)
    row["inner_both"] = int(np.count_nonzero(true.inner & predicted.inner))
    row["inner_either"] = int(np.count_nonzero(true.inner | predicted.inner))
    return row | {"hd95": float(max(percentiles))}
