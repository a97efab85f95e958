"""The block engine: sums over the pixels of large inputs, block by block.

A kernel (`losses._sums.Kernel`) states its sums as a plain formula. This module computes the same
sums and their gradient in blocks, so that only the gradient itself is allocated. On a CPU a block
fits the cache; on other devices blocks only limit the memory of very large inputs. `Blocks` works
for any kernel, by autograd; `losses._regions` has a faster closed form for the sums that most
losses share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ._optional import Float, Shaped
from ._reading import dense_target, is_readable, wide

BLOCK = 2**20
"""Elements of a block on a CPU: small enough for its cache, large enough to hide Python's overhead.

With autograd a block has an eighth of it, because a dozen tensors of a block are alive at once.
"""
DEVICE_BLOCK = 2**26
"""Elements of a block on other devices, and of the largest input of the plain formula."""


def is_small(x: Tensor) -> bool:
    """Return whether autograd on the plain formula is fastest: on a CPU if it fits the cache."""
    return x.numel() <= (BLOCK // 16 if is_readable(x) else DEVICE_BLOCK)


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
    size = (BLOCK if closed_form else BLOCK // 8) if is_readable(x) else DEVICE_BLOCK
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
    masks_only = False
    """Whether weights must be 0 or 1."""

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
    backward pass, and a kernel that stores nothing, recompute the values of each block. A gradient
    that is differentiated again is that of the plain formula.
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
        if blocks.masks_only and w is not None and w.dtype != torch.bool:
            blocks = Blocks()
        ctx.blocks = blocks
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
    def backward(
        ctx: torch.autograd.function.FunctionCtx, g: Float[Tensor, "k n c"]
    ) -> tuple[None, Float[Tensor, "n c l"], None, None]:
        """Return the gradient with respect to the logits."""
        x, y, w = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the plain formula has all derivatives
            sums = ctx.kernel.sums(*whole(x, y, w))
            return None, *torch.autograd.grad(sums, x, g, create_graph=True), None, None
        stored, ctx.stored = ctx.stored, None
        if ctx.kernel.single and stored is not None:
            return None, stored.mul_(g[0].unsqueeze(-1)).to(x.dtype), None, None
        grad, scratch = torch.empty_like(x) if stored is None else stored, Scratch()
        blocks = ctx.blocks
        for images, pixels in _slices(x, blocks.keeps_probability):
            block = _cut(x, y, w, images, pixels)
            out = grad[images, :, pixels]
            p = None if stored is None else out
            blocks.gradient(ctx.kernel, block, g[:, images], out, scratch, p)
        return None, grad.to(x.dtype), None, None
