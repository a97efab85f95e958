"""What every loss shares: reading logits and targets, and refusing what cannot be meant."""

import torch
from torch.nn import functional as F


def probabilities(logits, target):
    """Probabilities and targets of equal shape, both (N, C, *space), sums safe in float32.

    logits (N, C, *space): C = 1 goes through the sigmoid, C > 1 through the softmax.
    target: class indices (N, *space), or probabilities (N, C, *space).
    Raises ValueError for other shapes, and for class indices outside 0..C-1.
    """
    target = dense_target(logits, target)
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    prob = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
    return prob, target.to(prob.dtype)


def dense_target(logits, target):
    """The target as probabilities (N, C, *space) of the logits' shape."""
    if logits.dim() < 3:
        raise ValueError(f"logits must be (N, C, *space), got shape {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point, got {logits.dtype}")
    if target.shape == logits.shape:
        return target
    classes = logits.shape[1]
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not fit logits of shape "
            f"{tuple(logits.shape)}: expected class indices (N, *space) or probabilities "
            "(N, C, *space)"
        )
    if classes == 1:
        return target.unsqueeze(1)
    if target.is_floating_point():
        raise ValueError(f"class indices must be integers, got {target.dtype}")
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise ValueError(f"class indices must lie in 0..{classes - 1}, got {low}..{high}")
    return F.one_hot(target.long(), classes).movedim(-1, 1)
