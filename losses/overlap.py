"""Losses that measure the overlap of prediction and target."""

from torch import nn

from losses._base import probabilities


class _OverlapLoss(nn.Module):
    """1 - (2 I + smooth) / (size + smooth), over each image and class, then the mean.

    I = sum p y; a subclass says what `size` is. With the target and the prediction both empty
    the loss is 0; with an empty target only, it is close to 1.
    """

    def __init__(self, *, smooth=1e-5):
        super().__init__()
        if smooth < 0:
            raise ValueError(f"smooth must be at least 0, got {smooth!r}")
        self.smooth = smooth

    def extra_repr(self):
        return f"smooth={self.smooth}"

    def size(self, prob, target):
        raise NotImplementedError

    def forward(self, logits, target):
        prob, target = (x.flatten(2) for x in probabilities(logits, target))
        overlap = 2 * (prob * target).sum(-1)
        loss = 1 - (overlap + self.smooth) / (self.size(prob, target) + self.smooth)
        return loss.mean()


class DiceLoss(_OverlapLoss):
    """Dice loss, 1 - 2 sum(p y) / (sum p + sum y), per image and class, then the mean.

    logits (N, C, *space), target as in `losses._base.probabilities`; a scalar in [0, 1].
    Source: Milletari et al. 2016 (with squares); Drozdzal et al. 2016 (as here).
    """

    def size(self, prob, target):
        return prob.sum(-1) + target.sum(-1)


class SquaredDiceLoss(_OverlapLoss):
    """Squared Dice loss, 1 - 2 sum(p y) / (sum p^2 + sum y^2), per image and class.

    logits (N, C, *space), target as in `losses._base.probabilities`; a scalar in [0, 1].
    Source: Milletari et al., V-Net, 2016.
    """

    def size(self, prob, target):
        return prob.square().sum(-1) + target.square().sum(-1)


class ArticleDiceLoss(_OverlapLoss):
    """The article's printed formula, 1 - 2 sum(p y) / ((sum p)^2 + (sum y)^2), taken literally.

    It is not a Dice loss: at a perfect match of n foreground pixels it is 1 - 1/n, not 0, and
    its gradient shrinks like 1/n^2. logits and target as in `losses._base.probabilities`.
    """

    def size(self, prob, target):
        return prob.sum(-1).square() + target.sum(-1).square()
