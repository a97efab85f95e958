"""What every loss shares: its options, reading logits and targets, and sums over pixels.

Most losses here are small formulas in sums over the pixels of each image and class. The sums are
made in one place, `pixel_sums`: a kernel's `sums` is the plain formula, and a custom autograd
function runs it block by block, so that what lies between logits and sums never leaves the
processor's cache and nothing but the gradient itself is allocated.
"""

import contextlib
import inspect
import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BLOCK = 2**20
"""Elements of a block on a CPU: small enough for its cache, large enough to hide Python.

An eighth where autograd makes the gradient, as a dozen tensors of a block then live at once.
"""


def is_small(x):
    """Whether all there is fits the cache, so that autograd on the plain formula is quickest."""
    return x.numel() <= BLOCK // 16


def options(loss_class):
    """Every keyword option of a loss class and its default, the class's own first."""
    found = {}
    for cls in loss_class.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        for p in parameters:
            if p.kind is p.KEYWORD_ONLY:
                found.setdefault(p.name, p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def choose(name, value, allowed):
    """The value, or ValueError where it is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def number(name, value, low=-math.inf, high=math.inf, *, above=None):
    """The value as a float, or ValueError where it is no number in [low, high] (or not > above)."""
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

    logits (N, C, *space), floating point, *space of one to three axes: C = 1 is binary and goes
    through the sigmoid, C > 1 through the softmax.
    target: class indices (N, *space) of an integer type, or probabilities (N, C, *space) in
    [0, 1] of any type; with C = 1 both hold the foreground, 0 to 1.
    ignore_index: pixels whose target is this value are left out (in probabilities: those whose
    first channel is). None leaves out none.
    Raises ValueError for other shapes, types and values, and says which.
    """

    def __init__(self, *, ignore_index=None):
        super().__init__()
        if ignore_index is not None and (
            isinstance(ignore_index, bool) or not isinstance(ignore_index, int)
        ):
            raise ValueError(f"ignore_index must be an integer or None, got {ignore_index!r}")
        self.ignore_index = ignore_index

    def extra_repr(self):
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options(type(self)))

    def forward(self, logits, target):
        with no_autocast(logits):
            return self.reduce(self.kernel(*read(logits, target, self.ignore_index)))


class MapLoss(SegmentationLoss):
    """A loss that also reads maps of the target: distances, or which object a pixel is part of.

    `maps(target)` makes them once per image, on the CPU; ``loss(logits, target, maps=maps)`` saves
    making them again. They flip and turn along with the target.
    """

    def maps(self, target, classes=None):
        """Maps (N, C, *space), float32.

        target: probabilities (N, C, *space), of which more than 1/2 is foreground; or, with
        `classes` given, class indices (N, *space).
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

    def map_of(self, mask):
        """The map of one boolean mask (*space), a NumPy array."""
        raise NotImplementedError

    def maps_for(self, logits, target, maps=None):
        """The maps given, or made, on the device of the logits."""
        if maps is None:
            indices = target.shape != logits.shape and logits.shape[1] > 1
            dense = target if indices else target.reshape(logits.shape)
            maps = self.maps(dense, logits.shape[1] if indices else None)
        elif maps.shape != logits.shape:
            raise ValueError(
                f"maps must be of the logits' shape {tuple(logits.shape)}, got {tuple(maps.shape)}"
            )
        return maps.to(logits.device)


def components(mask):
    """Connected components of a mask, sharing a face: labels 1..n, 0 elsewhere, and n."""
    from scipy import ndimage

    return ndimage.label(mask)


def no_autocast(x):
    """Sums and exponentials want float32: within this context autocast is off."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return contextlib.nullcontext()


def read(logits, target, ignore_index=None):
    """Logits (N, C, L), target (N, C, L) or class indices (N, L), and the pixels that count.

    The last is (N, 1, L), 1 where a pixel counts and 0 where it is ignored, or None where all do.
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
    if not torch.compiler.is_compiling():
        _check_values(target, 1 if dense else classes - 1, dense and classes > 1)
    return logits.flatten(2), target, counts


def check_logits(logits):
    """Raise ValueError for logits that are not (N, C, *space) of a floating type."""
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point, got {logits.dtype}")
    if logits.dim() < 3 or logits.numel() == 0:
        raise ValueError(
            f"logits must be (N, C, *space) and not empty, got shape {tuple(logits.shape)}"
        )


def _check_values(target, high, probabilities):
    if target.dtype == torch.bool:
        return
    found = [x.item() for x in torch.aminmax(target)]
    if not (found[0] >= 0 and found[1] <= high):
        what = "probabilities" if probabilities or target.is_floating_point() else "labels"
        raise ValueError(
            f"target {what} must lie in 0..{high}, got {found[0]:g}..{found[1]:g} "
            "(a label to leave out is named by ignore_index)"
        )


def dense_target(target, classes, dtype):
    """The target as probabilities (N, C, L), from those or from class indices (N, L)."""
    if target.dim() == 3:
        return target.to(dtype)
    # By way of int32, which a CPU can vectorise, and is twice as quick.
    index = target.int().to(dtype).unsqueeze(1)
    channels = torch.arange(classes, dtype=dtype, device=target.device).view(1, -1, 1)
    return torch.eq(index, channels, out=index.new_empty(len(target), classes, index.shape[2]))


def wide(x):
    """Half types as float32: sums of them overflow (float16) or stall (bfloat16)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def probability(x):
    """Sigmoid of one channel, softmax over more."""
    return x.sigmoid() if x.shape[1] == 1 else x.softmax(1)


class Kernel:
    """Sums over pixels, as a plain formula: `sums` of logits, target and weight of equal L.

    sums(x (n, C, l), y (n, C, l), w (n, 1 or C, l) or None) -> (K, n, c), differentiable in x.
    Calling a kernel on whole images gives the same sums (K, N, c) by way of blocks.
    """

    def sums(self, x, y, w):
        raise NotImplementedError

    single = False
    """Whether there is one sum per image, (1, n, 1)."""
    keeps_probability = False
    """Whether `fast_sums` writes p, and `gradient` reads it, in a tensor like x."""

    def fast_sums(self, x, y, w, scratch, p=None):
        """`sums` without a graph; a subclass may know a faster way."""
        return self.sums(x, y, w)

    def gradient(self, x, y, w, g, out, scratch, p=None):
        """d(sum(g * sums)) / dx into `out` (n, C, l), which may be p itself."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out.copy_(torch.autograd.grad(self.sums(x, y, w), x, g)[0])

    def value_and_gradient(self, x, y, w, out):
        """`sums`, and d(sum(sums)) / dx into `out`; where `single`."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            sums = self.sums(x, y, w)
            out.copy_(torch.autograd.grad(sums.sum(), x)[0])
        return sums.detach()

    def __call__(self, x, y, w=None):
        if torch.compiler.is_compiling() or is_small(x):
            return self.plain(x, y, w)
        return _BlockSums.apply(self, x, y, w)

    def plain(self, x, y, w=None):
        """The reference: `sums` of everything at once, differentiated by autograd."""
        return self.sums(*_wide_block(x, y, w))


def _wide_block(x, y, w):
    x = wide(x)
    return x, dense_target(y, x.shape[1], x.dtype), None if w is None else w.to(x.dtype)


def _blocks(x, closed):
    """Slices (images, pixels) that cut (N, C, L) into blocks of about BLOCK elements."""
    images, classes, pixels = x.shape
    size = (BLOCK if closed else BLOCK // 8) if x.device.type == "cpu" else 2**26
    step_n = max(1, size // (classes * pixels))
    step_l = pixels if step_n > 1 else min(pixels, max(1, size // classes))
    for n in range(0, images, step_n):
        for i in range(0, pixels, step_l):
            yield slice(n, n + step_n), slice(i, i + step_l)


def _cut(x, y, w, images, pixels):
    y = y[images, pixels] if y.dim() == 2 else y[images, :, pixels]
    return _wide_block(x[images, :, pixels], y, None if w is None else w[images, :, pixels])


class Scratch:
    """Memory that is lent to block after block, since what is new to a process is slow to touch."""

    def __init__(self):
        self.held = {}

    def __call__(self, name, like):
        """A tensor of the shape and type of `like`, of any content; the same for the same name."""
        if name not in self.held or self.held[name].numel() < like.numel():
            self.held[name] = like.new_empty(like.numel())
        return self.held[name][: like.numel()].view(like.shape)


class _BlockSums(torch.autograd.Function):
    """Block by block, with one tensor like the logits for all that the backward pass needs.

    It holds what the kernel keeps, the probability or (where each image has one sum, so that its
    gradient is known but for a factor) the gradient, and becomes the gradient that is returned. A
    second backward pass, and a kernel that keeps nothing, make the block's values again.
    """

    @staticmethod
    def forward(ctx, kernel, x, y, w):
        ctx.kernel, ctx.kept = kernel, None
        ctx.save_for_backward(x, y, w)
        if ctx.needs_input_grad[1] and (kernel.keeps_probability or kernel.single):
            ctx.kept = torch.empty_like(x, dtype=wide(x[:0]).dtype)
        out, scratch = None, Scratch()
        for images, pixels in _blocks(x, kernel.keeps_probability):
            block = _cut(x, y, w, images, pixels)
            kept = None if ctx.kept is None else ctx.kept[images, :, pixels]
            if kernel.single and kept is not None:
                part = kernel.value_and_gradient(*block, kept)
            else:
                part = kernel.fast_sums(*block, scratch, kept)
            if out is None:
                if part.shape[1] == len(x) and pixels.stop >= x.shape[2]:
                    return part
                out = part.new_zeros(part.shape[0], len(x), part.shape[2])
            out[:, images] += part
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        x, y, w = ctx.saved_tensors
        kept, ctx.kept = ctx.kept, None
        if ctx.kernel.single and kept is not None:
            return None, kept.mul_(g[0].unsqueeze(-1)).to(x.dtype), None, None
        grad, scratch = torch.empty_like(x) if kept is None else kept, Scratch()
        for images, pixels in _blocks(x, ctx.kernel.keeps_probability):
            block = _cut(x, y, w, images, pixels)
            out = grad[images, :, pixels]
            p = None if kept is None else out
            ctx.kernel.gradient(*block, g[:, images], out, scratch, p)
        return None, grad.to(x.dtype), None, None


@dataclass(frozen=True)
class Sums:
    """Sums over the pixels of each image and class, (N, C) each; nll and flat in channel 0.

    overlap sum p y, predicted sum p, squared sum p^2, distance sum |p - y|, target sum y,
    target_squared sum y^2, count the pixels, nll sum -log p_true, flat sum -mean_c log p_c;
    error sum |p - y|^gamma, missed sum (y (1 - p))^gamma, invented sum ((1 - y) p)^gamma.
    """

    overlap: torch.Tensor = None
    predicted: torch.Tensor = None
    squared: torch.Tensor = None
    distance: torch.Tensor = None
    nll: torch.Tensor = None
    flat: torch.Tensor = None
    target: torch.Tensor = None
    target_squared: torch.Tensor = None
    count: torch.Tensor = None
    error: torch.Tensor = None
    missed: torch.Tensor = None
    invented: torch.Tensor = None

    def map(self, function):
        """The same sums, each through the function."""
        return Sums(**{name: function(v) for name, v in self.items()})

    def zip(self, other, function):
        """The same sums, each with the other's through the function."""
        return Sums(**{name: function(v, getattr(other, name)) for name, v in self.items()})

    def items(self):
        """(name, value) of the sums that were made."""
        return [(f.name, v) for f in fields(self) if (v := getattr(self, f.name)) is not None]

    def complement(self):
        """The sums of 1 - p and 1 - y."""
        n, p, y = self.count, self.predicted, self.target
        other = {
            "predicted": lambda v: n - v,
            "target": lambda v: n - v,
            "overlap": lambda v: n - p - y + v,
            "squared": lambda v: n - 2 * p + v,
            "target_squared": lambda v: n - 2 * y + v,
            "missed": lambda v: self.invented,
            "invented": lambda v: self.missed,
        }
        return Sums(**{name: other.get(name, lambda v: v)(v) for name, v in self.items()})


TERMS = tuple(f.name for f in fields(Sums))


class RegionSums(Kernel):
    """The sums of `Sums` that are named, with their closed-form gradient.

    With p the probability and y the target, d overlap / dp = y, d predicted / dp = 1,
    d squared / dp = 2 p, d distance / dp = sign(p - y); d nll / dlogit = p - y and
    d flat / dlogit = p - 1/C (C = 2 for the sigmoid). The weight must be 0 or 1.
    """

    def __init__(self, terms):
        terms = {*terms, "target", "count"} | ({"target_squared"} if "squared" in terms else set())
        self.terms = [t for t in TERMS if t in terms]

    def __call__(self, x, y, w=None):
        return Sums(**dict(zip(self.terms, super().__call__(x, y, w), strict=True)))

    def plain(self, x, y, w=None):
        return self.rows(*_wide_block(x, y, w))

    def pixels(self, x, y):
        """What each sum adds up, by name: functions that return (n, C or 1, l)."""
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

    def rows(self, x, y, w):
        """The sums one by one, (n, C), or (n, 1) where a sum has no classes."""
        pixels = self.pixels(x, y)
        return [self._sum(t, pixels[t], x, w) for t in self.terms]

    def _sum(self, term, pixels, x, w):
        if term == "count" and w is None:
            return x.new_full(x.shape[:2], x.shape[2])
        return (pixels() if w is None else w * pixels()).sum(-1)

    def sums(self, x, y, w):
        return self._stack(x, self.rows(x, y, w))

    @staticmethod
    def _stack(x, sums):
        """(K, n, C); a sum that has no classes stands in channel 0."""
        rows = x.shape[:2]
        return torch.stack([v if v.shape == rows else F.pad(v, (0, rows[1] - 1)) for v in sums])

    keeps_probability = True

    def fast_sums(self, x, y, w, scratch, p=None):
        p = _probability_into(x, p)
        if w is not None:
            x, y, q = x * w, y * w, p * w
        else:
            q = p
        if "nll" in self.terms or "flat" in self.terms:
            # -log p_c = (max x - x_c) - log max p, where max p is at least 1/C.
            if x.shape[1] == 1:
                top = torch.clamp(x, 0, out=scratch("pixels", x)).sum(-1)
                best = torch.sub(p, 0.5, out=scratch("pixels", x)).abs_().add_(0.5)
            else:
                top = x.amax(1, keepdim=True).sum(-1)
                best = p.amax(1, keepdim=True)
            if w is not None:
                best = torch.where(w > 0, best, 1.0)
            top -= _sum_log(best, x.shape[1])
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
        return self._stack(x, [make[t]() for t in self.terms])

    def gradient(self, x, y, w, g, out, scratch, p=None):
        g = dict(zip(self.terms, g.unsqueeze(-1), strict=True))
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
        if dx is not None and x.shape[1] == 1:
            dx = torch.ops.aten.sigmoid_backward.grad_input(dx, p, grad_input=out if last else dx)
        elif dx is not None:
            # Rather than torch's own, which copies what is not contiguous, as blocks are not.
            mean = dx.mul_(p).sum(1, keepdim=True)
            dx = torch.addcmul(dx, p, mean, value=-1, out=out if last else dx)
        if last and dx is not None:
            return
        steps = {
            "nll": lambda into: torch.sub(p, y, out=into).mul_(g["nll"][:, :1]),
            "flat": lambda into: torch.sub(p, 1 / max(2, x.shape[1]), out=into).mul_(
                g["flat"][:, :1]
            ),
        }
        dx = _total([steps[t] for t in steps if t in g], x, scratch, dx)
        out.copy_(dx if w is None else dx * w)


def _total(steps, x, scratch, total=None):
    """The sum of the steps, each of which writes into the memory that it is given."""
    for step in steps:
        if total is None:
            total = step(scratch("total", x))
        else:
            total.add_(step(scratch("step", x)))
    return total


def _probability_into(x, p):
    if p is None:
        return probability(x)
    if x.shape[1] == 1:
        return torch.sigmoid(x, out=p)
    return torch.softmax(x, 1, out=p)


def nll(x, y):
    """-sum_c y_c log p_c of each pixel, (n, 1, l)."""
    if x.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(x, y, reduction="none")
    return -(y * F.log_softmax(x, 1)).sum(1, keepdim=True)


def _dot(a, b):
    """sum(a b) over the last axis; of long rows on a CPU by BLAS, which makes no product first."""
    if a.device.type == "cpu" and a.shape[2] >= 2**14:
        return torch.stack(
            [torch.dot(*rows) for rows in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)]
        ).view(a.shape[:2])
    return (a * b).sum(-1)


def _sum_log(best, classes):
    """sum log(best) over the last axis, for best in [1/C, 1] (1/2 for the sigmoid).

    A logarithm costs more than everything else together, so one is taken of a product of many:
    64 values above 1/2, or 16 above 1/128, stay far from underflow in float32. `best` is used up.
    """
    folds = 6 if classes <= 2 else 4 if classes <= 128 else 0
    odd = best.shape[-1] % 2**folds
    rest = best[..., best.shape[-1] - odd :].log().sum(-1) if odd else 0
    best = best[..., : best.shape[-1] - odd]
    for _ in range(folds):
        half = best.shape[-1] // 2
        best = best[..., :half].mul_(best[..., half:])
    return best.log().sum(-1) + rest
