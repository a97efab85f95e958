"""Losses that are a mean over pixels of a cost of the probability of the true class.

With one channel there are two classes all the same: foreground p, background 1 - p.
"""

import math

import torch
from torch.nn import functional as F

from losses._base import (
    Kernel,
    RegionSums,
    SegmentationLoss,
    choose,
    dense_target,
    is_small,
    nll,
    no_autocast,
    number,
    read,
    wide,
)


class CrossEntropyLoss(SegmentationLoss):
    """-1/L sum_i sum_c y_ic log p_ic

    the mean over the L pixels of all images that are not ignored; at least 0. With one channel
    -(y log p + (1 - y) log(1 - p)). Class indices and small inputs go through torch's own
    function, other large ones by blocks: value right to 1e-7 in float32, gradient exact.
    """

    minimiser = "p = q"
    kernel = RegionSums({"nll"})

    def reduce(self, sums):
        return sums.nll.sum() / sums.count[:, 0].sum().clamp_min(1)

    def forward(self, logits, target):
        x, y, counts = read(logits, target, self.ignore_index)
        with no_autocast(logits):
            if counts is not None or not (is_small(x) or y.dim() == 2):
                return self.reduce(self.kernel(x, y, counts))
            x = wide(x)
            if x.shape[1] == 1:
                return F.binary_cross_entropy_with_logits(x, y.to(x.dtype))
            return F.cross_entropy(x, y.long() if y.dim() == 2 else y.to(x.dtype))


class LabelSmoothingLoss(CrossEntropyLoss):
    """-1/L sum_i sum_c y'_ic log p_ic, y' = (1 - smoothing) y + smoothing / C

    at least 0 (C = 2 with one channel), and not 0 at a perfect prediction.
    Source: Szegedy et al., Rethinking the Inception architecture, 2016.
    """

    minimiser = "p = (1 - smoothing) q + smoothing / C"
    kernel = RegionSums({"nll", "flat"})
    forward = SegmentationLoss.forward

    def __init__(self, *, smoothing=0.1, **options):
        super().__init__(**options)
        self.smoothing = number("smoothing", smoothing, 0, 1)

    def reduce(self, sums):
        smooth = (1 - self.smoothing) * sums.nll + self.smoothing * sums.flat
        return smooth.sum() / sums.count[:, 0].sum().clamp_min(1)


class _CostSums(Kernel):
    """Sum over pixels of sum_c v_c y_c cost(log p_c), one per image: (1, n, 1)."""

    single = True

    def __init__(self, cost, weights=None):
        self.cost, self.weights = cost, weights

    def sums(self, x, y, w):
        log_p, share = true_classes(x, y, self.weights)
        return self._total(self.cost(log_p), share, w)

    @staticmethod
    def _total(cost, share, w):
        cost = cost if share is None else cost * share
        return (cost if w is None else cost * w).sum((1, 2)).view(1, -1, 1)

    def value_and_gradient(self, x, y, w, out):
        """Two classes and hard targets: d log p / dx = (2 y - 1)(1 - p), p of the true class."""
        if x.shape[1] > 1 or not is_hard(y):
            return super().value_and_gradient(x, y, w, out)
        sign = 2 * y - 1
        z = x * sign
        miss = torch.sigmoid(-z)
        # log p = min(z, 0) + log max(p, 1 - p): a logarithm takes a fifth of log1p's time.
        log_p = torch.maximum(miss, 1 - miss).log_().add_(z.clamp_max_(0))
        with torch.enable_grad():
            cost = self.cost(log_p.requires_grad_())
            (slope,) = torch.autograd.grad(cost.sum(), log_p)
        share = None if self.weights is None else two_weights(y, self.weights)
        gradient = torch.mul(slope, miss, out=miss).mul_(sign)
        for factor in (share, w):
            gradient = gradient if factor is None else gradient.mul_(factor)
        out.copy_(gradient)
        return self._total(cost.detach(), share, w)


def is_hard(y):
    """Whether every target, of [0, 1], is 0 or 1; asked on a CPU only: elsewhere it would wait."""
    return y.device.type == "cpu" and not torch.dot(y.flatten(), (1 - y).flatten()).item()


def two_weights(y, weights):
    """The weight of each pixel's class, of two."""
    return weights[0] + (weights[1] - weights[0]) * y


def true_classes(x, y, weights=None):
    """log p and the share v_c y_c of each class (n, c, l) that a pixel's cost is the sum over.

    Where every target is hard, c = 1: the true class alone, which saves the others' logarithms.
    weights: v of the C classes (two for the sigmoid). The share is None where it is 1 throughout.
    """
    hard = is_hard(y)
    if x.shape[1] == 1:
        log_p = F.logsigmoid(x * (2 * y - 1) if hard else torch.cat([-x, x], 1))
    else:
        log_p = F.log_softmax(x, 1)
        if hard:
            log_p = (log_p * y).sum(1, keepdim=True)
    if hard and weights is None:
        return log_p, None
    share = torch.cat([1 - y, y], 1) if x.shape[1] == 1 else y
    if weights is not None:
        share = share * share.new_tensor(weights).view(1, -1, 1)
    return log_p, share.sum(1, keepdim=True) if hard else share


class _CostLoss(SegmentationLoss):
    """1/L sum_i sum_c y_ic cost(p_ic), the mean over all pixels that are not ignored."""

    def cost(self, log_p):
        """The cost of a pixel whose true class has this log probability."""
        raise NotImplementedError

    def weights(self, classes):
        """A weight for each of the classes (two for the sigmoid), or None."""
        return None

    def forward(self, logits, target):
        x, y, counts = read(logits, target, self.ignore_index)
        weights = self.weights(max(2, x.shape[1]))
        with no_autocast(logits):
            cost = _CostSums(self.cost, weights)(x, y, counts)
        number_of = x.shape[0] * x.shape[2] if counts is None else counts.sum().clamp_min(1)
        return cost.sum() / number_of


class WeightedCrossEntropyLoss(SegmentationLoss):
    """-sum_i sum_c v_c y_ic log p_ic / sum_i sum_c v_c y_ic

    at least 0. class_weights: "balanced", v_c = 1 / sum_i y_ic in the batch, so that every class
    present weighs the same; or one v for each class, (background, foreground) with one channel.
    """

    minimiser = "p_c proportional to v_c q_c"

    def __init__(self, *, class_weights="balanced", **options):
        super().__init__(**options)
        self.class_weights = class_weights
        if isinstance(class_weights, str):
            choose("class_weights", class_weights, ("balanced",))
        else:
            self.class_weights = [number("class_weights", v, 0) for v in class_weights]

    def forward(self, logits, target):
        x, y, counts = read(logits, target, self.ignore_index)
        classes = max(2, x.shape[1])
        size = _class_sizes(x, y, counts)
        if self.class_weights == "balanced":
            weights = torch.where(size > 0, 1 / size.clamp_min(1e-12), 0.0)
        elif len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights must be {classes}, one for each class, "
                f"got {len(self.class_weights)}"
            )
        else:
            weights = size.new_tensor(self.class_weights)
        total = (weights * size).sum().clamp_min(torch.finfo(size.dtype).tiny)
        with no_autocast(logits):
            cost = _CostSums(torch.neg, (weights / total).tolist())(x, y, counts)
        return cost.sum()


def _class_sizes(x, y, counts):
    """sum_i y_ic over the batch, for C classes (two for the sigmoid)."""
    dtype = wide(x[:0]).dtype
    if y.dim() == 2:
        index = y if counts is None else y[counts.squeeze(1)]
        return torch.bincount(index.flatten().long(), minlength=x.shape[1]).to(dtype)
    y = y.to(dtype) if counts is None else y.to(dtype) * counts
    size = y.sum((0, 2))
    if len(size) > 1:
        return size
    pixels = y.shape[0] * y.shape[2] if counts is None else counts.sum()
    return torch.cat([pixels - size, size])


class FocalLoss(_CostLoss):
    """-1/L sum_i sum_c a_c y_ic (1 - p_ic)^gamma log p_ic

    at least 0; p over the softmax, or the sigmoid with one channel. gamma = 0 is cross-entropy.
    alpha: None, or a_c = alpha for every class but 0 and 1 - alpha for class 0, the background.
    Source: Lin et al., Focal loss for dense object detection, 2017.
    """

    minimiser = "between 1/2 and q: drawn towards 1/2, and on q's side of it"

    def __init__(self, *, gamma=2.0, alpha=None, **options):
        super().__init__(**options)
        self.gamma = number("gamma", gamma, 0)
        self.alpha = alpha if alpha is None else number("alpha", alpha, 0, 1)

    def weights(self, classes):
        return None if self.alpha is None else [1 - self.alpha] + [self.alpha] * (classes - 1)

    def cost(self, log_p):
        if self.gamma == 0:
            return -log_p
        miss = 1 - log_p.exp()
        if self.gamma < 1:
            # Below eps, 1 - p is rounding alone, and a root of it has no finite slope.
            miss = miss.clamp_min(torch.finfo(log_p.dtype).eps)
        return -log_p * miss**self.gamma


class GeneralizedCrossEntropyLoss(_CostLoss):
    """1/L sum_i sum_c y_ic (1 - p_ic^q) / q

    in [0, 1/q]. q near 0 is cross-entropy, q = 1 the mean absolute error, which bears noisy labels.
    Source: Zhang and Sabuncu, Generalized cross entropy loss, 2018.
    """

    minimiser = "p_c proportional to q_c^(1 / (1 - k)), k the option q: sharper than q_c"

    def __init__(self, *, q=0.7, **options):
        super().__init__(**options)
        self.q = number("q", q, 0, 1, above=0)

    def cost(self, log_p):
        return -torch.expm1(self.q * log_p) / self.q


class TopKLoss(SegmentationLoss):
    """The mean of the largest `fraction` of the pixels' cross-entropies

    at least 0; over the pixels of all images that are not ignored, and at least one of them.
    fraction = 1 is cross-entropy.
    Source: Wu et al., Bridging category-level and instance-level segmentation, 2016.
    """

    minimiser = "fraction = 1: p = q; less: drawn towards 1/2"

    def __init__(self, *, fraction=0.1, **options):
        super().__init__(**options)
        self.fraction = number("fraction", fraction, 0, 1, above=0)

    def forward(self, logits, target):
        x, y, counts = read(logits, target, self.ignore_index)
        x = wide(x)
        with no_autocast(logits):
            cost = nll(x, dense_target(y, x.shape[1], x.dtype))
        cost = cost.flatten() if counts is None else cost[counts]
        if cost.numel() == 0:
            return x.sum() * 0
        return cost.topk(max(1, math.floor(self.fraction * cost.numel())), sorted=False)[0].mean()
