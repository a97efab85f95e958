"""Custom losses as a user would write them: one that works, and some that fail."""

import torch
from torch import nn


class MyLoss(nn.Module):
    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight

    def forward(self, logits, target):
        return self.weight * (logits.sigmoid() - target).square().mean()


class TurnsNaN(nn.Module):
    """NaN from its fourth call."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits, target):
        self.calls += 1
        return logits.mean() * (float("nan") if self.calls > 3 else 1.0)


class Raises(nn.Module):
    def forward(self, logits, target):
        raise RuntimeError("no such thing")


class OutOfMemory(nn.Module):
    def forward(self, logits, target):
        raise MemoryError("tried to allocate everything")


class LeavesConstantOnCPU(nn.Module):
    """Class weights that stay on the CPU."""

    def forward(self, logits, target):
        return (torch.tensor([0.3, 0.7])[:, None, None, None] * (logits - target)).square().mean()


class NotScalar(nn.Module):
    def forward(self, logits, target):
        return logits.mean((1, 2, 3))


class Squeezes(nn.Module):
    """Fails on a batch of one image."""

    def forward(self, logits, target):
        n, h, w = logits.squeeze().shape
        return (logits - target).square().sum() / (n * h * w)


class NoGradient(nn.Module):
    """A scalar whose gradient is 0 everywhere."""

    def forward(self, logits, target):
        return (0 * logits).sum() + target.mean()


class Detached(nn.Module):
    """A scalar without a gradient."""

    def forward(self, logits, target):
        return logits.detach().mean()
