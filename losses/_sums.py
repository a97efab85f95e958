"""Sums over pixels, which most losses are a formula of.

The definition of a sum is the plain formula here. Small inputs are computed by it; large ones by
`losses._blocks`, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from ._blocks import Blocks, BlockSums, is_small, whole
from ._optional import Bool, Float, Shaped
from ._reading import is_traced, probability
from ._regions import RegionBlocks, stack


class Kernel:
    """Sums over pixels as a plain formula, `sums`; a call computes them for whole images."""

    single = False
    """Whether there is one sum per image, (1, n, 1)."""
    blocks = Blocks()
    """How large inputs are computed."""

    def sums(
        self, x: Float[Tensor, "n c l"], y: Float[Tensor, "n c l"], w: Tensor | None
    ) -> Float[Tensor, "k n c"]:
        """Return the sums of logits x, target y and weights w, differentiable in x."""
        raise NotImplementedError

    def __call__(
        self,
        x: Float[Tensor, "n c l"],
        y: Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"],
        w: Shaped[Tensor, "n _ l"] | None = None,
    ) -> Float[Tensor, "k n c"]:
        """Return the sums of logits of any floating type and any target; None weighs by 1."""
        if is_traced() or is_small(x):
            return self.plain(x, y, w)
        return BlockSums.apply(self, x, y, w)

    def plain(self, x: Tensor, y: Tensor, w: Tensor | None = None) -> Float[Tensor, "k n c"]:
        """Return the sums of all pixels at once, differentiated by autograd."""
        return self.sums(*whole(x, y, w))


@dataclass(frozen=True)
class Sums:
    """Sums over the pixels of each image and class, (N, C) each; nll and flat (N, 1) or channel 0.

    With weights of pixels every sum is weighted; then `partial` is True.

    overlap sum p y, predicted sum p, squared sum p^2, distance sum |p - y|, target sum y,
    target_squared sum y^2, count the number of pixels, nll sum -log p_true, flat
    sum -mean_c log p_c; error sum |p - y|^gamma, missed sum (y (1 - p))^gamma, invented
    sum ((1 - y) p)^gamma.
    """

    overlap: Tensor = None
    predicted: Tensor = None
    squared: Tensor = None
    distance: Tensor = None
    nll: Tensor = None
    flat: Tensor = None
    target: Tensor = None
    target_squared: Tensor = None
    count: Tensor = None
    error: Tensor = None
    missed: Tensor = None
    invented: Tensor = None
    partial: bool = False

    def map(self, function: Callable[[Tensor], Tensor]) -> Sums:
        """Return the function of each sum."""
        return self._with({name: function(v) for name, v in self.items()})

    def _with(self, sums: dict[str, Tensor]) -> Sums:
        return Sums(**sums, partial=self.partial)

    def where(self, condition: Bool[Tensor, "n c"], other: Sums) -> Sums:
        """Return the sums of `other` where the condition holds, and these elsewhere."""
        pairs = [(name, getattr(other, name), v) for name, v in self.items()]
        return self._with({n: v if o is v else torch.where(condition, o, v) for n, o, v in pairs})

    def only(self, names: Iterable[str]) -> Sums:
        """Return the named sums."""
        return self._with({name: getattr(self, name) for name in names})

    def items(self) -> list[tuple[str, Tensor]]:
        """Return (name, value) of the sums that were computed."""
        return [(name, v) for name in TERMS if (v := getattr(self, name)) is not None]

    def of_background(self) -> Sums:
        """Return the sums of 1 - p and 1 - y for classes without a true pixel: sum y is 0."""
        n, p = self.count, self.predicted
        rest = n - p
        other = {
            "predicted": lambda v: rest,
            "target": lambda v: n,
            "overlap": lambda v: rest + v,
            "squared": lambda v: n - 2 * p + v,
            "target_squared": lambda v: n,
            "missed": lambda v: self.invented,
            "invented": lambda v: self.missed,
        }
        return self._with({name: other.get(name, lambda v: v)(v) for name, v in self.items()})


TERMS = tuple(f.name for f in fields(Sums) if f.name != "partial")


class RegionSums(Kernel):
    """The named sums of `Sums`, and always target and count.

    >>> s = RegionSums({"overlap"})(torch.zeros(1, 1, 4), torch.tensor([[[1, 1, 0, 0]]]))
    >>> s.overlap.item(), s.target.item(), s.count.item()
    (1.0, 2.0, 4.0)
    """

    blocks = RegionBlocks()

    def __init__(self, terms: Iterable[str]):
        terms = {*terms, "target", "count"} | ({"target_squared"} if "squared" in terms else set())
        self.terms = [t for t in TERMS if t in terms]

    def __call__(self, x: Tensor, y: Tensor, w: Tensor | None = None) -> Sums:
        """Return the sums by name."""
        sums = dict(zip(self.terms, super().__call__(x, y, w), strict=True))
        return Sums(**sums, partial=w is not None)

    def plain(self, x: Tensor, y: Tensor, w: Tensor | None = None) -> list[Tensor]:
        """Return the sums of all pixels at once; they need no stack."""
        return self.rows(*whole(x, y, w))

    def pixels(self, x: Tensor, y: Tensor) -> dict[str, Callable[[], Tensor]]:
        """Return the summand of each sum, by name, as a function that makes it (n, C or 1, l)."""
        p = probability(x)
        return {
            "overlap": lambda: p * y,
            "predicted": lambda: p,
            "squared": lambda: p.square(),
            "distance": lambda: (p - y).abs(),
            "nll": lambda: nll(x, y),
            "flat": lambda: nll(x, torch.full_like(x, 1 / max(2, x.shape[1]))),
            "target": lambda: y,
            "target_squared": lambda: y.square(),
            "count": lambda: torch.ones_like(x),
        }

    def rows(self, x: Tensor, y: Tensor, w: Tensor | None) -> list[Tensor]:
        """Return the sums one by one, (n, C), or (n, 1) for a sum without classes."""
        pixels = self.pixels(x, y)
        return [self._sum(t, pixels[t], x, w) for t in self.terms]

    def _sum(self, term: str, pixels: Callable, x: Tensor, w: Tensor | None) -> Tensor:
        if term == "count" and w is None:
            return x.new_full(x.shape[:2], x.shape[2])
        return (pixels() if w is None else w * pixels()).sum(-1)

    def sums(self, x: Tensor, y: Tensor, w: Tensor | None) -> Float[Tensor, "k n c"]:
        """Return the sums stacked, nll and flat in channel 0."""
        return stack(x, self.rows(x, y, w))


def nll(x: Float[Tensor, "n c l"], y: Float[Tensor, "n c l"]) -> Float[Tensor, "n 1 l"]:
    """Return -sum_c y_c log p_c of each pixel.

    >>> nll(torch.zeros(1, 2, 1), torch.tensor([[[1.0], [0.0]]])).item()
    0.6931471824645996
    """
    if x.shape[1] == 1:
        # An infinite logit costs nothing where it is right; torch multiplies it by 0.
        most = torch.finfo(x.dtype).max
        return F.binary_cross_entropy_with_logits(x.clamp(-most, most), y, reduction="none")
    return -(of_true(F.log_softmax(x, 1), y) * y).sum(1, keepdim=True)


def of_true(log_p: Float[Tensor, "n c l"], share: Float[Tensor, "n c l"]) -> Float[Tensor, "n c l"]:
    """Return log p, 0 where the share of the class is 0: log p may be infinite there."""
    return log_p.masked_fill(share == 0, 0)
