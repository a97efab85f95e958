"""Boundary and region.

Losses by the distance to the true boundary, or by the Jaccard index.

    >>> import torch
    >>> from losses import build
    >>> prob = torch.tensor([[[0.25, 0.5, 0.75, 0.5]]])
    >>> target = torch.tensor([[0, 0, 1, 1]])  # distances 2, 1, 0, -1
    >>> build("boundary")(prob.logit(), target).item()  # (0.5 + 0.5 + 0 - 0.5) / 4
    0.125
"""

# ruff: noqa: D102 - methods of the interface are documented in the base class
from __future__ import annotations

import torch
from torch import Tensor

from ._interface import MapLoss, SegmentationLoss, to_numpy
from ._optional import Bool, Float, Shaped, ndimage, np
from ._options import choose, number
from ._reading import (
    Logits,
    Maps,
    Scalar,
    Target,
    Weight,
    checks_values,
    dense_target,
    is_readable,
    no_autocast,
    or_one,
    probability,
    read,
    wide,
)
from ._sums import Kernel, RegionSums


class _DistanceLoss(MapLoss):
    """A mean over pixels and classes, weighted by a map of distances in pixels.

    empty: the cost of a mask without a boundary (empty or full). "background": every pixel is
    taken as one pixel from the boundary, so errors have a cost; "skip": nothing.
    background: False leaves class 0 out; C > 1 only.
    """

    def __init__(self, *, background: bool = True, empty: str = "background", **options):
        super().__init__(**options)
        self.background = choose("background", background, (True, False))
        self.empty = choose("empty", empty, ("background", "skip"))

    def weight(
        self, w: Shaped[Tensor, "n 1 l"] | None, maps: Float[Tensor, "n c *space"]
    ) -> tuple[Float[Tensor, "n c l"], int | Tensor]:
        """Return the weighted maps, 0 at ignored pixels and classes, and the sum of the weights."""
        maps = maps.flatten(2)
        classes = maps.shape[1]
        if not self.background:
            if classes == 1:
                raise ValueError("background=False needs logits of more than one channel")
            maps = torch.cat([torch.zeros_like(maps[:, :1]), maps[:, 1:]], 1)
            classes -= 1
        if w is None:
            return maps, maps.shape[0] * maps.shape[2] * classes
        return maps * w, or_one(w.sum()) * classes


class BoundaryLoss(_DistanceLoss):
    """1/(C L) sum_i p_i D_i, D the signed distance to the true boundary

    D in pixels: outside the object, the distance to its nearest pixel; inside, 1 minus the
    distance to the nearest pixel outside, so 0 on the object's own edge. Negative by nature,
    bounded only by the size of the object, so it is mostly added to an overlap loss (see
    `DiceBoundaryLoss`).
    maps: D (N, C, *space).
    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, 2019.
    """

    minimiser = "p = 1 where E[D] < 0, else 0"
    kernel = RegionSums({"overlap"})

    def map_of(self, mask: Bool[np.ndarray, "*space"]) -> Float[np.ndarray, "*space"]:
        if mask.all() or not mask.any():
            return np.full(mask.shape, 0.0 if self.empty == "skip" else -1.0 if mask.all() else 1.0)
        distance = ndimage().distance_transform_edt
        return np.where(mask, 1 - distance(mask), distance(~mask))

    def value(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        weight: Weight | None = None,
    ) -> Scalar:
        x, _, w = read(logits, target, self.ignore_index, weight)
        distance, pixels = self.weight(w, self.maps_for(logits, target, maps))
        with no_autocast(logits):
            return self.kernel(x, distance).overlap.sum() / pixels


class HausdorffLoss(_DistanceLoss):
    """1/(C L) sum_i (p_i - y_i)^2 (D_y^alpha + D_p^alpha)_i

    D_y and D_p are unsigned distances in pixels to the boundaries of the true mask and of the
    predicted mask p > 1/2. At least 0.
    alpha: the authors use 2. predicted=False leaves D_p out, which saves a distance transform of
    each prediction at every step (the authors' one-sided variant). maps: D_y (N, C, *space).
    Source: Karimi and Salcudean, Reducing the Hausdorff distance, 2019.
    """

    minimiser = "p = E[y D] / E[D]"

    def __init__(self, *, alpha: float = 2.0, predicted: bool = True, **options):
        super().__init__(**options)
        self.alpha = number("alpha", alpha, 0)
        self.predicted = choose("predicted", predicted, (True, False))
        self.kernel = _SquaredErrorSums()

    def map_of(self, mask: Bool[np.ndarray, "*space"]) -> Float[np.ndarray, "*space"]:
        if self.empty == "background" and (mask.all() or not mask.any()):
            return np.ones(mask.shape)
        return _distance(mask)

    def value(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        weight: Weight | None = None,
    ) -> Scalar:
        x, y, w = read(logits, target, self.ignore_index, weight)
        distance = self.maps_for(logits, target, maps) ** self.alpha
        if self.predicted:
            guess = to_numpy(probability(wide(logits.detach())) > 0.5)
            near = np.array([[_distance(c) for c in image] for image in guess], dtype=np.float32)
            near = torch.from_numpy(near).to(distance.device)
            distance = distance + near**self.alpha
        distance, pixels = self.weight(w, distance)
        with no_autocast(logits):
            return self.kernel(x, y, distance).sum() / pixels


def _distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest pixel of the other value; 0 if there is none."""
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    distance = ndimage().distance_transform_edt
    return distance(mask) + distance(~mask)


class _SquaredErrorSums(Kernel):
    """Sum w (p - y)^2 of each image, (1, n, 1)."""

    single = True

    def sums(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        return (w * (probability(x) - y).square()).sum((1, 2)).view(1, -1, 1)


class LovaszLoss(SegmentationLoss):
    """sum_k e_(k) (J_k - J_(k-1)), e descending, J_k the Jaccard loss if the first k are wrong

    the convex extension of the Jaccard loss. With C > 1 e = |p - y|, the mean over the classes
    that are present, in [0, 1]; with one channel e = max(0, 1 - x (2 y - 1)) of the logit x
    itself, at least 0. Targets must be hard.
    per: "batch" sorts the pixels of all images together; "image" sorts those of each image, and
    takes the mean. empty: a mask without a true pixel costs its greatest e ("background") or is
    left out ("skip"). With C > 1 absent classes are always left out, as the authors do: false
    positives of a class are misses of another.
    Source: Berman et al., The Lovász-softmax loss, 2018.
    """

    minimiser = "none in closed form"

    def __init__(self, *, per: str = "batch", empty: str = "background", **options):
        super().__init__(**options)
        self.per = choose("per", per, ("image", "batch"))
        self.empty = choose("empty", empty, ("background", "skip"))

    @property
    def whole_batch(self) -> str | None:
        """The reason why the loss has no values for each image."""
        return "per='batch' sorts the pixels of all images" if self.per == "batch" else None

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        if weight is not None and weight.dtype != torch.bool:
            raise ValueError("sorted pixels have no weights; allowed: weight of type bool")
        x, y, counts = read(logits, target, self.ignore_index, weight)
        x = wide(x)
        y = dense_target(y, x.shape[1], x.dtype)
        if checks_values() and not (y.square() == y).all():
            raise ValueError("target must be hard (0 or 1) for the Lovász loss")
        e = (1 - x * (2 * y - 1)).relu() if x.shape[1] == 1 else (probability(x) - y).abs()
        if counts is not None:
            e, y = e * counts, y * counts
        if self.per == "batch":
            e, y = (v.transpose(0, 1).flatten(1).unsqueeze(0) for v in (e, y))
        scores = (e * _jaccard_slope(e.detach(), y > 0)).sum(-1)
        present = (y > 0).any(-1)
        if x.shape[1] == 1 and self.empty == "background":
            present = torch.ones_like(present)
        scores = torch.where(present, scores, 0.0).sum(1) / present.sum(1).clamp_min(1)
        return scores.sum() / present.any(1).sum().clamp_min(1)


@torch.no_grad()
def _jaccard_slope(e: Tensor, y: Tensor) -> Tensor:
    """Return J_k - J_(k-1) of each pixel, k its rank by descending e along the last axis."""
    # Stable, so that all GPUs order equal errors alike; a CPU sorts faster without.
    order = e.argsort(dim=-1, descending=True, stable=not is_readable(e))
    # Counts as integers: a running sum of floats is not deterministic on a GPU.
    hits = y.gather(-1, order).cumsum(-1, dtype=torch.int32)
    size = hits[..., -1:]
    rank = torch.arange(1, e.shape[-1] + 1, device=e.device, dtype=torch.int32)
    jaccard = 1 - (size - hits).to(e.dtype) / (size + rank - hits).to(e.dtype)
    slope = jaccard.diff(prepend=torch.zeros_like(jaccard[..., :1]))
    return torch.empty_like(e).scatter_(-1, order, slope)
