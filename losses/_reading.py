"""The reading of logits, targets and weights of pixels."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from ._optional import Bool, Float, Shaped
from ._trust import is_trusted

Logits = Float[Tensor, "n c *space"]
Target = Shaped[Tensor, "n *space"] | Shaped[Tensor, "n c *space"]
"""Class indices or probabilities."""
Maps = Float[Tensor, "n k *space"]
Weight = Shaped[Tensor, "n *space"]
"""Weights of pixels, at least 0; bool is a mask of the pixels that count."""
Scalar = Float[Tensor, ""]
Values = Float[Tensor, " n"] | Float[Tensor, "n *space"]
"""A value for each image, or for each pixel."""

SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Types with few operations, and a type that has all."""
TOLERANCE = 1e-3
"""Difference from 1, at most, of the sum of a pixel's probabilities; rounding aside."""
OVERLAPPING = (
    "for classes that overlap use losses.build(..., multilabel=True), or wrap a custom loss of one "
    "channel in losses.MultiLabelLoss"
)


def no_autocast(x: Tensor) -> contextlib.AbstractContextManager:
    """Turn autocast off within this context: sums and exponentials need float32."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return contextlib.nullcontext()


def is_traced() -> bool:
    """Return whether torch.compile or a transform of torch.func (grad, vmap, ...) runs here.

    No value can be read there, and only torch's own operations are transformed.
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def is_readable(x: Tensor) -> bool:
    """Return whether values of x can be read here without waiting for another device."""
    return x.device.type == "cpu" and not is_traced()


def checks_values() -> bool:
    """Return whether the values of targets are checked here."""
    return not (is_traced() or is_trusted())


def read(
    logits: Logits,
    target: Target,
    ignore_index: int | None = None,
    weight: Weight | None = None,
) -> tuple[
    Float[Tensor, "n c l"],
    Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"],
    Shaped[Tensor, "n 1 l"] | None,
]:
    """Return checked logits and target with flat space, and the weights of the pixels.

    The target is (N, C, L) probabilities, 0 at ignored pixels, or (N, L) class indices, -1 at
    ignored pixels. The weights are a mask of the pixels that count if there is no `weight`, or
    None if all count.
    """
    check_logits(logits)
    classes, shape = logits.shape[1], tuple(logits.shape)
    dense = target.shape == logits.shape
    if not dense and target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not fit logits of shape {shape}: "
            "expected class indices (N, *space) or probabilities (N, C, *space)"
        )
    if target.is_complex() or (not dense and classes > 1 and target.is_floating_point()):
        raise ValueError(f"class indices must be integers, got {target.dtype}")
    target = signed(target.detach())
    target = target.flatten(2) if dense else target.flatten(1)
    if not dense and classes == 1:
        target, dense = target.unsqueeze(1), True
    ignored = ignored_pixels(target, ignore_index, dense)
    if checks_values():
        valid = target if ignored is None else target.masked_fill(_like(ignored, target), 0)
        _check_values(valid, 1 if dense else classes - 1, dense and classes > 1)
        if dense and classes > 1:
            _check_sums(valid, ignored, len(shape) == 3)
    if ignored is None:
        return logits.flatten(2), target, flat_weight(weight, shape)
    if dense:
        target = target.masked_fill(ignored, 0)
    else:
        target = torch.where(ignored.squeeze(1), -1, target.int())
    counts = ~ignored
    return (
        logits.flatten(2),
        target,
        counts if weight is None else counts * flat_weight(weight, shape),
    )


def check_logits(logits: Tensor) -> None:
    """Raise ValueError unless the logits are (N, C, *space) of a floating type."""
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point, got {logits.dtype}")
    if logits.dim() < 3 or logits.numel() == 0:
        raise ValueError(
            f"logits must be (N, C, *space) and not empty, got shape {tuple(logits.shape)}"
        )


def check_tensors(logits: object, target: object) -> None:
    """Raise ValueError unless both are tensors."""
    if isinstance(logits, list | tuple | dict):
        raise ValueError(
            f"logits must be one tensor (N, C, *space), got a {type(logits).__name__} of "
            f"{len(logits)}: call the loss for each output of a model, with a target of its size, "
            "and add the values"
        )
    for name, value in {"logits": logits, "target": target}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")


def signed(target: Target) -> Target:
    """Return large unsigned integers as signed ones, which have all operations."""
    return target.to(SIGNED[target.dtype]) if target.dtype in SIGNED else target


def ignored_pixels(
    target: Target, ignore_index: int | None, dense: bool
) -> Bool[Tensor, "n 1 *space"] | None:
    """Return a mask of the ignored pixels; None if the target's type cannot hold `ignore_index`.

    dense: the target is (N, C, *space). Then an index in 0..C-1 is that class, for C > 1, and any
    other a value in the first channel.

    >>> ignored_pixels(torch.tensor([[0, 2]]), 2, dense=False).tolist()
    [[[False, True]]]
    """
    if ignore_index is None:
        return None
    if dense and 0 <= ignore_index < target.shape[1] > 1:
        return target[:, ignore_index : ignore_index + 1] == 1
    if not _holds(target.dtype, ignore_index):
        return None
    return (target[:, :1] if dense else target.unsqueeze(1)) == ignore_index


def _holds(dtype: torch.dtype, value: int) -> bool:
    """Return whether a type has this integer; torch compares with another one if it has not."""
    if dtype == torch.bool:
        return value in (0, 1)
    info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return info.min <= value <= info.max


def _like(ignored: Bool[Tensor, "n 1 l"], target: Tensor) -> Bool[Tensor, "n *_ l"]:
    return ignored if target.dim() == 3 else ignored.squeeze(1)


def flat_weight(weight: Weight | None, shape: tuple[int, ...]) -> Shaped[Tensor, "n 1 l"] | None:
    """Return the checked weights of pixels with flat space."""
    if weight is None:
        return None
    shape = tuple(shape)
    expected = shape[:1] + shape[2:]
    if tuple(weight.shape) not in (expected, (shape[0], 1, *shape[2:])):
        raise ValueError(
            f"weight must have shape (N, *space), {expected}, got {tuple(weight.shape)}"
        )
    weight = weight.detach().reshape(shape[0], 1, -1)
    if checks_values() and weight.dtype != torch.bool:
        least, greatest = (x.item() for x in torch.aminmax(weight))
        if not 0 <= least <= greatest < float("inf"):
            raise ValueError(f"weight must be finite and at least 0, got {least:g}..{greatest:g}")
    return weight


def _check_values(target: Tensor, high: int, probabilities: bool) -> None:
    if target.dtype == torch.bool:
        return
    least, greatest = [x.item() for x in torch.aminmax(target)]
    if not (least >= 0 and greatest <= high):
        kind = "probabilities" if probabilities or target.is_floating_point() else "labels"
        raise ValueError(
            f"target {kind} must be in 0..{high}, got {least:g}..{greatest:g} "
            "(set ignore_index to the label of ignored pixels)"
        )


def _check_sums(target: Tensor, ignored: Tensor | None, one_axis: bool) -> None:
    """Raise ValueError unless the probabilities of each pixel sum to 1."""
    dtype = target.dtype if target.dtype == torch.float64 else torch.float32
    total = target.sum(1, keepdim=True, dtype=dtype)
    if ignored is not None:
        total.masked_fill_(ignored, 1)
    rounding = 2 * torch.finfo(target.dtype).eps if target.is_floating_point() else 0
    least, greatest = (x.item() for x in torch.aminmax(total))
    if max(1 - least, greatest - 1) > max(TOLERANCE, rounding):
        advice = "for images (N, H, W) call loss(logits.unsqueeze(1), target); " if one_axis else ""
        raise ValueError(
            f"target probabilities must sum to 1 over the {target.shape[1]} channels, got "
            f"{least:g}..{greatest:g}; {advice}{OVERLAPPING}"
        )


def dense_target(
    target: Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"], classes: int, dtype: torch.dtype
) -> Float[Tensor, "n c l"]:
    """Return the target as probabilities, one-hot if it holds class indices.

    >>> dense_target(torch.tensor([[0, 2]]), 3, torch.float32).tolist()
    [[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]
    """
    if target.dim() == 3:
        return target.to(dtype)
    # A CPU vectorises the conversion from int32 only: twice as fast as from int64.
    index = target.int().to(dtype).unsqueeze(1)
    channels = torch.arange(classes, dtype=dtype, device=target.device).view(1, -1, 1)
    if is_traced():
        return (index == channels).to(dtype)
    return torch.eq(index, channels, out=index.new_empty(len(target), classes, index.shape[2]))


def wide(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return half types as float32: their sums overflow (float16) or stall (bfloat16)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def probability(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
    """Return the sigmoid of one channel, the softmax of more."""
    return x.sigmoid() if x.shape[1] == 1 else x.softmax(1)


def or_one(total: Tensor) -> Tensor:
    """Return a sum of weights to divide by: 1 where it is 0, and all that it divides is 0 too."""
    return total.masked_fill(total == 0, 1)
