"""Closed forms of the sums over pixels that most losses share, and of their gradient."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ._blocks import Block, Blocks, Formula, Scratch
from ._optional import Float
from ._reading import is_readable, probability

COUNTS = {"target", "target_squared", "count"}
"""Sums that read no probability."""


class RegionBlocks(Blocks):
    """Closed forms for the terms of `losses._sums.RegionSums`; the weight must be 0 or 1.

    With p the probability and y the target, d overlap / dp = y, d predicted / dp = 1,
    d squared / dp = 2 p, d distance / dp = sign(p - y); d nll / dlogit = p - y and
    d flat / dlogit = p - 1/C (C = 2 for the sigmoid).
    """

    keeps_probability = masks_only = True

    def sums(
        self, kernel: Formula, block: Block, scratch: Scratch, p: Tensor | None = None
    ) -> Float[Tensor, "k n c"]:
        """Return the sums of a block, and write the probability into `p`."""
        x, y, w = block
        part = y if w is None else y * w
        logs = {}
        if "nll" in kernel.terms or "flat" in kernel.terms:
            p, logs = _likelihood(kernel.terms, block, part, scratch, p)
        else:
            p = _probability_into(x, p)
        q, y = (p, part) if w is None or logs.keys() == {*kernel.terms} - COUNTS else (p * w, part)

        def dot(a: Tensor, b: Tensor) -> Tensor:
            # Not by BLAS, which adds in so few parts that constant values lose digits.
            return torch.mul(a, b, out=scratch("pixels", x)).sum(-1)

        make = {
            "overlap": lambda: dot(q, y),
            "predicted": lambda: q.sum(-1),
            "squared": lambda: dot(q, q),
            "distance": lambda: torch.sub(q, y, out=scratch("pixels", x)).abs_().sum(-1),
            "nll": lambda: logs["nll"],
            "flat": lambda: logs["flat"],
            "target": lambda: y.sum(-1),
            "target_squared": lambda: dot(y, y),
            "count": lambda: (
                x.new_full(x.shape[:2], x.shape[2]) if w is None else w.sum(-1).expand(x.shape[:2])
            ),
        }
        return stack(x, [make[t]() for t in kernel.terms])

    def gradient(
        self,
        kernel: Formula,
        block: Block,
        g: Float[Tensor, "k n c"],
        out: Float[Tensor, "n c l"],
        scratch: Scratch,
        p: Tensor | None = None,
    ) -> None:
        """Write d(sum(g * sums)) / dx into `out`, which may be `p` itself."""
        x, y, w = block
        g = dict(zip(kernel.terms, g.unsqueeze(-1), strict=True))
        p = probability(x) if p is None else p
        steps = {
            "overlap": lambda into: torch.mul(y, g["overlap"], out=into),
            "squared": lambda into: torch.mul(p, 2 * g["squared"], out=into),
            "distance": lambda into: torch.sub(p, y, out=into).sign_().mul_(g["distance"]),
        }
        dx = _total([steps[t] for t in steps if t in g], x, scratch)
        if "predicted" in g:
            dx = scratch("total", x).zero_() if dx is None else dx
            dx.add_(g["predicted"])
        last = w is None and "nll" not in g and "flat" not in g and out.dtype == p.dtype
        if dx is not None:
            dx = _through_probability(dx, p, out if last else dx)
            if last:
                return
        steps = {
            "nll": lambda into: torch.sub(p, y, out=into).mul_(g["nll"][:, :1]),
            "flat": lambda into: torch.sub(p, 1 / max(2, x.shape[1]), out=into).mul_(
                g["flat"][:, :1]
            ),
        }
        dx = _total([steps[t] for t in steps if t in g], x, scratch, dx)
        out.copy_(dx if w is None else dx * w)


def stack(x: Float[Tensor, "n c l"], sums: Iterable[Tensor]) -> Float[Tensor, "k n c"]:
    """Stack sums (n, C); a sum (n, 1) without classes is padded to channel 0 of (n, C)."""
    rows = x.shape[:2]
    return torch.stack([v if v.shape == rows else F.pad(v, (0, rows[1] - 1)) for v in sums])


def _likelihood(
    terms: Collection[str], block: Block, part: Tensor, scratch: Scratch, p: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the probability, written into `p`, and the sums nll and flat, (n, 1).

    part: y w. With d = x - max x and r the sum of exp d over the classes but the best, -log p_c is
    log(1 + r) - d_c: two summands of at least 0, so no sum loses its digits to cancellation.
    New memory is slow, so `p` holds other values before the probability.
    """
    x, w = block.x, block.w
    p = torch.empty_like(x) if p is None else p
    pixels = scratch("pixels", x)
    far, rest, total = (_binary if x.shape[1] == 1 else _softmax)(terms, block, part, pixels, p)
    if w is not None:
        rest.mul_(w)
    if total is None:
        log = likely = _sum_log(rest, x.shape[1], (pixels if rest is not pixels else p)[:, :1])
    else:
        log, likely = rest.log1p_().sum(-1), rest.mul_(total).sum(-1)
    if x.shape[1] == 1:
        torch.sigmoid(x, out=p)
    logs = {"nll": likely, "flat": log}
    return p, {name: value + logs[name] for name, value in far.items()}


def _binary(
    terms: Collection[str], block: Block, part: Tensor, pixels: Tensor, p: Tensor
) -> tuple[dict[str, Tensor], Tensor, None]:
    """Return `_softmax` of the logits (0, x), but without the probability."""
    x, y, w = block
    far = {}
    if "nll" in terms:
        torch.clamp(x, 0, out=pixels).addcmul_(x, y, value=-1)
        far["nll"] = (pixels if w is None else pixels.mul_(w)).sum(-1)
        if not is_readable(x) or far["nll"].isnan().any():  # y of 0 times an infinite logit
            sure = torch.where(x > 0, 1 - y, y)
            far["nll"] = _weighted(x.abs().mul_(sure).masked_fill_(sure == 0, 0), w).sum(-1)
    torch.abs(x, out=pixels)
    if "flat" in terms:
        far["flat"] = _weighted(pixels, w).sum(-1) / 2
    return far, _exp(pixels.neg_(), pixels, p), None


def _softmax(
    terms: Collection[str], block: Block, part: Tensor, pixels: Tensor, p: Tensor
) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """Return the sums of -d as nll and flat weigh it, r and sum y; write the probability into `p`.

    sum y is None where it is 1 at every pixel with a weight.
    """
    x, y, w = block
    far, depth = {}, torch.sub(x, x.amax(1, keepdim=True), out=pixels)
    if "flat" in terms:
        far["flat"] = -_weighted(depth, w).sum((1, 2)).unsqueeze(1) / x.shape[1]
    if "nll" in terms:
        far["nll"] = -torch.mul(depth, part, out=p).sum((1, 2)).unsqueeze(1)
        if not is_readable(x) or far["nll"].isnan().any():  # y of 0 times an infinite logit
            torch.mul(depth.masked_fill(y == 0, 0), part, out=p)
            far["nll"] = -p.sum((1, 2)).unsqueeze(1)
    _exp(depth, p, pixels)
    total = y.sum(1, keepdim=True)
    rest = torch.sub(p, y, out=pixels).sum(1, keepdim=True)
    p.div_(rest + total)
    if w is not None:
        total = torch.where(w > 0, total, 1)
    if is_readable(x) and (total == 1).all():
        return far, rest, None
    return far, rest.add_(total - 1), total


def _exp(x: Tensor, out: Tensor, other: Tensor) -> Tensor:
    """Write exp x into `out`, for x of at most 0; overwrite `other`.

    By the sigmoid, which is faster than exp on a CPU.
    """
    torch.sigmoid(x, out=out)
    return out.div_(torch.sub(1, out, out=other))


def _weighted(values: Tensor, w: Tensor | None) -> Tensor:
    return values if w is None else values * w


def _through_probability(dp: Tensor, p: Tensor, out: Tensor) -> Tensor:
    """Return the gradient of the logits from that of the probability, written into `out`."""
    if p.shape[1] == 1:
        return torch.ops.aten.sigmoid_backward.grad_input(dp, p, grad_input=out)
    # Blocks are not contiguous, and torch's own softmax backward would copy them.
    mean = dp.mul_(p).sum(1, keepdim=True)
    return torch.addcmul(dp, p, mean, value=-1, out=out)


def _total(
    steps: list[Callable[[Tensor], Tensor]],
    x: Tensor,
    scratch: Scratch,
    total: Tensor | None = None,
) -> Tensor | None:
    """Return the sum of the steps; each writes into the buffer that it receives."""
    for step in steps:
        if total is None:
            total = step(scratch("total", x))
        else:
            total.add_(step(scratch("step", x)))
    return total


def _probability_into(x: Tensor, p: Tensor | None) -> Tensor:
    if p is None:
        return probability(x)
    if x.shape[1] == 1:
        return torch.sigmoid(x, out=p)
    return torch.softmax(x, 1, out=p)


def _sum_log(rest: Tensor, classes: int, other: Tensor) -> Tensor:
    """Return sum log(1 + rest) over the last axis, for rest in [0, C - 1] (1 for the sigmoid).

    A logarithm costs more than all other operations together, so take one of a product of many:
    (1 + a)(1 + b) - 1 = a + b + a b keeps the digits of small values. 64 factors of at most 2, or
    16 of at most 128, do not overflow in float32. Overwrites `rest` and `other`.
    """
    folds = 6 if classes <= 2 else 4 if classes <= 128 else 0
    odd = rest.shape[-1] % 2**folds
    last = rest[..., rest.shape[-1] - odd :].log1p().sum(-1) if odd else 0
    rest = rest[..., : rest.shape[-1] - odd]
    for _ in range(folds):
        a, b = rest.chunk(2, -1)
        product = torch.add(a, b, out=other[..., : a.shape[-1]]).addcmul_(a, b)
        rest, other = product, rest
    return rest.log1p().sum(-1) + last
