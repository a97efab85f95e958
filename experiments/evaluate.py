"""From probabilities and true masks to counts; the threshold is chosen on validation images."""

from functools import cached_property

import numpy as np
from scipy import ndimage

from experiments import objects
from experiments.results import BAND, HIT, SIZE_BINS, TOLERANCE, most_probable

_TAIL = np.array([1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3])
CALIBRATION_BINS = 15
THRESHOLDS = np.concatenate([_TAIL, np.arange(1, 100) / 100, 1 - _TAIL[::-1]])
"""What a threshold is chosen from; the tails are for losses that drive probabilities to 0 or 1."""


class Truth:
    """A true mask, and what of it every run is held against.

    ignored: pixels that count for nothing, or None; what is predicted there is dropped.
    instances: as `objects.label` takes them.
    """

    def __init__(self, stem, mask, ignored=None, instances=None):
        self.stem = stem
        self.counted = np.ones(mask.shape, bool) if ignored is None else ignored == 0
        self.mask = mask.astype(bool) & self.counted
        self.instances = instances

    @cached_property
    def band(self):
        """Pixels within BAND of the boundary, on either side; none where there is no boundary."""
        if self.mask.all() or not self.mask.any():
            return np.zeros_like(self.mask)
        inside = ndimage.distance_transform_edt(self.mask)
        outside = ndimage.distance_transform_edt(~self.mask)
        return (np.where(self.mask, inside, outside) <= BAND) & self.counted

    @cached_property
    def surface(self):
        return Surface(self.mask)

    @cached_property
    def objects(self):
        """Object number of each pixel (0: background), and the objects' areas."""
        return objects.label(self.mask, self.instances)

    def count(self, predicted):
        """The counts of one prediction (boolean, of the mask's shape), as `results.COUNTS` says."""
        predicted = predicted & self.counted
        row = confusion(predicted, self.mask, self.counted)
        row |= {f"band_{k}": v for k, v in confusion(predicted, self.mask, self.band).items()}
        labels, areas = self.objects
        found = np.bincount(labels[predicted], minlength=len(areas) + 1)[1:]
        hit = found >= HIT * areas
        for size, (low, high) in SIZE_BINS.items():
            bin_ = (areas >= low) & (areas < high)
            row[f"objects_{size}"] = int(bin_.sum())
            row[f"hits_{size}"] = int(hit[bin_].sum())
        numbers, areas = objects.label(predicted)
        row["predicted_objects"] = len(areas)
        row["false_objects"] = len(areas) - len(np.unique(numbers[self.mask & predicted]))
        return row | surface_counts(self.surface, Surface(predicted))


def truths(data):
    """Class -> what the test images of a stressed folder (`prepared.Prepared`) are held against."""
    return {
        name: [
            Truth(stem, data.target(stem) == k, data.ignored(stem), data.instances(stem))
            for stem in data.split["test"]
        ]
        for k, name in enumerate(data.classes, 1)
    }


class Surface:
    """A mask's surface: its pixels with a neighbour (sharing an edge) that is not of the mask.

    What lies beyond the image is not of the mask.
    """

    def __init__(self, mask):
        self.pixels = mask & ~ndimage.binary_erosion(mask)
        self.any = bool(self.pixels.any())
        self.distance = ndimage.distance_transform_edt(~self.pixels) if self.any else None
        """Pixels from each pixel to the nearest of the surface."""
        self.inner = mask & (self.distance <= BAND) if self.any else mask


def surface_counts(true, predicted):
    """How far two surfaces agree, as `results.COUNTS` and `results.DISTANCES` say."""
    both = true.any and predicted.any
    row, worst = {}, []
    for name, one, other in (("true", true, predicted), ("predicted", predicted, true)):
        away = other.distance[one.pixels] if both else np.empty(0)
        row[f"surface_{name}"] = int(np.count_nonzero(one.pixels))
        row[f"surface_{name}_near"] = int(np.count_nonzero(away <= TOLERANCE))
        worst.append(np.percentile(away, 95) if both else np.nan)
    row["inner_both"] = int(np.count_nonzero(true.inner & predicted.inner))
    row["inner_either"] = int(np.count_nonzero(true.inner | predicted.inner))
    return row | {"hd95": float(max(worst))}


def confusion(predicted, mask, where):
    predicted, mask = predicted[where], mask[where]
    tp = int(np.count_nonzero(predicted & mask))
    fp, fn = int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(mask)) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": mask.size - tp - fp - fn}


def pooled_dice(prob, masks, thresholds):
    """2 TP / (2 TP + FP + FN) over all pixels of all images, at each threshold; 0 for 0 / 0."""
    # Histograms by threshold bin give every threshold's sums in one pass over the pixels.
    bins = np.searchsorted(thresholds, prob.ravel(), side="left")
    everything = np.bincount(bins, minlength=len(thresholds) + 1)
    foreground = np.bincount(bins[masks.ravel() > 0], minlength=len(thresholds) + 1)
    # A pixel of bin b lies above the thresholds 0 .. b - 1.
    predicted = everything[::-1].cumsum()[::-1][1:]
    tp = foreground[::-1].cumsum()[::-1][1:]
    size = predicted + foreground.sum()
    return np.divide(2 * tp, size, out=np.zeros(len(thresholds)), where=size > 0)


def dice_by_class(found, masks):
    """The pooled Dice score of each class: (N, K, H, W) booleans against (N, H, W) numbers."""
    return [
        float(pooled_dice(of_class, masks == k, np.array([0.5]))[0])
        for k, of_class in enumerate(found.swapaxes(0, 1), 1)
    ]


def tune(prob, masks, classes):
    """Class -> the threshold of its greatest pooled Dice score; -> its score at 0.5 and there.

    prob (N, K, H, W), masks (N, H, W) of class numbers. Each class by itself, against the rest;
    at "0.5" it is the most probable one. Of thresholds that are equally good, the one nearest to
    0.5.
    """
    thresholds, scores = {}, {}
    at_half = dice_by_class(most_probable(prob), masks)
    for k, name in enumerate(classes):
        dice = pooled_dice(prob[:, k], masks == k + 1, THRESHOLDS)
        best = THRESHOLDS[dice >= dice.max() - 1e-12]
        thresholds[name] = float(best[np.abs(best - 0.5).argmin()])
        scores[name] = {"0.5": at_half[k], "tuned": float(dice.max())}
    return thresholds, scores


def calibration(prob, truths):
    """Pixels by predicted probability, in bins of equal width: how many, sum p, sum of truths.

    prob (N, K, H, W), truths: class -> N of them; a pixel counts once for each class.
    """
    pairs = [
        (p[truth.counted], truth.mask[truth.counted])
        for of_class, found in zip(prob.swapaxes(0, 1), truths.values(), strict=True)
        for p, truth in zip(of_class, found, strict=True)
    ]
    prob, masks = map(np.concatenate, zip(*pairs, strict=True))
    bins = np.minimum((prob * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    sums = {"pixels": None, "predicted": prob, "true": masks}
    return {
        name: np.bincount(bins, values, minlength=CALIBRATION_BINS).tolist()
        for name, values in sums.items()
    }


def reproduced(prob, labels, clean):
    """Noisy labels of the training images, by true class: how many, how many are predicted so.

    Beside them the clean labels, and how many of those are predicted wrongly: what a model that
    has not learned the noise gets wrong all the same.
    """
    predicted = prob > 0.5
    noisy = labels != clean
    result = {}
    for name, of_class in (("background", clean == 0), ("foreground", clean > 0)):
        wrong = of_class & (predicted != (clean > 0))
        result[name] = {
            "noisy": int(np.count_nonzero(of_class & noisy)),
            "noisy_reproduced": int(np.count_nonzero(wrong & noisy)),
            "clean": int(np.count_nonzero(of_class & ~noisy)),
            "clean_wrong": int(np.count_nonzero(wrong & ~noisy)),
        }
    return result


def evaluate(prob, truths, tuned=None):
    """Rows of ``counts.csv`` for (N, K, H, W) probabilities.

    truths: class -> N of them; tuned: class -> threshold, or None for rows at 0.5 alone.
    """
    predictions = {"0.5": most_probable(prob)}
    if tuned:
        thresholds = np.array([tuned[name] for name in truths], prob.dtype)
        predictions["tuned"] = prob > thresholds[:, None, None]
    return [
        {"image": truth.stem, "class": name, "threshold": threshold}
        | truth.count(predicted)
        | {"squared_error": float(np.square((p - truth.mask)[truth.counted], dtype=float).sum())}
        for threshold, found in predictions.items()
        for k, (name, of_class) in enumerate(truths.items())
        for p, predicted, truth in zip(prob[:, k], found[:, k], of_class, strict=True)
    ]
