"""What the page of the losses says, as plain values: from the registry and the code alone."""

import inspect

import torch

from losses import LOSSES, build
from losses._base import options
from losses.overlap import OverlapLoss

FAMILIES = {
    "likelihood": "Likelihood: a mean over pixels",
    "overlap": "Overlap: a formula in an image's sums",
    "boundary": "Boundary and region",
    "objects": "Per object",
    "hybrid": "Hybrids and schedules",
}
"""Module of a loss -> its heading, in the page's order."""


def entries():
    """A dict for each registered loss: name, family, class, formula, about, source, minimiser,
    options (name -> default)."""
    for name, path in LOSSES.items():
        cls = type(build(name))
        head, _, body = inspect.getdoc(cls).partition("\n\n")
        about, _, source = body.partition("Source: ")
        yield {
            "name": name,
            "family": path.partition(":")[0].rpartition(".")[2],
            "class": cls.__name__,
            "formula": " ".join(head.split()),
            "about": " ".join(about.split()),
            "source": " ".join(source.split()),
            "minimiser": cls.minimiser,
            "options": options(cls),
        }


def overlap_options():
    """Option of the overlap losses -> its meaning, as `OverlapLoss` documents it."""
    found, name = {}, None
    for line in inspect.getdoc(OverlapLoss).partition("\n\n")[2].splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(": ")
            found[name] = []
        found[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def sweep(name, points=81):
    """How a loss and its gradient move with the probability of an object's pixels.

    An image of 32x32 with an object of 8x8, the background predicted 0.05; (p, loss, gradient),
    the gradient being that of the object's logits, summed.
    """
    target = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    target[..., 12:20, 12:20] = 1
    loss, rows = build(name), []
    for p in torch.linspace(0.005, 0.995, points, dtype=torch.float64):
        prob = 0.05 + (p - 0.05) * target
        logits = prob.logit().requires_grad_()
        value = loss(logits, target)
        value.backward()
        rows.append((p.item(), value.item(), logits.grad[target > 0].sum().item()))
    return rows


CASES = (
    "perfect",
    "empty mask, nothing predicted",
    "empty mask, object predicted",
    "everything predicted",
    "one pixel off",
    "tiny object missed",
)


def limiting_cases(name):
    """The loss in each of `CASES`: 32x32, an object of 8x8, predicted at 0.002 or 0.998."""
    disk = torch.zeros(1, 1, 32, 32)
    disk[..., 12:20, 12:20] = 1
    tiny, none = torch.zeros_like(disk), torch.zeros_like(disk)
    tiny[..., 4:5, 4:5] = 1
    pairs = [
        (disk, disk),
        (none, none),
        (none, disk),
        (disk, torch.ones_like(disk)),
        (disk, disk.roll(1, -1)),
        (tiny, none),
    ]
    loss = build(name)
    return [loss(6.0 * (2 * predicted - 1), target).item() for target, predicted in pairs]
