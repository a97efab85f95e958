"""Region size.

Cross-entropy and a distance between predicted and true proportions of the classes in each image.

    >>> import torch
    >>> from losses import build
    >>> target = torch.tensor([[[1, 0, 0, 0]]])
    >>> even, quarter = torch.zeros(1, 1, 1, 4), torch.full((1, 1, 1, 4), 0.25).logit()
    >>> for name in ("cross_entropy", "ce_l1", "ce_kl"):
    ...     print(name, *(f"{build(name)(x, target):.3f}" for x in (even, quarter)))
    cross_entropy 0.693 0.562
    ce_l1 1.193 0.562
    ce_kl 0.824 0.562
"""

# ruff: noqa: D102 - methods of the interface are documented in the base class
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ._interface import SegmentationLoss
from ._optional import Float
from ._options import number
from ._reading import Logits, Scalar, Target, Weight, no_autocast, or_one, read, wide
from ._sums import RegionSums, Sums, of_true


class _SizeLoss(SegmentationLoss):
    """L_CE + size times the mean over images of a distance between proportions of classes."""

    def __init__(self, *, size: float = 1.0, **options):
        super().__init__(**options)
        self.size = number("size", size, 0)

    def total(self, sums: Sums, distance: Float[Tensor, " n"]) -> Scalar:
        """Return the loss from the sums and the distance of each image."""
        pixels = sums.count[:, 0]
        images = or_one((pixels > 0).sum())
        return sums.nll.sum() / or_one(pixels.sum()) + self.size * (distance.sum() / images)


class CrossEntropyL1Loss(_SizeLoss):
    """L_CE + size 1/N sum_n sum_c |mean p_c - mean y_c|

    at least 0; means over the pixels of image n that are not ignored. An image with all pixels
    ignored is left out of the mean over N. One channel is two classes: background 1 - p, 1 - y.
    Pixels that are certain background, predicted and true, add no size; they dilute both parts.
    With size = 1 both parts have the same slope, 2, in mean p of a rare class if p = 1/2
    everywhere. The authors tune the weight (0.1 by default in their code, where it may grow during
    the training), and their code takes the mean over the channels instead of the sum.
    Source: Liu et al., Do we really need Dice?, 2024.
    """

    minimiser = "p = q, pulled towards the median of the true size if that is uncertain"
    kernel = RegionSums({"nll", "predicted"})

    def reduce(self, sums: Sums) -> Scalar:
        distance = ((sums.predicted - sums.target).abs() / or_one(sums.count)).sum(1)
        return self.total(sums, distance if sums.count.shape[1] > 1 else 2 * distance)


class CrossEntropyKLLoss(_SizeLoss):
    """L_CE + size 1/N sum_n sum_c mean y_c log(mean y_c / mean p_c)

    at least 0; means, classes and images as in ce_l1. The logarithm of mean p_c is computed from
    logits, so its gradient does not vanish where p does. With size = 1 both parts have the same
    gradient if all pixels of an image have the same p. The authors tune the weight (0.1 by default
    in their code, where it may grow during the training).
    Source: Liu et al., Do we really need Dice?, 2024.
    """

    minimiser = "p = q"
    kernel = RegionSums({"nll"})

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        x, y, w = read(logits, target, self.ignore_index, weight)
        x = wide(x)  # the parts' gradients partly cancel, so they are added before they are rounded
        with no_autocast(logits):
            sums = self.kernel(x, y, w)
            return self.total(sums, _divergence(x, w, sums))


def _divergence(x: Float[Tensor, "n c l"], w: Tensor | None, sums: Sums) -> Float[Tensor, " n"]:
    """Return the KL divergence of predicted from true proportions, of two classes with C = 1."""
    count, true = sums.count, sums.target
    if x.shape[1] == 1:
        log_p = F.logsigmoid(torch.cat([-x, x], 1))
        true = torch.cat([(count - true).clamp_min(0), true], 1)
    else:
        log_p = F.log_softmax(x, 1)
    if w is not None:
        log_p = log_p + w.to(x.dtype).log()
    log_sum = of_true(log_p, true.unsqueeze(2)).logsumexp(2)
    return (true * (or_one(true).log() - log_sum)).sum(1) / or_one(count[:, 0])
