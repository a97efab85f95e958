"""Overlap: a formula in an image's sums.

Each loss is a formula in the sums over the pixels of an image and class (`losses._sums.Sums`):
predicted sum p, true sum y, both sum p y. The formula defines the loss; `OverlapLoss` defines the
options of all of them.

    >>> import torch
    >>> from losses import build
    >>> logits = torch.full((1, 1, 2, 2), 20.0)  # predicts all four pixels
    >>> target = torch.tensor([[[1, 1], [0, 0]]])
    >>> round(build("dice")(logits, target).item(), 4)  # 1 - 2 * 2 / (4 + 2)
    0.3333
    >>> round(build("jaccard")(logits, target).item(), 4)  # 1 - 2 / 4
    0.5
"""

# ruff: noqa: D102 - methods of the interface are documented in the base class
from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ._blocks import Blocks
from ._interface import SegmentationLoss
from ._optional import Bool, Float
from ._options import choose, class_weights_of, number
from ._reading import Scalar, is_readable, probability
from ._sums import RegionSums, Sums


class OverlapLoss(SegmentationLoss):
    """The mean, over images and classes, of a formula in their sums.

    per: "image" scores each image and class and takes the mean; "batch" sums over the images
        first and scores each class once.
    smooth: added to numerator and denominator of the formula's ratio, or to the denominator alone
        (smooth_in="both", "denominator"). 0 is the formula as printed.
    background: False leaves class 0 out of the mean; C > 1 only, and not with class_weights: set
        the first weight to 0 instead.
    class_weights: C weights of the mean over classes; None weighs them equally.
    empty: the cost of a class without a true pixel (in the image, or batch). "background": the
        formula of 1 - p and 1 - y, so 0 if nothing is predicted, 1 if everything is, and a
        gradient of about 1/(2 L) at each of L pixels. "smooth": the formula, where smooth > 0
        alone sets the value, with almost no gradient. "skip": the class is left out of the mean,
        so false positives there cost nothing.
    ignore_index: see `SegmentationLoss`. An image with all pixels ignored is left out of the mean.
    reduction: "mean", or "none" for the loss of each image alone, (N,); not with per="batch".
    """

    terms = ("overlap", "predicted")
    """The sums in the formula, without target and count."""

    def __init__(
        self,
        *,
        per: str = "image",
        smooth: float = 0.0,
        smooth_in: str = "both",
        background: bool = True,
        class_weights: Sequence[float] | None = None,
        empty: str = "background",
        ignore_index: int | None = None,
        reduction: str = "mean",
    ):
        super().__init__(ignore_index=ignore_index, reduction=reduction)
        self.per = choose("per", per, ("image", "batch"))
        self.smooth = number("smooth", smooth, 0)
        self.smooth_in = choose("smooth_in", smooth_in, ("both", "denominator"))
        self.background = choose("background", background, (True, False))
        self.class_weights, values = class_weights, None
        if class_weights is not None:
            self.class_weights = class_weights_of(class_weights)
            if not self.background:
                raise ValueError(
                    "background=False and class_weights both weigh class 0: "
                    "to leave it out, set the first class weight to 0"
                )
            values = torch.tensor(self.class_weights, dtype=torch.float64)
        self.register_buffer("_class_weights", values, persistent=False)
        self.empty = choose("empty", empty, ("background", "smooth", "skip"))
        if self.empty == "smooth" and not self.smooth > 0:
            raise ValueError(f"empty='smooth' needs smooth above 0, got {smooth!r}")
        self.kernel = RegionSums({*self.terms, "predicted"})

    @property
    def whole_batch(self) -> str | None:
        """The reason why the loss has no values for each image."""
        return "per='batch' scores all images together" if self.per == "batch" else None

    def formula(self, s: Sums) -> Float[Tensor, "n c"]:
        """Return the loss of each image and class from their sums."""
        raise NotImplementedError

    def ratio(self, numerator: Tensor, denominator: Tensor) -> Tensor:
        """Return numerator / denominator, smoothed."""
        if self.smooth == 0:
            return numerator / denominator
        top = numerator + self.smooth if self.smooth_in == "both" else numerator
        return top / (denominator + self.smooth)

    def reduce(self, sums: Sums) -> Scalar:
        """Return the loss of the batch from the sums of each image and class."""
        if self.per == "batch":
            sums = sums.map(lambda v: v.sum(0, keepdim=True))
        weights = self._weights(sums.target)
        if not self.background:
            sums = sums.map(lambda v: v[:, 1:])
        empty = sums.target == 0
        if not is_readable(empty) or empty.any():
            if self.empty == "background":
                sums = sums.where(empty, sums.of_background())
            if is_readable(empty) or self.empty == "skip" or sums.partial:
                sums, weights = self._omit(sums, weights, empty)
        return self.combine(sums, weights, empty)

    def combine(
        self, sums: Sums, weights: Float[Tensor, "_ c"] | None, empty: Bool[Tensor, "n c"]
    ) -> Scalar:
        """Return the weighted mean of the formula over images and classes; None weighs equally."""
        loss = self.formula(sums)
        if weights is None:
            return loss.mean()
        weights = weights.expand_as(loss)
        return (weights * loss).sum() / weights.sum().clamp_min(torch.finfo(loss.dtype).tiny)

    def _omit(
        self, sums: Sums, weights: Tensor | None, empty: Tensor
    ) -> tuple[Sums, Float[Tensor, "n c"]]:
        """Return the sums and the weights, 0 where nothing is counted or `empty` says "skip"."""
        omitted = sums.count == 0
        if self.empty == "skip":
            omitted = omitted | empty
        # Omitted entries still go through the formula; fill them with any finite value.
        sums = sums.map(lambda v: v.masked_fill(omitted, 1.0))
        return sums, (~omitted).to(sums.target.dtype) * (1 if weights is None else weights)

    def _weights(self, like: Tensor) -> Tensor | None:
        """Return the class weights, of the type of `like` (N, C), or None if all are equal."""
        classes = like.shape[1]
        if not self.background and classes == 1:
            raise ValueError("background=False needs logits of more than one channel")
        if self.class_weights is None:
            return None
        if len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights must be {classes}, one for each channel of the logits, "
                f"got {len(self.class_weights)}"
            )
        return self._class_weights.to(like)


class DiceLoss(OverlapLoss):
    """1 - 2 sum(p y) / (sum p + sum y)

    in [0, 1]; on soft targets its minimiser is 0 or 1, not the target.
    Source: Drozdzal et al., The importance of skip connections, 2016.
    """

    minimiser = "p = 1 where q > d/2, else 0 (d the Dice score reached)"

    def formula(self, s: Sums) -> Tensor:
        return 1 - self.ratio(2 * s.overlap, s.predicted + s.target)


class SquaredDiceLoss(OverlapLoss):
    """1 - 2 sum(p y) / (sum p^2 + sum y^2)

    in [0, 1]; 0 at p = y also for soft y.
    Source: Milletari et al., V-Net, 2016.
    """

    terms = ("overlap", "squared")
    minimiser = "p = min(1, q/d) (d the squared Dice score reached)"

    def formula(self, s: Sums) -> Tensor:
        return 1 - self.ratio(2 * s.overlap, s.squared + s.target_squared)


class ArticleDiceLoss(OverlapLoss):
    """1 - 2 sum(p y) / ((sum p)^2 + (sum y)^2)

    The formula printed in the article, taken literally. It is not a Dice loss: at a perfect match
    of n foreground pixels it is 1 - 1/n, not 0, and its gradient shrinks like 1/n^2. In [0, 1].
    Source: the article.
    """

    minimiser = "p = 1 at the highest q, up to a volume that depends on sum q"

    def formula(self, s: Sums) -> Tensor:
        return 1 - self.ratio(2 * s.overlap, s.predicted.square() + s.target.square())


class JaccardLoss(OverlapLoss):
    """1 - sum(p y) / (sum p + sum y - sum(p y))

    in [0, 1]; 2 L / (1 + L) of the Dice loss L of the same sums.
    Source: Rahman and Wang, Optimizing intersection-over-union in deep networks, 2016.
    """

    minimiser = "p = 1 where q > j / (1 + j), else 0 (j the Jaccard index reached)"
    alpha = beta = 1.0

    def overlap(self, s: Sums) -> Tensor:
        """Return the true positives."""
        return s.overlap

    def formula(self, s: Sums) -> Tensor:
        tp = self.overlap(s)
        errors = self.alpha * (s.predicted - tp) + self.beta * (s.target - tp)
        return 1 - self.ratio(tp, tp + errors)


class TverskyLoss(JaccardLoss):
    """1 - TP / (TP + alpha FP + beta FN), TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y

    in [0, 1]. alpha weighs false positives, beta false negatives; alpha = beta = 1/2 is Dice,
    alpha = beta = 1 Jaccard.
    Source: Salehi et al., Tversky loss function for image segmentation, 2017.
    """

    minimiser = "p = 1 where q > alpha T / (1 - (1 - alpha - beta) T), else 0 (T = 1 - loss)"

    def __init__(self, *, alpha: float = 0.5, beta: float = 0.5, **options):
        super().__init__(**options)
        self.alpha = number("alpha", alpha, 0)
        self.beta = number("beta", beta, 0)
        if alpha + beta == 0:
            raise ValueError("alpha and beta must not both be 0")


class FocalTverskyLoss(TverskyLoss):
    """L^(1 / gamma), L the Tversky loss

    in [0, 1]. gamma > 1 raises the gradient where the overlap is already good. Computed as
    L (L + eps)^(1/gamma - 1), with a finite gradient at L = 0.
    Source: Abraham and Khan, A novel focal Tversky loss function, 2019.
    """

    minimiser = TverskyLoss.minimiser

    def __init__(self, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3, **options):
        super().__init__(alpha=alpha, beta=beta, **options)
        self.gamma = number("gamma", gamma, above=0)

    def formula(self, s: Sums) -> Tensor:
        loss = super().formula(s).clamp_min(0)
        return loss * (loss + torch.finfo(loss.dtype).eps) ** (1 / self.gamma - 1)


class GeneralizedDiceLoss(OverlapLoss):
    """1 - 2 sum_c w_c sum(p y) / sum_c w_c (sum p + sum y), w_c = 1 / (sum y)^2

    in [0, 1]; sums over the pixels of class c. A class without a true pixel has weight 0; if no
    class has one, the rule of `empty` applies. With one channel the weight cancels: Dice.
    Source: Sudre et al., Generalised Dice overlap as a deep learning loss function, 2017.
    """

    minimiser = "as Dice, with one d for all classes"

    def combine(self, sums: Sums, weights: Tensor | None, empty: Tensor) -> Scalar:
        counts = torch.ones_like(sums.target) if weights is None else weights.expand_as(empty)
        # As (least / sum y)^2: the same ratio, and the square stays in range.
        size = torch.where(empty | (counts == 0), torch.inf, sums.target)
        least = size.amin(1, keepdim=True)
        scale = torch.where(least.isinf(), 1.0, least / size).square() * counts
        counts = (counts > 0).any(1)
        top = (scale * 2 * sums.overlap).sum(1)
        bottom = (scale * (sums.predicted + sums.target)).sum(1)
        loss = 1 - self.ratio(top, torch.where(counts, bottom, 1.0))
        return torch.where(counts, loss, 0.0).sum() / counts.sum().clamp_min(1)


class LogCoshDiceLoss(DiceLoss):
    """log cosh L, L the Dice loss

    in [0, log cosh 1 = 0.434]; flat where L is near 0.
    Source: Jadon, A survey of loss functions for semantic segmentation, 2020.
    """

    def formula(self, s: Sums) -> Tensor:
        return super().formula(s).cosh().log()


class JDTLoss(TverskyLoss):
    """1 - TP / (TP + alpha FP + beta FN), TP = (sum p + sum y - sum |p - y|) / 2,
    FP = sum p - TP, FN = sum y - TP

    in [0, 1]; on hard targets the Tversky loss, on soft ones 0 at p = y. alpha = beta = 1 is the
    Jaccard metric loss, 1/2 the Dice semimetric loss.
    Source: Wang et al., Jaccard metric losses, 2023; Dice semimetric losses, 2023.
    """

    terms = ("distance",)
    minimiser = "p = y for a soft target; over hard targets as Tversky"

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, **options):
        super().__init__(alpha=alpha, beta=beta, **options)

    def overlap(self, s: Sums) -> Tensor:
        return (s.predicted + s.target - s.distance) / 2


class _PowerSums(RegionSums):
    """`RegionSums` and sums of a power of the errors; the gradient by autograd."""

    blocks = Blocks()

    def __init__(self, terms: Iterable[str], gamma: float):
        super().__init__(terms)
        self.gamma = gamma

    def pixels(self, x: Tensor, y: Tensor) -> dict:
        p = probability(x)
        return super().pixels(x, y) | {
            "error": lambda: (p - y).abs() ** self.gamma,
            "missed": lambda: (y * (1 - p)) ** self.gamma,
            "invented": lambda: ((1 - y) * p) ** self.gamma,
        }


class NoiseRobustDiceLoss(OverlapLoss):
    """sum |p - y|^gamma / (sum p^2 + sum y^2)

    at least 0. gamma in [1, 2]: 2 is squared Dice; smaller is more robust to label noise, and can
    exceed 1 if many pixels have a small p. squared=False divides by sum p + sum y, which keeps
    the loss in [0, 1]; with gamma = 1 this is Dice on hard targets.
    Source: Wang et al., A noise-robust framework for COVID-19 lesions (COPLE-Net), 2020.
    """

    minimiser = "gamma = 2: as squared Dice; less: closer to 0 or 1"

    def __init__(self, *, gamma: float = 1.5, squared: bool = True, **options):
        super().__init__(**options)
        self.gamma = number("gamma", gamma, 1, 2)
        self.squared = choose("squared", squared, (True, False))
        terms = {"predicted", "error"} | ({"squared"} if squared else set())
        self.kernel = _PowerSums(terms, self.gamma)

    def formula(self, s: Sums) -> Tensor:
        size = s.squared + s.target_squared if self.squared else s.predicted + s.target
        return 1 - self.ratio(size - s.error, size)


class DicePlusPlusLoss(OverlapLoss):
    """1 - 2 TP / (2 TP + sum (y (1 - p))^gamma + sum ((1 - y) p)^gamma), TP = sum p y

    in [0, 1]. gamma = 1 is Dice; a larger gamma tolerates uncertain pixels, and calibrates.
    Source: Yeung et al., Calibrating the Dice loss (DSC++), 2023.
    """

    minimiser = "gamma = 1: as Dice; larger: between 0 and 1"

    def __init__(self, *, gamma: float = 2.0, **options):
        super().__init__(**options)
        self.gamma = number("gamma", gamma, 1)
        self.kernel = _PowerSums({"overlap", "predicted", "missed", "invented"}, self.gamma)

    def formula(self, s: Sums) -> Tensor:
        return 1 - self.ratio(2 * s.overlap, 2 * s.overlap + s.missed + s.invented)
