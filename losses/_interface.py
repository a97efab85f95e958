"""Interface of every loss: how it is called, its options, and the reading of logits and targets."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Collection
from types import FunctionType
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from losses._trust import is_trusted

Logits = Float[Tensor, "n c *space"]
Target = Shaped[Tensor, "n *space"] | Shaped[Tensor, "n c *space"]
"""Class indices or probabilities."""
Maps = Float[Tensor, "n k *space"]
Scalar = Float[Tensor, ""]


class ReadsMaps(Protocol):
    """A loss that reads maps of the target, which a training loop makes once per image.

    Any loss may offer it. Augmentation flips and transposes the maps with the target.
    """

    map_sets: int
    """Number of maps per class, 1 if the loss has no such attribute."""

    def maps(self, target: Target, classes: int | None = None) -> Maps:
        """Return maps (N, map_sets C, *space), float32.

        target: probabilities (N, C, *space), or class indices (N, *space) if `classes` is given.
        """

    def __call__(self, logits: Logits, target: Target, maps: Maps | None = None) -> Scalar:
        """Return the loss."""


class FollowsProgress(Protocol):
    """A loss that changes over the training. Any loss may offer it."""

    def set_progress(self, t: float) -> None:
        """Set the progress of the training: 0 at the first step, 1 after the last."""


def options(loss_class: type) -> dict[str, Any]:
    """Return the keyword options of a loss class and their defaults, its own before inherited ones.

    A class that takes ``**options`` may list defaults in a dict `defaults` too.
    """
    defaults = {}
    for cls in loss_class.__mro__:
        for name, default in vars(cls).get("defaults", {}).items():
            defaults.setdefault(name, default)
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        for p in parameters:
            if p.kind is p.KEYWORD_ONLY:
                defaults.setdefault(p.name, p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return defaults


def choose(name: str, value: object, allowed: Collection) -> Any:
    """Return the value, or raise ValueError if it is not one of those allowed.

    >>> choose("per", "pixel", ("image", "batch"))
    Traceback (most recent call last):
    ValueError: per must be one of 'image', 'batch', got 'pixel'
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float | None = None,
) -> float:
    """Return the value as a float, or raise ValueError if it is not a number in [low, high].

    above: the value must also be greater than this.

    >>> number("gamma", 0, high=2, above=0)
    Traceback (most recent call last):
    ValueError: gamma must be a number above 0 and at most 2, got 0
    """
    low_text = f"above {above}" if above is not None else f"at least {low}"
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not low <= value <= high
        or (above is not None and value <= above)
    ):
        bound = low_text if high == math.inf else f"{low_text} and at most {high}"
        raise ValueError(f"{name} must be a number {bound}, got {value!r}")
    return float(value)


class SegmentationLoss(nn.Module):
    """A loss called as ``loss(logits, target)``; returns a scalar of at least float32.

    logits (N, C, *space): floating point, *space of one to three axes. C = 1 is binary, with the
    sigmoid as probability; C > 1 uses the softmax.
    target: class indices (N, *space) of an integer type, or probabilities (N, C, *space) in
    [0, 1] of any type; with C = 1 both are the foreground, 0 to 1.
    ignore_index: pixels with this target value are ignored (in probabilities: with this value in
    the first channel). None ignores no pixel.
    Raises ValueError for other shapes, types and values, and names them.
    """

    minimiser: ClassVar[str]
    """The p of least expected loss, q being the probability of the true class."""

    def __init__(self, *, ignore_index: int | None = None):
        super().__init__()
        if ignore_index is not None and (
            isinstance(ignore_index, bool) or not isinstance(ignore_index, int)
        ):
            raise ValueError(f"ignore_index must be an integer or None, got {ignore_index!r}")
        self.ignore_index = ignore_index

    def extra_repr(self) -> str:
        """List the options and their values."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options(type(self)))

    def forward(self, logits: Logits, target: Target) -> Scalar:
        """Return the loss: by default a formula, `reduce`, of the sums of a `kernel`."""
        with no_autocast(logits):
            return self.reduce(self.kernel(*read(logits, target, self.ignore_index)))


class FunctionLoss(nn.Module):
    """A function of a user as a loss: ``function(logits, target, **options)``.

    ValueError if the function does not take the logits and the target by position.
    """

    def __init__(self, function: FunctionType, options: dict[str, Any]):
        super().__init__()
        try:
            inspect.signature(function).bind(None, None, **options)
        except TypeError as error:
            raise ValueError(
                f"{function.__name__} cannot be called with logits, target and its options: {error}"
            ) from None
        self.function, self.options = function, options

    def extra_repr(self) -> str:
        """List the function and its options."""
        values = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{self.function.__module__}:{self.function.__name__}{values}"

    def forward(self, logits: Logits, target: Target) -> Scalar:
        """Return the value of the function."""
        return self.function(logits, target, **self.options)


class MapLoss(SegmentationLoss):
    """A loss that also reads maps of the target, such as distances or object numbers.

    `maps(target)` makes them once per image, on the CPU; pass them as ``loss(logits, target,
    maps=maps)`` to reuse them. Augmentation flips and transposes them with the target.
    """

    def maps(self, target: Target, classes: int | None = None) -> Maps:
        """Return maps (N, C, *space), float32.

        target: probabilities (N, C, *space), foreground where above 1/2; or class indices
        (N, *space) if `classes` is given.
        """
        mask = target.detach().cpu()
        if classes is not None:
            index = torch.arange(classes).view(1, -1, *[1] * (mask.dim() - 1))
            mask = mask.unsqueeze(1) == index
        elif self.ignore_index is not None:
            mask = mask.masked_fill(mask[:, :1] == self.ignore_index, 0)
        mask = (mask > 0.5).numpy()
        maps = np.stack([np.stack([self.map_of(c) for c in image]) for image in mask])
        return torch.from_numpy(maps.astype(np.float32))

    def map_of(self, mask: Bool[np.ndarray, "*space"]) -> Shaped[np.ndarray, "*space"]:
        """Return the map of the mask of one class of an image."""
        raise NotImplementedError

    def maps_for(self, logits: Logits, target: Target, maps: Maps | None = None) -> Maps:
        """Return the given maps, or new ones, on the device of the logits."""
        if maps is None:
            indices = target.shape != logits.shape and logits.shape[1] > 1
            dense = target if indices else target.reshape(logits.shape)
            maps = self.maps(dense, logits.shape[1] if indices else None)
        elif maps.shape != logits.shape:
            raise ValueError(
                f"maps must have the shape of the logits, {tuple(logits.shape)}, "
                f"got {tuple(maps.shape)}"
            )
        return maps.to(logits.device)


def components(mask: Bool[np.ndarray, "*space"]) -> tuple[np.ndarray, int]:
    """Return (labels, count) of the connected components; pixels that share a face are connected.

    Labels are 1 to count, and 0 outside the mask.
    """
    from scipy import ndimage

    return ndimage.label(mask)


def no_autocast(x: Tensor) -> contextlib.AbstractContextManager:
    """Turn autocast off within this context: sums and exponentials need float32."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return contextlib.nullcontext()


def on_cpu(x: Tensor) -> bool:
    """Return whether values of x can be read without waiting for another device."""
    return x.device.type == "cpu"


def checks_values() -> bool:
    """Return whether the values of targets are checked here."""
    return not (torch.compiler.is_compiling() or is_trusted())


def read(
    logits: Logits, target: Target, ignore_index: int | None = None
) -> tuple[
    Float[Tensor, "n c l"],
    Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"],
    Bool[Tensor, "n 1 l"] | None,
]:
    """Return checked logits and target with flat space, and the mask of pixels to count.

    The target is (N, C, L) probabilities or (N, L) class indices. The mask is False at ignored
    pixels, or None if `ignore_index` is None.
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
    target = target.detach()
    target = target.flatten(2) if dense else target.flatten(1)
    if not dense and classes == 1:
        target, dense = target.unsqueeze(1), True
    counts = None
    if ignore_index is not None:
        ignored = target[:, :1] == ignore_index if dense else (target == ignore_index).unsqueeze(1)
        target = target.masked_fill(ignored if dense else ignored.squeeze(1), 0)
        counts = ~ignored
    if checks_values():
        _check_values(target, 1 if dense else classes - 1, dense and classes > 1)
    return logits.flatten(2), target, counts


def check_logits(logits: Tensor) -> None:
    """Raise ValueError unless the logits are (N, C, *space) of a floating type."""
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point, got {logits.dtype}")
    if logits.dim() < 3 or logits.numel() == 0:
        raise ValueError(
            f"logits must be (N, C, *space) and not empty, got shape {tuple(logits.shape)}"
        )


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
    return torch.eq(index, channels, out=index.new_empty(len(target), classes, index.shape[2]))


def wide(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return half types as float32: their sums overflow (float16) or stall (bfloat16)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def probability(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
    """Return the sigmoid of one channel, the softmax of more."""
    return x.sigmoid() if x.shape[1] == 1 else x.softmax(1)
