"""Likelihood: a mean over pixels.

Each pixel costs a function of the probability of its true class. One channel means two classes:
foreground p and background 1 - p.

    >>> import torch
    >>> from losses import build
    >>> even, target = torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.long)
    >>> round(build("cross_entropy")(even, target).item(), 4)  # log 2
    0.6931
    >>> round(build("focal")(even, target).item(), 4)  # (1/2)^2 log 2
    0.1733
"""

# ruff: noqa: D102 - methods of the interface are documented in the base class
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ._blocks import Block, Blocks, is_small
from ._interface import SegmentationLoss
from ._optional import Bool, Float, Shaped
from ._options import choose, class_weights_of, number
from ._reading import (
    Logits,
    Scalar,
    Target,
    Values,
    Weight,
    dense_target,
    is_readable,
    no_autocast,
    or_one,
    read,
    wide,
)
from ._sums import Kernel, RegionSums, Sums, nll, of_true

Weights = tuple[float, float] | Float[Tensor, " k"]
"""Weights of classes: (of class 0, of every other class), or one for each (two for the sigmoid)."""


class _PixelLoss(SegmentationLoss):
    """A mean over pixels; with reduction="none" the value of each pixel, 0 if it is ignored."""

    def cost(
        self,
        x: Float[Tensor, "n c l"],
        y: Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"],
        w: Tensor | None,
    ) -> Float[Tensor, "n _ l"]:
        """Return the parts of the cost of each pixel, without the weights of pixels."""
        raise NotImplementedError

    def values(self, logits: Logits, target: Target, weight: Weight | None = None) -> Values:
        x, y, w = read(logits, target, self.ignore_index, weight)
        with no_autocast(logits):
            cost = self.cost(wide(x), y, w).sum(1, keepdim=True)
        if w is not None:
            cost = (cost * w).masked_fill(w == 0, 0)
        return cost.view(len(logits), *logits.shape[2:])


class CrossEntropyLoss(_PixelLoss):
    """-1/L sum_i sum_c y_ic log p_ic

    the mean over the L pixels of all images that are not ignored; at least 0. With one channel
    -(y log p + (1 - y) log(1 - p)). Class indices and small inputs use torch's own function;
    other large inputs are computed in blocks: in float32 the value is right to 1e-6 of itself.
    """

    minimiser = "p = q"
    kernel = RegionSums({"nll"})

    def reduce(self, sums: Sums) -> Scalar:
        return sums.nll.sum() / or_one(sums.count[:, 0].sum())

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        x, y, w = read(logits, target, self.ignore_index, weight)
        with no_autocast(logits):
            if w is not None or not (is_small(x) or y.dim() == 2):
                return self.reduce(self.kernel(x, y, w))
            x = wide(x)
            if y.dim() == 3:
                return nll(x, y.to(x.dtype)).mean()
            if is_readable(x):
                return F.cross_entropy(x, y.long())
            # On a GPU torch's mean over class indices is not deterministic.
            return F.cross_entropy(x, y.long(), reduction="none").mean()

    def cost(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        return nll(x, dense_target(y, x.shape[1], x.dtype))


class LabelSmoothingLoss(CrossEntropyLoss):
    """-1/L sum_i sum_c y'_ic log p_ic, y' = (1 - smoothing) y + smoothing / C

    at least 0 (C = 2 with one channel), and not 0 at a perfect prediction.
    Source: Szegedy et al., Rethinking the Inception architecture, 2016.
    """

    minimiser = "p = (1 - smoothing) q + smoothing / C"
    value = SegmentationLoss.value

    def __init__(self, *, smoothing: float = 0.1, **options):
        super().__init__(**options)
        self.smoothing = number("smoothing", smoothing, 0, 1)
        # Without smoothing a class of logit -inf costs nothing, but its `flat` is infinite.
        self.kernel = RegionSums({"nll", "flat"} if self.smoothing else {"nll"})

    def reduce(self, sums: Sums) -> Scalar:
        if not self.smoothing:
            return super().reduce(sums)
        smooth = (1 - self.smoothing) * sums.nll + self.smoothing * sums.flat
        return smooth.sum() / or_one(sums.count[:, 0].sum())

    def cost(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        cost = (1 - self.smoothing) * super().cost(x, y, w)
        if not self.smoothing:
            return cost
        return cost + self.smoothing * nll(x, torch.full_like(x, 1 / max(2, x.shape[1])))


class _CostBlocks(Blocks):
    """Closed form for two classes and hard targets: d log p / dx = (2 y - 1)(1 - p), p of the true
    class.
    """

    def value_and_gradient(self, kernel: _CostSums, block: Block, out: Tensor) -> Tensor:
        x, y, w = block
        if x.shape[1] > 1 or not is_hard(y):
            return super().value_and_gradient(kernel, block, out)
        sign = 2 * y - 1
        z = x * sign
        miss = torch.sigmoid(-z)
        # log p = min(z, 0) + log(1 - min(p, 1 - p)), right also where p is nearly 1.
        log_p = torch.minimum(miss, 1 - miss).neg_().log1p_().add_(z.clamp_max_(0))
        with torch.enable_grad():
            cost = kernel.cost(log_p.requires_grad_())
            (slope,) = torch.autograd.grad(cost.sum(), log_p)
        share = None if kernel.weights is None else two_weights(y, kernel.weights)
        gradient = torch.mul(slope, miss, out=miss).mul_(sign)
        for factor in (share, w):
            gradient = gradient if factor is None else gradient.mul_(factor)
        out.copy_(gradient)
        return kernel.total(cost.detach(), share, w)


class _CostSums(Kernel):
    """Sum over pixels of sum_c v_c y_c cost(log p_c), one per image: (1, n, 1)."""

    single = True
    blocks = _CostBlocks()

    def __init__(self, cost: Callable[[Tensor], Tensor], weights: Weights | None = None):
        self.cost, self.weights = cost, weights

    def sums(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        log_p, share = true_classes(x, y, self.weights)
        return self.total(self.cost(log_p), share, w)

    @staticmethod
    def total(cost: Tensor, share: Tensor | None, w: Tensor | None) -> Tensor:
        cost = cost if share is None else cost * share
        return (cost if w is None else cost * w).sum((1, 2)).view(1, -1, 1)


def is_hard(y: Float[Tensor, "n c l"]) -> bool:
    """Return whether every target, of [0, 1], is 0 or 1; False where that would need a sync."""
    return is_readable(y) and not torch.dot(y.flatten(), (1 - y).flatten()).item()


def two_weights(y: Float[Tensor, "n 1 l"], weights: Weights) -> Float[Tensor, "n 1 l"]:
    """Return the weight of each pixel's class, for two classes."""
    return weights[0] + (weights[1] - weights[0]) * y


def true_classes(
    x: Float[Tensor, "n c l"], y: Float[Tensor, "n c l"], weights: Weights | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return log p and the share v_c y_c of each class (n, c, l); a pixel costs the sum over c.

    If every target is hard, c = 1: the true class alone, which saves the logarithms of the others.
    weights: v of the classes. The share is None if it is 1 everywhere. log p is 0, not -inf, where
    the share is 0.
    """
    hard, one = is_hard(y), x.shape[1] == 1
    share = None
    if not (hard and weights is None):
        share = torch.cat([1 - y, y], 1) if one else y
        share = share if weights is None else share * _each(weights, share).view(1, -1, 1)
    if one and hard:
        log_p = F.logsigmoid(x * (2 * y - 1))
    else:
        log_p = F.logsigmoid(torch.cat([-x, x], 1)) if one else F.log_softmax(x, 1)
        log_p = of_true(log_p, y if share is None else share)
    if not hard:
        return log_p, share
    if not one:
        log_p = (log_p * y).sum(1, keepdim=True)
    return log_p, None if share is None else share.sum(1, keepdim=True)


def _each(weights: Weights, like: Float[Tensor, "n c l"]) -> Float[Tensor, " c"]:
    """Return the weight of each class of `like`; nothing is copied from the host."""
    if isinstance(weights, Tensor):
        return weights
    each = like.new_full(like.shape[1:2], weights[1])
    each[0].fill_(weights[0])
    return each


class _CostLoss(_PixelLoss):
    """1/L sum_i sum_c y_ic cost(p_ic), the mean over all pixels that are not ignored."""

    def of_log(self, log_p: Tensor) -> Tensor:
        """Return the cost of pixels from the log probability of their true class."""
        raise NotImplementedError

    def weights(self) -> Weights | None:
        """Return the weights of the classes, or None if all are 1."""
        return None

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        x, y, w = read(logits, target, self.ignore_index, weight)
        with no_autocast(logits):
            cost = _CostSums(self.of_log, self.weights())(x, y, w)
        pixels = x.shape[0] * x.shape[2] if w is None else or_one(w.sum())
        return cost.sum() / pixels

    def cost(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        return _cost(self.of_log, x, y, self.weights())


def _cost(of_log: Callable, x: Tensor, y: Tensor, weights: Weights | None) -> Tensor:
    """Return the cost of each pixel and class."""
    log_p, share = true_classes(x, dense_target(y, x.shape[1], x.dtype), weights)
    return of_log(log_p) if share is None else of_log(log_p) * share


class WeightedCrossEntropyLoss(_PixelLoss):
    """-sum_i sum_c v_c y_ic log p_ic / sum_i sum_c v_c y_ic

    at least 0, and 0 if no pixel has a weight. class_weights: "balanced", v_c = 1 / sum_i y_ic in
    the batch, so that every class present has the same weight; or one v for each class,
    (background, foreground) with one channel. With reduction="none" each pixel's weighted cost, not
    divided by the sum of the weights, as torch's.
    """

    minimiser = "p_c proportional to v_c q_c"

    def __init__(self, *, class_weights: str | Sequence[float] = "balanced", **options):
        super().__init__(**options)
        self.class_weights, values = class_weights, None
        if isinstance(class_weights, str):
            choose("class_weights", class_weights, ("balanced",))
        else:
            self.class_weights = class_weights_of(class_weights)
            values = torch.tensor(self.class_weights, dtype=torch.float64)
        self.register_buffer("_class_weights", values, persistent=False)

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        x, y, w = read(logits, target, self.ignore_index, weight)
        size = _class_sizes(x, y, w)
        weights = self.weights(size)
        total = or_one((weights * size).sum())
        with no_autocast(logits):
            return _CostSums(torch.neg, weights / total)(x, y, w).sum()

    def cost(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        return _cost(torch.neg, x, y, self.weights(_class_sizes(x, y, w)))

    def weights(self, size: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Return the weights of the classes from their numbers of pixels."""
        classes = len(size)
        if self.class_weights == "balanced":
            weights = torch.where(size > 0, 1 / size.clamp_min(1e-12), 0.0)
        elif len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights must be {classes}, one for each class, "
                f"got {len(self.class_weights)}"
            )
        else:
            weights = self._class_weights.to(size)
        return weights


def _class_sizes(
    x: Float[Tensor, "n c l"],
    y: Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"],
    w: Tensor | None,
) -> Float[Tensor, " k"]:
    """Return sum_i w_i y_ic over the batch, for C classes (two for the sigmoid)."""
    dtype, counted = wide(x[:0]).dtype, w is None or w.dtype == torch.bool
    if y.dim() == 2 and counted and is_readable(y):
        index = y if w is None else y[w.squeeze(1)]
        return torch.bincount(index.flatten().long(), minlength=x.shape[1]).to(dtype)
    if y.dim() == 2:
        hits = y == torch.arange(x.shape[1], device=y.device).view(-1, 1, 1)
        return (hits if w is None else hits * w.squeeze(1)).sum((1, 2)).to(dtype)
    y = y.to(dtype) if w is None else y.to(dtype) * w
    size = y.sum((0, 2))
    if len(size) > 1:
        return size
    pixels = y.shape[0] * y.shape[2] if w is None else w.sum()
    return torch.cat([pixels - size, size])


class FocalLoss(_CostLoss):
    """-1/L sum_i sum_c a_c y_ic (1 - p_ic)^gamma log p_ic

    at least 0; p is the softmax, or the sigmoid with one channel. gamma = 0 is cross-entropy.
    alpha: None, or a_c = alpha for every class but 0 and 1 - alpha for class 0, the background.
    Source: Lin et al., Focal loss for dense object detection, 2017.
    """

    minimiser = "between 1/2 and q: pulled towards 1/2, on the same side of 1/2 as q"

    def __init__(self, *, gamma: float = 2.0, alpha: float | None = None, **options):
        super().__init__(**options)
        self.gamma = number("gamma", gamma, 0)
        self.alpha = alpha if alpha is None else number("alpha", alpha, 0, 1)

    def weights(self) -> Weights | None:
        return None if self.alpha is None else (1 - self.alpha, self.alpha)

    def of_log(self, log_p: Tensor) -> Tensor:
        if self.gamma == 0:
            return -log_p
        miss = 1 - log_p.exp()
        if self.gamma < 1:
            # Below eps, 1 - p is rounding alone, and a root of it has no finite slope.
            miss = miss.clamp_min(torch.finfo(log_p.dtype).eps)
        return -log_p * miss**self.gamma


class GeneralizedCrossEntropyLoss(_CostLoss):
    """1/L sum_i sum_c y_ic (1 - p_ic^q) / q

    in [0, 1/q]. q near 0 is cross-entropy; q = 1 is the mean absolute error, which tolerates noisy
    labels.
    Source: Zhang and Sabuncu, Generalized cross entropy loss, 2018.
    """

    minimiser = "p_c proportional to q_c^(1 / (1 - k)), k the option q: sharper than q_c"

    def __init__(self, *, q: float = 0.7, **options):
        super().__init__(**options)
        self.q = number("q", q, 0, 1, above=0)

    def of_log(self, log_p: Tensor) -> Tensor:
        return -torch.expm1(self.q * log_p) / self.q


class TopKLoss(SegmentationLoss):
    """The mean of the largest `fraction` of the pixels' cross-entropies

    at least 0; over the pixels of all images that are not ignored, and at least one of them.
    fraction = 1 is cross-entropy.
    Source: Wu et al., Bridging category-level and instance-level segmentation, 2016.
    """

    minimiser = "fraction = 1: p = q; less: pulled towards 1/2"
    whole_batch = "the largest costs are those of all images together"

    def __init__(self, *, fraction: float = 0.1, **options):
        super().__init__(**options)
        self.fraction = number("fraction", fraction, 0, 1, above=0)

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        if weight is not None and weight.dtype != torch.bool:
            raise ValueError("the largest costs have no weights; allowed: weight of type bool")
        x, y, counts = read(logits, target, self.ignore_index, weight)
        x = wide(x)
        with no_autocast(logits):
            cost = nll(x, dense_target(y, x.shape[1], x.dtype))
        if counts is not None and not is_readable(x):
            return self._of_counted(cost, counts)
        cost = cost.flatten() if counts is None else cost[counts]
        if cost.numel() == 0:
            return x.sum() * 0
        return cost.topk(max(1, math.floor(self.fraction * cost.numel())), sorted=False)[0].mean()

    def _of_counted(self, cost: Float[Tensor, "n 1 l"], counts: Bool[Tensor, "n 1 l"]) -> Scalar:
        """Return the loss of the counted pixels, whose number is not read on the host."""
        most = max(1, math.floor(self.fraction * cost.numel()))
        top = cost.masked_fill(~counts, -torch.inf).flatten().topk(most)[0]
        size = counts.sum()
        chosen = (self.fraction * size.double()).floor().clamp_min(1).minimum(size)
        rank = torch.arange(most, device=top.device)
        return top.masked_fill(rank >= chosen, 0).sum() / chosen.clamp_min(1).to(top.dtype)
