"""Losses that look at each true object by itself."""

import numpy as np
import torch

from losses import build
from losses._base import Kernel, MapLoss, RegionSums, components, no_autocast, read, wide
from losses.overlap import DiceLoss


class InverseSizeDiceLoss(MapLoss, DiceLoss):
    """1 - 2 sum(w p y) / (sum w p + sum w y), w_i = 1 / size of i's object, times the mean size

    in [0, 1]; an object is a connected component of the true mask (sharing a face), and its
    background is one object more, so each weighs the same. maps: w (N, C, *space).
    Source: Shirokikh et al., Universal loss reweighting to balance lesion size inequality, 2020.
    """

    minimiser = "p = 1 where E[w y] > E[w] d/2, else 0 (d the weighted Dice score reached)"

    def __init__(self, **options):
        super().__init__(**options)
        self.kernel = _WeightedSums(self.kernel.terms)

    def map_of(self, mask):
        parts, _ = components(mask)
        sizes = np.bincount(parts.ravel())
        return (parts.size / np.count_nonzero(sizes) / np.maximum(sizes, 1))[parts]

    def forward(self, logits, target, maps=None):
        x, y, counts = read(logits, target, self.ignore_index)
        maps = self.maps_for(logits, target, maps)
        weight = maps.flatten(2) if counts is None else maps.flatten(2) * counts
        with no_autocast(logits):
            return self.reduce(self.kernel(x, y, weight))


class _WeightedSums(RegionSums):
    """`RegionSums` under any weight of at least 0; the gradient by autograd."""

    fast_sums, gradient, keeps_probability = Kernel.fast_sums, Kernel.gradient, False


class BlobLoss(MapLoss):
    """mean over images of mean over their objects k of criterion(p without the others, y_k)

    An object is a connected component of the true mask (sharing a face), y_k its pixels. The
    others' pixels are background of probability 0 to the criterion: it is the probability that is
    masked, not the logit. An image without an object is given to the criterion whole. With C > 1
    each class but 0 is taken against the rest, and the mean is over the objects of all.
    criterion: any loss as a configuration names it. maps: object numbers (N, C, *space).
    Source: Kofler et al., blob loss, 2023.
    """

    minimiser = "that of its criterion, each object weighing the same"

    def __init__(self, *, criterion="dice", ignore_index=None):
        super().__init__(ignore_index=ignore_index)
        self.criterion = criterion
        self.loss = build(criterion)

    def map_of(self, mask):
        return components(mask)[0]

    def forward(self, logits, target, maps=None):
        x, _, counts = read(logits, target, self.ignore_index)
        space = logits.shape[2:]
        parts = self.maps_for(logits, target, maps)
        x = one_against_rest(wide(x)).unflatten(2, space)
        dropped = None if counts is None else ~counts.unflatten(2, space)
        classes = range(1, x.shape[1]) if x.shape[1] > 1 else [0]
        losses = []
        for n in range(len(x)):
            scores = []
            for c in classes:
                part = parts[n, c]
                for k in part.unique().tolist()[int(bool((part == 0).any())) :]:
                    others = (part != 0) & (part != k)
                    others = others if dropped is None else others | dropped[n, 0]
                    scores.append(self._score(x[n, c], part == k, others))
            if not scores:
                none = torch.zeros(space, dtype=torch.bool, device=x.device)
                others = none if dropped is None else dropped[n, 0]
                scores = [self._score(x[n, c], none, others) for c in classes]
            losses.append(torch.stack(scores).mean())
        return torch.stack(losses).mean()

    def _score(self, x, mask, others):
        # The least logit that every loss here takes: its probability is 0 in float32.
        x = x.masked_fill(others, -1e4)
        return self.loss(x[None, None], mask.to(x.dtype)[None, None])


def one_against_rest(x):
    """Logits z (n, C, l) such that sigmoid(z_c) is softmax(x)_c; those of one channel as they are.

    z_c = x_c - log sum_{k != c} exp x_k.
    """
    if x.shape[1] == 1:
        return x
    rest = [torch.cat([x[:, :c], x[:, c + 1 :]], 1).logsumexp(1) for c in range(x.shape[1])]
    return x - torch.stack(rest, 1)
