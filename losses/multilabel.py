"""Multi-label.

Classes that may overlap, each a binary problem.

>>> import torch
>>> from losses import build
>>> target = torch.tensor([[[1, 1, 1, 0], [0, 1, 0, 0]]])  # class 1 lies in class 0
>>> build("dice", multilabel=True)(60.0 * target - 30, target).item() < 1e-6
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._interface import Loss
from ._optional import Float, Shaped
from ._options import class_weights_of
from ._reading import Logits, Maps, Scalar, Target, Values, Weight


class MultiLabelLoss(Loss):
    """1/C sum_c L(logits_c, target_c), L a loss of one channel

    Takes logits (N, C, *space), with a sigmoid per channel, and a target (N, C, *space) in [0, 1]
    whose channels are independent. With C = 1 it is L itself.
    loss: L, any loss. Its ignore_index ignores a pixel in each channel with this target value.
    class_weights: C weights of the mean over the classes; None weighs them equally.
    With L's reduction="none" a value for each image or pixel, the mean over the classes.
    If L reads maps, `maps` makes those of all channels: for each map of L its C channels.
    """

    def __init__(self, loss: nn.Module, *, class_weights: Sequence[float] | None = None):
        super().__init__()
        self.loss, self.class_weights, values = loss, class_weights, None
        if class_weights is not None:
            self.class_weights = class_weights_of(class_weights)
            values = torch.tensor(self.class_weights, dtype=torch.float64)
        self.register_buffer("_class_weights", values, persistent=False)

    def extra_repr(self) -> str:
        """List the options and their values."""
        return f"class_weights={self.class_weights!r}"

    def value(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        weight: Weight | None = None,
    ) -> Scalar | Values:
        """Return the mean of the loss over the channels."""
        classes, given = logits.shape[1], {} if weight is None else {"weight": weight}
        each = [given] * classes
        if maps is not None:
            each = [given | {"maps": part} for part in self._split(maps, classes)]
        if classes == 1:
            return self.loss(logits, target, **each[0])
        if target.shape != logits.shape:
            raise ValueError(
                f"target of shape {tuple(target.shape)} does not fit multi-label logits of shape "
                f"{tuple(logits.shape)}: expected a target (N, C, *space) in [0, 1]"
            )
        channels = zip(logits.split(1, 1), target.split(1, 1), each, strict=True)
        return self._mean(torch.stack([self.loss(x, y, **given) for x, y, given in channels]))

    def _mean(self, values: Float[Tensor, "c ..."]) -> Scalar | Values:
        if self.class_weights is None:
            return values.mean(0)
        if len(self.class_weights) != len(values):
            raise ValueError(
                f"class_weights must be {len(values)}, one for each channel of the logits, "
                f"got {len(self.class_weights)}"
            )
        weights = self._class_weights.to(values)
        return torch.tensordot(weights / weights.sum(), values, 1)

    @property
    def maps(self) -> Any:
        """Method that makes the maps of all channels; absent if the loss reads none."""
        if not hasattr(self.loss, "maps"):
            raise AttributeError("maps")
        return self._maps

    @property
    def map_sets(self) -> int:
        """Number of maps per class."""
        return getattr(self.loss, "map_sets", 1)

    def _maps(self, target: Shaped[Tensor, "n c *space"], classes: int | None = None) -> Maps:
        if classes is not None:
            raise ValueError("class indices are no multi-label target; allowed: (N, C, *space)")
        return torch.stack([self.loss.maps(y) for y in target.split(1, 1)], 2).flatten(1, 2)

    def _split(self, maps: Maps, classes: int) -> list[Maps]:
        """Return the maps of each channel."""
        if maps.shape[1] != self.map_sets * classes:
            raise ValueError(
                f"maps must have {self.map_sets} times as many channels as the logits, "
                f"got shape {tuple(maps.shape)}"
            )
        return list(maps.unflatten(1, (self.map_sets, classes)).unbind(2))

    def set_progress(self, t: float) -> None:
        """Set the progress of the training, 0 to 1, of a loss that follows it."""
        if hasattr(self.loss, "set_progress"):
            self.loss.set_progress(t)
