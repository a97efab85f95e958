"""Losses that are a mean over pixels of a penalty on the probability of the true class."""

from torch import nn
from torch.nn import functional as F

from losses._base import dense_target


class CrossEntropyLoss(nn.Module):
    """Cross-entropy, -mean_i sum_c y_ic log p_ic; binary with one channel.

    logits (N, C, *space): with C = 1, -mean(y log p + (1 - y) log(1 - p)), p = sigmoid(logit).
    target as in `losses._base.probabilities`; a scalar of at least 0.
    """

    def forward(self, logits, target):
        target = dense_target(logits, target).to(logits.dtype)
        if logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(logits, target)
        return -(target * F.log_softmax(logits, 1)).sum(1).mean()
