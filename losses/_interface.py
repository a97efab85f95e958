"""Interface of every loss: how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ._optional import Bool, Shaped, ndimage, np
from ._options import choose, integer_or_none, options
from ._reading import (
    Logits,
    Maps,
    Scalar,
    Target,
    Values,
    Weight,
    check_tensors,
    ignored_pixels,
    is_traced,
    no_autocast,
    read,
    signed,
)


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


class Loss(nn.Module):
    """A loss of the suite: its call, and the two forms of its value.

    reduction: "mean", a scalar; or "none", a value for each pixel, (N, *space), of a mean over
    pixels (`losses.likelihood`), else the loss of each image alone, (N,). A loss that scores all
    images together has no such values, and refuses "none".
    """

    whole_batch: str | None = None
    """The reason why the loss has no values for each image or pixel."""

    def __init__(self, *, reduction: str = "mean"):
        super().__init__()
        self.reduction = choose("reduction", reduction, ("mean", "none"))

    def extra_repr(self) -> str:
        """List the options and their values."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options(type(self)))

    def forward(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        *,
        weight: Weight | None = None,
    ) -> Scalar | Values:
        """Return the loss.

        maps: of a loss that reads maps (see `ReadsMaps`); by default it makes them.
        weight: weights of the pixels, (N, *space), at least 0: every sum and mean over pixels is
        weighted by them. A bool tensor is a mask of the pixels that count.
        """
        check_tensors(logits, target)
        given = {"maps": maps, "weight": weight}
        given = {name: value for name, value in given.items() if value is not None}
        if self.reduction == "mean":
            return self.value(logits, target, **given)
        if self.whole_batch:
            raise ValueError(f"reduction: 'none' is not allowed: {self.whole_batch}")
        return self.values(logits, target, **given)

    def value(self, logits: Logits, target: Target, **given: Tensor) -> Scalar:
        """Return the loss of the batch."""
        raise NotImplementedError

    def values(self, logits: Logits, target: Target, **given: Tensor) -> Values:
        """Return the values of reduction="none": by default the loss of each image alone."""
        images = [
            self.value(x[None], y[None], **{name: v[n : n + 1] for name, v in given.items()})
            for n, (x, y) in enumerate(zip(logits, target, strict=True))
        ]
        return torch.stack(images)


class SegmentationLoss(Loss):
    """A loss called as ``loss(logits, target)``; returns a scalar of at least float32.

    logits (N, C, *space): floating point, *space of one to three axes. C = 1 is binary, with the
    sigmoid as probability; C > 1 uses the softmax.
    target: class indices (N, *space) of an integer type, or probabilities (N, C, *space) in
    [0, 1] of any type that sum to 1 over the channels; with C = 1 both are the foreground, 0 to 1.
    ignore_index: pixels of this class are ignored, or with this target value if it is no class (in
    probabilities: with this value in the first channel). None ignores no pixel.
    reduction: see `Loss`.
    Raises ValueError for other shapes, types and values, and names them.
    """

    minimiser: ClassVar[str]
    """The p of least expected loss, q being the probability of the true class."""

    def __init__(self, *, ignore_index: int | None = None, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.ignore_index = integer_or_none("ignore_index", ignore_index)

    def value(self, logits: Logits, target: Target, weight: Weight | None = None) -> Scalar:
        """Return the loss: by default a formula, `reduce`, of the sums of a `kernel`."""
        with no_autocast(logits):
            return self.reduce(self.kernel(*read(logits, target, self.ignore_index, weight)))


class FunctionLoss(nn.Module):
    """A function of a user as a loss: ``function(logits, target, **options)``.

    ValueError if the function does not take the logits and the target by position.
    """

    def __init__(self, function: Callable[..., Tensor], options: dict[str, Any]):
        super().__init__()
        self.function, self.options = function, options
        try:
            inspect.signature(function).bind(None, None, **options)
        except TypeError as error:
            raise ValueError(
                f"{self.name} cannot be called with logits, target and its options: {error}"
            ) from None

    @property
    def name(self) -> str:
        """Name of the function, or the text of another callable."""
        return getattr(self.function, "__name__", repr(self.function))

    def extra_repr(self) -> str:
        """List the function and its options."""
        values = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{getattr(self.function, '__module__', '')}:{self.name}{values}"

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
        mask = signed(target.detach().cpu())
        ignored = ignored_pixels(mask, self.ignore_index, dense=classes is None)
        if classes is not None:
            index = torch.arange(classes).view(1, -1, *[1] * (mask.dim() - 1))
            mask = mask.unsqueeze(1) == index
        if ignored is not None:
            mask = mask.masked_fill(ignored, 0)
        mask = to_numpy(mask > 0.5)
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
    return ndimage().label(mask)


def to_numpy(x: Tensor) -> np.ndarray:
    """Return the values of a tensor on the host; RuntimeError within torch.func.vmap."""
    try:
        return x.cpu().numpy()
    except RuntimeError as error:
        if not is_traced():
            ndimage()  # ImportError if there is no NumPy
            raise
        raise RuntimeError(
            "torch.func and torch.compile cannot transform a loss that computes with SciPy; make "
            f"its maps before, and pass them as maps=: {error}"
        ) from error
