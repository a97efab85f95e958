"""Sums of losses."""

from torch import nn

from losses import build


class SumLoss(nn.Module):
    """sum_k w_k L_k(logits, target), for a mapping from loss name to weight."""

    def __init__(self, weights):
        super().__init__()
        self.weights = dict(weights)
        self.losses = nn.ModuleDict({name: build(name) for name in self.weights})

    def extra_repr(self):
        return f"weights={self.weights}"

    def forward(self, logits, target):
        return sum(w * self.losses[name](logits, target) for name, w in self.weights.items())


class DiceCELoss(SumLoss):
    """Dice + cross-entropy: dice * L_Dice + cross_entropy * L_CE."""

    def __init__(self, *, dice=1.0, cross_entropy=1.0):
        super().__init__({"dice": dice, "cross_entropy": cross_entropy})
