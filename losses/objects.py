"""Per object.

Losses that give true objects of all sizes the same weight.

    >>> import torch
    >>> from losses import build
    >>> target = torch.tensor([[1, 0, 1, 1, 1]])  # objects of one and of three pixels
    >>> prob = torch.tensor([[[0.001, 0.001, 0.999, 0.999, 0.999]]])  # the small one is missed
    >>> round(build("dice")(prob.logit(), target).item(), 2)
    0.14
    >>> round(build("blob")(prob.logit(), target).item(), 2)
    0.5
"""

# ruff: noqa: D102 - methods of the interface are documented in the base class
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ._interface import MapLoss, components, to_numpy
from ._optional import Bool, Float, Num, np
from ._reading import (
    Logits,
    Maps,
    Scalar,
    Target,
    Weight,
    flat_weight,
    no_autocast,
    read,
    wide,
)
from ._trust import trusted
from .building import build
from .overlap import DiceLoss


class InverseSizeDiceLoss(MapLoss, DiceLoss):
    """1 - 2 sum(w p y) / (sum w p + sum w y), w_i = 1 / size of i's object, times the mean size

    in [0, 1]; an object is a connected component of the true mask (sharing a face), and its
    background is one more object, so all have the same weight. maps: w (N, C, *space).
    Source: Shirokikh et al., Universal loss reweighting to balance lesion size inequality, 2020.
    """

    minimiser = "p = 1 where E[w y] > E[w] d/2, else 0 (d the weighted Dice score reached)"

    def map_of(self, mask: Bool[np.ndarray, "*space"]) -> Float[np.ndarray, "*space"]:
        parts, _ = components(mask)
        sizes = np.bincount(parts.ravel())
        return (parts.size / np.count_nonzero(sizes) / np.maximum(sizes, 1))[parts]

    def value(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        weight: Weight | None = None,
    ) -> Scalar:
        x, y, w = read(logits, target, self.ignore_index, weight)
        maps = self.maps_for(logits, target, maps).flatten(2)
        with no_autocast(logits):
            return self.reduce(self.kernel(x, y, maps if w is None else maps * w))


class BlobLoss(MapLoss):
    """mean over images of mean over their objects k of criterion(p without the others, y_k)

    An object is a connected component of the true mask (sharing a face), y_k its pixels. Pixels of
    the other objects are background of probability 0 for the criterion: the probability is masked,
    not the logit. An image without an object is passed to the criterion whole. With C > 1 each
    class but 0 is a binary problem against the rest, and the mean is over the objects of all
    classes.
    criterion: the specification of any loss. maps: object numbers (N, C, *space).
    Source: Kofler et al., blob loss, 2023.
    """

    minimiser = "as its criterion, with the same weight for each object"

    def __init__(self, *, criterion: str | dict[str, Any] = "dice", **options):
        super().__init__(**options)
        self.criterion = criterion
        self.loss = build(criterion)

    def map_of(self, mask: Bool[np.ndarray, "*space"]) -> Num[np.ndarray, "*space"]:
        return components(mask)[0]

    def value(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        weight: Weight | None = None,
    ) -> Scalar:
        x, _, counts = read(logits, target, self.ignore_index)
        w = flat_weight(weight, logits.shape)
        space = logits.shape[2:]
        numbers = self.maps_for(logits, target, maps)
        known = torch.from_numpy(to_numpy(numbers))  # the only values read on the host
        x = one_against_rest(wide(x)).unflatten(2, space)
        ignored = None if counts is None else ~counts.unflatten(2, space)
        classes = range(1, x.shape[1]) if x.shape[1] > 1 else [0]
        losses = []
        for n in range(len(x)):
            dropped = None if ignored is None else ignored[n, 0]
            given = {} if w is None else {"weight": w[n].unflatten(1, space)}
            masks = [
                (x[n, c], mask, others)
                for c in classes
                for mask, others in _objects(numbers[n, c], known[n, c].unique(), dropped)
            ]
            if not masks:
                none = torch.zeros(space, dtype=torch.bool, device=x.device)
                masks = [(x[n, c], none, none if dropped is None else dropped) for c in classes]
            losses.append(torch.stack([self._score(*mask, given) for mask in masks]).mean())
        return torch.stack(losses).mean()

    def _score(self, x: Tensor, mask: Tensor, others: Tensor, given: dict[str, Tensor]) -> Tensor:
        # The least logit that every loss here takes: its probability is 0 in float32.
        x = x.masked_fill(others, -1e4)
        with trusted():  # a mask is valid
            return self.loss(x[None, None], mask.to(x.dtype)[None, None], **given)


def _objects(
    numbers: Tensor, known: Tensor, ignored: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mask of each object of one class of an image, and that of pixels to leave out."""
    for k in filter(None, known.tolist()):
        others = (numbers != 0) & (numbers != k)
        yield numbers == k, others if ignored is None else others | ignored


def one_against_rest(x: Float[Tensor, "n c l"]) -> Float[Tensor, "n c l"]:
    """Return logits z with sigmoid(z_c) = softmax(x)_c; one channel is returned unchanged.

    z_c = x_c - log sum_{k != c} exp x_k.

    >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
    >>> torch.allclose(one_against_rest(x).sigmoid(), x.softmax(1))
    True
    """
    if x.shape[1] == 1:
        return x
    rest = [torch.cat([x[:, :c], x[:, c + 1 :]], 1).logsumexp(1) for c in range(x.shape[1])]
    return x - torch.stack(rest, 1)
