"""Losses that measure the overlap of prediction and target.

Each is a formula in the sums over the pixels of an image and class (`losses._base.Sums`): what is
predicted sum p, what is true sum y, what both share sum p y. The formula says what the loss is;
`OverlapLoss` says, once for all, what the options mean.
"""

import torch

from losses._base import Kernel, RegionSums, SegmentationLoss, choose, number, probability


class OverlapLoss(SegmentationLoss):
    """The mean, over images and classes, of a formula in their sums.

    per: "image" scores each image and class and takes the mean; "batch" sums over the images
        first and scores each class once.
    smooth: added to numerator and denominator of the formula's ratio, or to the denominator alone
        (smooth_in="both", "denominator"). 0 is the formula as printed.
    background: False leaves class 0 out of the mean; C > 1 only, and not with class_weights, where
        a first weight of 0 says the same.
    class_weights: C weights of the mean over classes; None weighs them equally.
    empty: what a class without a true pixel (in the image, or batch) costs. "background": what the
        formula says of 1 - p and 1 - y, so 0 where nothing is predicted, 1 where everything is,
        and a gradient of about 1/(2 L) at each of L pixels. "smooth": the formula, which
        smooth > 0 alone decides there, with next to no gradient. "skip": it is left out of the
        mean, so that false positives there cost nothing.
    ignore_index: see `SegmentationLoss`. An image without any pixel left is left out of the mean.
    """

    terms = ("overlap", "predicted")
    """The sums that the formula reads, beside target and count."""

    def __init__(
        self,
        *,
        per="image",
        smooth=0.0,
        smooth_in="both",
        background=True,
        class_weights=None,
        empty="background",
        ignore_index=None,
    ):
        super().__init__(ignore_index=ignore_index)
        self.per = choose("per", per, ("image", "batch"))
        self.smooth = number("smooth", smooth, 0)
        self.smooth_in = choose("smooth_in", smooth_in, ("both", "denominator"))
        self.background = choose("background", background, (True, False))
        self.class_weights = class_weights
        if class_weights is not None:
            self.class_weights = [number("class_weights", w, 0) for w in class_weights]
            if not any(self.class_weights):
                raise ValueError("class_weights must not all be 0")
            if not background:
                raise ValueError(
                    "background=False and class_weights both weigh class 0: "
                    "leave it out by a first class weight of 0"
                )
        self.empty = choose("empty", empty, ("background", "smooth", "skip"))
        if empty == "smooth" and not smooth > 0:
            raise ValueError(f"empty='smooth' needs smooth above 0, got {smooth!r}")
        self.kernel = RegionSums({*self.terms, "predicted"})

    def formula(self, s):
        """The loss of each image and class, (N, C), from their sums."""
        raise NotImplementedError

    def ratio(self, numerator, denominator):
        """numerator / denominator, smoothed."""
        if self.smooth == 0:
            return numerator / denominator
        top = numerator + self.smooth if self.smooth_in == "both" else numerator
        return top / (denominator + self.smooth)

    def reduce(self, sums):
        if self.per == "batch":
            sums = sums.map(lambda v: v.sum(0, keepdim=True))
        weights = self._weights(sums.target)
        if not self.background:
            sums = sums.map(lambda v: v[:, 1:])
        empty = sums.target == 0
        if empty.is_cuda or torch.compiler.is_compiling() or empty.any():
            sums, out = self._where_empty(sums, empty)
            weights = (~out).to(sums.target.dtype) * (1 if weights is None else weights)
        return self.combine(sums, weights, empty)

    def combine(self, sums, weights, empty):
        """The weighted mean of the formula over images and classes; weights None are all equal."""
        loss = self.formula(sums)
        if weights is None:
            return loss.mean()
        weights = weights.expand_as(loss)
        return (weights * loss).sum() / weights.sum().clamp_min(torch.finfo(loss.dtype).tiny)

    def _where_empty(self, sums, empty):
        """The sums as the rule of `empty` wants them, and which are left out of the mean."""
        out = sums.count == 0
        if self.empty == "background":
            other = sums.complement()
            sums = sums.zip(other, lambda v, o: torch.where(empty, o, v))
        elif self.empty == "skip":
            out = out | empty
        # What is left out still passes through the formula: any sums that are finite there do.
        return sums.map(lambda v: torch.where(out, 1.0, v)), out

    def _weights(self, like):
        """The class weights, of the type of `like` (N, C), or None where all are equal."""
        classes = like.shape[1]
        if not self.background and classes == 1:
            raise ValueError("background=False needs logits of more than one channel")
        if self.class_weights is None:
            return None
        if len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights must be {classes}, as many as the logits' channels, "
                f"got {len(self.class_weights)}"
            )
        return like.new_tensor(self.class_weights)


class DiceLoss(OverlapLoss):
    """1 - 2 sum(p y) / (sum p + sum y)

    in [0, 1]; on soft targets its minimiser is 0 or 1, not the target.
    Source: Drozdzal et al., The importance of skip connections, 2016.
    """

    minimiser = "p = 1 where q > d/2, else 0 (d the Dice score reached)"

    def formula(self, s):
        return 1 - self.ratio(2 * s.overlap, s.predicted + s.target)


class SquaredDiceLoss(OverlapLoss):
    """1 - 2 sum(p y) / (sum p^2 + sum y^2)

    in [0, 1]; 0 at p = y also for soft y.
    Source: Milletari et al., V-Net, 2016.
    """

    terms = ("overlap", "squared")
    minimiser = "p = min(1, q/d) (d the squared Dice score reached)"

    def formula(self, s):
        return 1 - self.ratio(2 * s.overlap, s.squared + s.target_squared)


class ArticleDiceLoss(OverlapLoss):
    """1 - 2 sum(p y) / ((sum p)^2 + (sum y)^2)

    The article's printed formula, taken literally. It is not a Dice loss: at a perfect match of n
    foreground pixels it is 1 - 1/n, not 0, and its gradient shrinks like 1/n^2. In [0, 1].
    Source: the article.
    """

    minimiser = "the highest q until a volume is reached, which depends on sum q"

    def formula(self, s):
        return 1 - self.ratio(2 * s.overlap, s.predicted.square() + s.target.square())


class JaccardLoss(OverlapLoss):
    """1 - sum(p y) / (sum p + sum y - sum(p y))

    in [0, 1]; 2 L / (1 + L) of the Dice loss L of the same sums.
    Source: Rahman and Wang, Optimizing intersection-over-union in deep networks, 2016.
    """

    minimiser = "p = 1 where q > j / (1 + j), else 0 (j the Jaccard index reached)"
    alpha = beta = 1.0

    def overlap(self, s):
        """True positives, however the sums tell them."""
        return s.overlap

    def formula(self, s):
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

    def __init__(self, *, alpha=0.5, beta=0.5, **options):
        super().__init__(**options)
        self.alpha = number("alpha", alpha, 0)
        self.beta = number("beta", beta, 0)
        if alpha + beta == 0:
            raise ValueError("alpha and beta must not both be 0")


class FocalTverskyLoss(TverskyLoss):
    """L^(1 / gamma), L the Tversky loss

    in [0, 1]. gamma > 1 raises the gradient where the overlap is already good; taken as
    L (L + eps)^(1/gamma - 1), whose gradient at L = 0 is finite.
    Source: Abraham and Khan, A novel focal Tversky loss function, 2019.
    """

    minimiser = TverskyLoss.minimiser

    def __init__(self, *, alpha=0.3, beta=0.7, gamma=4 / 3, **options):
        super().__init__(alpha=alpha, beta=beta, **options)
        self.gamma = number("gamma", gamma, above=0)

    def formula(self, s):
        loss = super().formula(s).clamp_min(0)
        return loss * (loss + torch.finfo(loss.dtype).eps) ** (1 / self.gamma - 1)


class GeneralizedDiceLoss(OverlapLoss):
    """1 - 2 sum_c w_c sum(p y) / sum_c w_c (sum p + sum y), w_c = 1 / (sum y)^2

    in [0, 1]; sums over the pixels of class c. A class without a true pixel has weight 0; where no
    class has any, the rule of `empty` holds. With one channel the weight cancels and it is Dice.
    Source: Sudre et al., Generalised Dice overlap as a deep learning loss function, 2017.
    """

    minimiser = "as Dice, with one d for all classes"

    def combine(self, sums, weights, empty):
        counts = torch.ones_like(sums.target) if weights is None else weights.expand_as(empty)
        # As (least / sum y)^2: the same ratio, and no square out of range.
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

    def formula(self, s):
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

    def __init__(self, *, alpha=1.0, beta=1.0, **options):
        super().__init__(alpha=alpha, beta=beta, **options)

    def overlap(self, s):
        return (s.predicted + s.target - s.distance) / 2


class _PowerSums(RegionSums):
    """`RegionSums` and those of a power of the errors; the gradient by autograd."""

    fast_sums, gradient, keeps_probability = Kernel.fast_sums, Kernel.gradient, False

    def __init__(self, terms, gamma):
        super().__init__(terms)
        self.gamma = gamma

    def pixels(self, x, y):
        p = probability(x)
        return super().pixels(x, y) | {
            "error": lambda: (p - y).abs() ** self.gamma,
            "missed": lambda: (y * (1 - p)) ** self.gamma,
            "invented": lambda: ((1 - y) * p) ** self.gamma,
        }


class NoiseRobustDiceLoss(OverlapLoss):
    """sum |p - y|^gamma / (sum p^2 + sum y^2)

    at least 0. gamma in [1, 2]: 2 is squared Dice, less bears noisy labels better, and may pass 1
    where much is faintly predicted. squared=False divides by sum p + sum y, which keeps it in
    [0, 1]: with gamma = 1 this is Dice on hard targets.
    Source: Wang et al., A noise-robust framework for COVID-19 lesions (COPLE-Net), 2020.
    """

    minimiser = "gamma = 2: as squared Dice; less: nearer to 0 or 1"

    def __init__(self, *, gamma=1.5, squared=True, **options):
        super().__init__(**options)
        self.gamma = number("gamma", gamma, 1, 2)
        self.squared = choose("squared", squared, (True, False))
        terms = {"predicted", "error"} | ({"squared"} if squared else set())
        self.kernel = _PowerSums(terms, self.gamma)

    def formula(self, s):
        size = s.squared + s.target_squared if self.squared else s.predicted + s.target
        return 1 - self.ratio(size - s.error, size)


class DicePlusPlusLoss(OverlapLoss):
    """1 - 2 TP / (2 TP + sum (y (1 - p))^gamma + sum ((1 - y) p)^gamma), TP = sum p y

    in [0, 1]. gamma = 1 is Dice; more forgives uncertain pixels, and calibrates.
    Source: Yeung et al., Calibrating the Dice loss (DSC++), 2023.
    """

    minimiser = "gamma = 1: as Dice; more: between 0 and 1"

    def __init__(self, *, gamma=2.0, **options):
        super().__init__(**options)
        self.gamma = number("gamma", gamma, 1)
        self.kernel = _PowerSums({"overlap", "predicted", "missed", "invented"}, self.gamma)

    def formula(self, s):
        return 1 - self.ratio(2 * s.overlap, 2 * s.overlap + s.missed + s.invented)
