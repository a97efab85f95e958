"""The one list of losses that every property test runs over."""

import pytest
import torch

from losses import LOSSES, build

VARIANTS = {
    **{name: name for name in LOSSES},
    "dice, per batch": {"use": "dice", "per": "batch"},
    "dice, smooth": {"use": "dice", "smooth": 1.0},
    "dice, smooth below": {"use": "dice", "smooth": 1.0, "smooth_in": "denominator"},
    "dice, smooth where empty": {"use": "dice", "smooth": 1e-5, "empty": "smooth"},
    "dice, empty skipped": {"use": "dice", "empty": "skip"},
    "squared_dice, per batch": {"use": "squared_dice", "per": "batch"},
    "tversky, misses cost more": {"use": "tversky", "alpha": 0.3, "beta": 0.7},
    "generalized_dice, per batch": {"use": "generalized_dice", "per": "batch"},
    "noise_robust_dice, linear": {"use": "noise_robust_dice", "squared": False},
    "jdt, Dice": {"use": "jdt", "alpha": 0.5, "beta": 0.5},
    "focal, alpha": {"use": "focal", "alpha": 0.25, "gamma": 1.5},
    "hausdorff, one-sided": {"use": "hausdorff", "predicted": False},
    "boundary, skip": {"use": "boundary", "empty": "skip"},
    "lovasz, per image": {"use": "lovasz", "per": "image"},
    "blob, dice_ce": {"use": "blob", "criterion": "dice_ce"},
    "dice_boundary, increase": {"use": "dice_boundary", "rebalance": False, "start": 0.3},
    "a sum": {"sum": {"tversky": {"weight": 0.5, "alpha": 0.3}, "topk": 1, "boundary": 0.1}},
}

HARD_ONLY = {name for name in VARIANTS if "lovasz" in name}
"""Refuse soft targets."""

THRESHOLDED = {
    n for n in VARIANTS if any(s in n for s in ("blob", "boundary", "hausdorff", "a sum"))
}
THRESHOLDED |= {"inverse_size_dice"}
"""Turn the target into a mask somewhere."""

UNBOUNDED_BELOW = {n for n in VARIANTS if "boundary" in n} | {"a sum"}
"""May be negative."""


@pytest.fixture(params=VARIANTS, scope="session")
def named(request):
    """(name, loss) of every registered loss and of its options' values."""
    return request.param, build(VARIANTS[request.param])


def case(shape, seed=0, *, dtype=torch.float64, spread=3.0):
    """Random logits (N, C, *space) and class indices (N, *space), every class in every image."""
    generator = torch.Generator().manual_seed(seed)
    classes = max(2, shape[1])
    logits = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    index = torch.randint(classes, (shape[0], *shape[2:]), generator=generator)
    index.flatten(1)[:, :classes] = torch.arange(classes)
    return logits.to(dtype), index


def one_hot(index, classes, dtype=torch.float64):
    """Class indices (N, *space) as probabilities (N, C, *space); one channel holds index 1."""
    if classes == 1:
        return index.unsqueeze(1).to(dtype)
    return torch.stack([index == c for c in range(classes)], 1).to(dtype)
