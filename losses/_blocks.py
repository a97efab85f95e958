"""The block engine: sums over the pixels of large inputs, block by block.

A kernel (`losses._sums.Kernel`) states its sums as a plain formula. This module computes the same
sums and their gradient in blocks, so that only the gradient itself is allocated. On a CPU a block
fits the cache; on other devices blocks only limit the memory of very large inputs. `Blocks` works
for any kernel, by autograd; `RegionBlocks` has a faster closed form for the sums that most losses
share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from losses._interface import dense_target, on_cpu, probability, wide

BLOCK = 2**20
"""Elements of a block on a CPU: small enough for its cache, large enough to hide Python's overhead.

With autograd a block has an eighth of it, because a dozen tensors of a block are alive at once.
"""
DEVICE_BLOCK = 2**26
"""Elements of a block on other devices, and of the largest input of the plain formula."""


def is_small(x: Tensor) -> bool:
    """Return whether autograd on the plain formula is fastest: on a CPU if it fits the cache."""
    return x.numel() <= (BLOCK // 16 if on_cpu(x) else DEVICE_BLOCK)


class Block(NamedTuple):
    """Some pixels of some images."""

    x: Float[Tensor, "n c l"]
    """Logits, at least float32."""
    y: Float[Tensor, "n c l"]
    """Target probabilities."""
    w: Float[Tensor, "n _ l"] | None
    """Weights; None weighs all pixels by 1."""


class Formula(Protocol):
    """A kernel, as the engine uses it."""

    single: bool
    """Whether there is one sum per image, (1, n, 1)."""
    blocks: Blocks

    def sums(
        self, x: Float[Tensor, "n c l"], y: Float[Tensor, "n c l"], w: Tensor | None
    ) -> Float[Tensor, "k n c"]:
        """Return the sums, differentiable in x."""


def whole(
    x: Float[Tensor, "n c l"], y: Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"], w: Tensor | None
) -> Block:
    """Return all pixels as one block."""
    x = wide(x)
    return Block(x, dense_target(y, x.shape[1], x.dtype), None if w is None else w.to(x.dtype))


def _slices(x: Tensor, closed_form: bool) -> Iterator[tuple[slice, slice]]:
    """Yield slices (images, pixels) that cut (N, C, L) into blocks of about BLOCK elements."""
    images, classes, pixels = x.shape
    size = (BLOCK if closed_form else BLOCK // 8) if on_cpu(x) else DEVICE_BLOCK
    step_n = max(1, size // (classes * pixels))
    step_l = pixels if step_n > 1 else min(pixels, max(1, size // classes))
    for n in range(0, images, step_n):
        for i in range(0, pixels, step_l):
            yield slice(n, n + step_n), slice(i, i + step_l)


def _cut(x: Tensor, y: Tensor, w: Tensor | None, images: slice, pixels: slice) -> Block:
    y = y[images, pixels] if y.dim() == 2 else y[images, :, pixels]
    return whole(x[images, :, pixels], y, None if w is None else w[images, :, pixels])


class Scratch:
    """Reusable buffers: the first touch of new memory is slow."""

    def __init__(self):
        self.buffers = {}

    def __call__(self, name: str, like: Tensor) -> Tensor:
        """Return a tensor like `like`, with any content; the same name has the same memory."""
        if name not in self.buffers or self.buffers[name].numel() < like.numel():
            self.buffers[name] = like.new_empty(like.numel())
        return self.buffers[name][: like.numel()].view(like.shape)


class Blocks:
    """How the sums of a block and their gradient are computed: by autograd of the plain formula."""

    keeps_probability = False
    """Whether `sums` writes the probability into `p`, and `gradient` reads it."""

    def sums(
        self, kernel: Formula, block: Block, scratch: Scratch, p: Tensor | None = None
    ) -> Float[Tensor, "k n c"]:
        """Return the sums of a block, without a graph."""
        return kernel.sums(*block)

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
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out.copy_(torch.autograd.grad(kernel.sums(x, y, w), x, g)[0])

    def value_and_gradient(
        self, kernel: Formula, block: Block, out: Float[Tensor, "n c l"]
    ) -> Float[Tensor, "1 n 1"]:
        """Return the sums and write d(sum(sums)) / dx into `out`; for `single` kernels."""
        x, y, w = block
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            sums = kernel.sums(x, y, w)
            out.copy_(torch.autograd.grad(sums.sum(), x)[0])
        return sums.detach()


class BlockSums(torch.autograd.Function):
    """The sums of a kernel block by block, with one stored tensor like the logits.

    The stored tensor is all that the backward pass needs: the probability, or the gradient if each
    image has one sum (known up to a factor). It becomes the gradient that is returned. A second
    backward pass, and a kernel that stores nothing, recompute the values of each block.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        kernel: Formula,
        x: Float[Tensor, "n c l"],
        y: Shaped[Tensor, "n c l"] | Shaped[Tensor, "n l"],
        w: Shaped[Tensor, "n _ l"] | None,
    ) -> Float[Tensor, "k n c"]:
        """Return the sums."""
        ctx.kernel, ctx.stored, blocks = kernel, None, kernel.blocks
        ctx.save_for_backward(x, y, w)
        if ctx.needs_input_grad[1] and (blocks.keeps_probability or kernel.single):
            ctx.stored = torch.empty_like(x, dtype=wide(x[:0]).dtype)
        out, scratch = None, Scratch()
        for images, pixels in _slices(x, blocks.keeps_probability):
            block = _cut(x, y, w, images, pixels)
            stored = None if ctx.stored is None else ctx.stored[images, :, pixels]
            if kernel.single and stored is not None:
                part = blocks.value_and_gradient(kernel, block, stored)
            else:
                part = blocks.sums(kernel, block, scratch, stored)
            if out is None:
                if part.shape[1] == len(x) and pixels.stop >= x.shape[2]:
                    return part
                out = part.new_zeros(part.shape[0], len(x), part.shape[2])
            out[:, images] += part
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, g: Float[Tensor, "k n c"]
    ) -> tuple[None, Float[Tensor, "n c l"], None, None]:
        """Return the gradient with respect to the logits."""
        x, y, w = ctx.saved_tensors
        stored, ctx.stored = ctx.stored, None
        if ctx.kernel.single and stored is not None:
            return None, stored.mul_(g[0].unsqueeze(-1)).to(x.dtype), None, None
        grad, scratch = torch.empty_like(x) if stored is None else stored, Scratch()
        blocks = ctx.kernel.blocks
        for images, pixels in _slices(x, blocks.keeps_probability):
            block = _cut(x, y, w, images, pixels)
            out = grad[images, :, pixels]
            p = None if stored is None else out
            blocks.gradient(ctx.kernel, block, g[:, images], out, scratch, p)
        return None, grad.to(x.dtype), None, None


class RegionBlocks(Blocks):
    """Closed forms for the terms of `losses._sums.RegionSums`; the weight must be 0 or 1.

    With p the probability and y the target, d overlap / dp = y, d predicted / dp = 1,
    d squared / dp = 2 p, d distance / dp = sign(p - y); d nll / dlogit = p - y and
    d flat / dlogit = p - 1/C (C = 2 for the sigmoid).
    """

    keeps_probability = True

    def sums(
        self, kernel: Formula, block: Block, scratch: Scratch, p: Tensor | None = None
    ) -> Float[Tensor, "k n c"]:
        """Return the sums of a block, and write the probability into `p`."""
        x, y, w = block
        p = _probability_into(x, p)
        if w is not None:
            x, y, q = x * w, y * w, p * w
        else:
            q = p
        if "nll" in kernel.terms or "flat" in kernel.terms:
            top = _best_log(x, p, w, scratch)
        make = {
            "overlap": lambda: _dot(q, y),
            "predicted": lambda: q.sum(-1),
            "squared": lambda: _dot(q, q),
            "distance": lambda: torch.sub(q, y, out=scratch("pixels", x)).abs_().sum(-1),
            "nll": lambda: top - _dot(x, y).sum(1, keepdim=True),
            "flat": lambda: top - x.sum((1, 2)).unsqueeze(1) / max(2, x.shape[1]),
            "target": lambda: y.sum(-1),
            "target_squared": lambda: _dot(y, y),
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


def _best_log(x: Tensor, p: Tensor, w: Tensor | None, scratch: Scratch) -> Tensor:
    """Return sum(max x - log max p), (n, 1); -log p_c is that less x_c, and max p at least 1/C."""
    if x.shape[1] == 1:
        top = torch.clamp(x, 0, out=scratch("pixels", x)).sum(-1)
        best = torch.sub(p, 0.5, out=scratch("pixels", x)).abs_().add_(0.5)
    else:
        top = x.amax(1, keepdim=True).sum(-1)
        best = p.amax(1, keepdim=True)
    if w is not None:
        best = torch.where(w > 0, best, 1.0)
    top -= _sum_log(best, x.shape[1])
    return top


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


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return sum(a b) over the last axis; long rows on a CPU by BLAS, which stores no product."""
    if on_cpu(a) and a.shape[2] >= 2**14:
        return torch.stack(
            [torch.dot(*rows) for rows in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)]
        ).view(a.shape[:2])
    return (a * b).sum(-1)


def _sum_log(best: Tensor, classes: int) -> Tensor:
    """Return sum log(best) over the last axis, for best in [1/C, 1] (1/2 for the sigmoid).

    A logarithm costs more than all other operations together, so take one of a product of many:
    64 values above 1/2, or 16 above 1/128, are far from underflow in float32. Overwrites `best`.
    """
    folds = 6 if classes <= 2 else 4 if classes <= 128 else 0
    odd = best.shape[-1] % 2**folds
    rest = best[..., best.shape[-1] - odd :].log().sum(-1) if odd else 0
    best = best[..., : best.shape[-1] - odd]
    for _ in range(folds):
        half = best.shape[-1] // 2
        best = best[..., :half].mul_(best[..., half:])
    return best.log().sum(-1) + rest
