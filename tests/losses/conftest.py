"""The list of losses of every property test, and helpers."""

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

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
"""Threshold the target."""

UNBOUNDED_BELOW = {n for n in VARIANTS if "boundary" in n} | {"a sum"}
"""May be negative."""


SHAPES = [(2, 1, 5, 6), (2, 3, 5, 6), (2, 1, 3, 4, 3), (1, 2, 3, 4, 3)]
random_examples = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**31)
shapes = st.sampled_from(SHAPES)


@pytest.fixture(params=VARIANTS, scope="session")
def named(request):
    """(name, loss) of every registered loss and of variants of its options."""
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


def value_and_gradient(loss, logits, target, **maps):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, target, **maps)
    value.backward()
    return value.detach(), logits.grad


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def with_ignore(spec, index):
    spec = {"use": spec} if isinstance(spec, str) else spec
    if "sum" in spec:
        terms = {k: v if isinstance(v, dict) else {"weight": v} for k, v in spec["sum"].items()}
        return {"sum": {k: v | {"ignore_index": index} for k, v in terms.items()}}
    if spec["use"] == "ce_to_dice":
        return spec | {
            "first": {"use": "cross_entropy", "ignore_index": index},
            "last": {"use": "dice", "ignore_index": index},
        }
    return spec | {"ignore_index": index}
