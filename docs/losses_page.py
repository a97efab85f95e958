"""Write the page of the losses, docs/losses.md, and its figures: ``python -m docs.losses_page``.

The page derives from the registry and the docstrings of the losses: a family is a module, with the
first line of its docstring as heading.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from losses import LOSSES, build
from losses._options import options
from losses.overlap import OverlapLoss

BLUE, RED = "#0072B2", "#D55E00"  # of Okabe and Ito's palette, safe for the colour-blind
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "savefig.dpi": 90,
}
COLUMNS = 6
FIGURES = {name: f"figures/losses-{name}.png" for name in ("sweep", "cases")}


def entries() -> Iterator[dict[str, Any]]:
    """Yield a dict for each registered loss.

    Its keys: name, family (heading), class, formula, about, source, minimiser, and options
    (name -> default).
    """
    for name, entry in LOSSES.items():
        cls = type(build(name))
        head, _, body = inspect.getdoc(cls).partition("\n\n")
        about, _, source = body.partition("Source: ")
        yield {
            "name": name,
            "family": heading(entry.path.partition(":")[0]),
            "class": cls.__name__,
            "formula": " ".join(head.split()),
            "about": " ".join(about.split()),
            "source": " ".join(source.split()),
            "minimiser": cls.minimiser,
            "options": options(cls),
        }


def heading(module: str) -> str:
    """Return the heading of a family: the first line of its module's docstring."""
    return inspect.getdoc(importlib.import_module(module)).partition("\n")[0].removesuffix(".")


def overlap_options() -> dict[str, str]:
    """Return option -> meaning of the overlap losses, as `OverlapLoss` documents them."""
    meanings, name = {}, None
    for line in inspect.getdoc(OverlapLoss).partition("\n\n")[2].splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(": ")
            meanings[name] = []
        meanings[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in meanings.items()}


def sweep(name: str, points: int = 81) -> list[tuple[float, float, float]]:
    """Return (p, loss, gradient) as the probability p of an object's pixels rises.

    The image has 32x32 pixels, the object 8x8; the background has probability 0.05. The gradient
    is the sum over the object's logits.
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


def limiting_cases(name: str) -> list[float]:
    """Return the loss in each of `CASES`: 32x32, an object of 8x8, predicted at 0.002 or 0.998."""
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


def sweep_figure(path: Path, names: list[str]) -> None:
    """Draw a panel for each loss: value and gradient against the object's probability."""
    rows = -(-len(names) // COLUMNS)
    with plt.rc_context(STYLE | {"font.size": 8, "axes.titlesize": 8}):
        figure, axes = plt.subplots(
            rows,
            COLUMNS,
            figsize=(10.5, 1.6 * rows + 0.5),
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        for ax, name in zip(axes.flat, names, strict=False):
            p, value, slope = zip(*sweep(name), strict=True)
            for series, color, line in ((value, BLUE, "-"), (slope, RED, "--")):
                top = max(map(abs, series))
                ax.plot(p, [v / top for v in series], line, color=color, lw=1.6)
            ax.axhline(0, color="0.8", lw=0.7, zorder=0)
            ax.set_title(name)
        for ax in axes.flat[len(names) :]:
            ax.axis("off")
        for ax in axes[-1]:
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        figure.supxlabel("predicted probability of the object's pixels")
        figure.supylabel("divided by the greatest magnitude")
        handles = [
            plt.Line2D([], [], color=BLUE, lw=1.6, label="loss"),
            plt.Line2D([], [], color=RED, ls="--", lw=1.6, label="gradient of the object's logits"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        figure.savefig(path)
        plt.close(figure)


def cases_figure(path: Path, names: list[str]) -> None:
    """Draw the limiting cases as a table of numbers, each row shaded by its own maximum."""
    table = [limiting_cases(name) for name in names]
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(10.5, 0.27 * len(names) + 1.2), layout="constrained")
        shades = [[max(v, 0) / max(max(map(abs, row)), 1e-12) for v in row] for row in table]
        ax.imshow(shades, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
        for i, row in enumerate(table):
            for j, v in enumerate(row):
                ax.text(j, i, f"{0 if abs(v) < 5e-5 else v:.2g}", ha="center", va="center")
        ax.set_xticks(
            range(len(CASES)),
            [c.replace(", ", ",\n").replace("everything ", "everything\n") for c in CASES],
        )
        labels = [f"{LOSSES[name].label} ({name})" for name in names]
        ax.set_yticks(range(len(names)), labels)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        figure.savefig(path)
        plt.close(figure)


INTRODUCTION = f"""\
# The losses

Generated by `python -m docs.losses_page` from the code; do not edit.

p is the predicted probability of a pixel, y its target, q the probability that it is truly
foreground, given the image. Sums are over the pixels of an image and class; sum_i is over all
pixels of the batch. The minimiser is the p of least expected loss over y.

Every loss is called `loss(logits, target)`: logits (N, C, *space), with the sigmoid for C = 1 and
the softmax for C > 1, and a target of class indices (N, *space) or probabilities (N, C, *space).
For classes that overlap `build(spec, multilabel=True)`, or `multilabel: true` in a configuration,
takes the mean over the channels of the loss of each, with the sigmoid. `loss(logits, target,
weight=w)` weighs the pixels, (N, *space). `reduction="none"` returns a value for each pixel of the
means over pixels, and of the other losses for each image. Second derivatives, `torch.func` and
`torch.compile` work, except where a loss makes maps or reads values.
In a configuration a loss is its name, `{{use: name, option: value}}`, an import path
`{{use: "package.module:Class"}}`, or a sum
`{{sum: {{name: weight, name: {{weight: 1, option: value}}}}}}`.

![Loss and gradient against the predicted probability]({FIGURES["sweep"]})

An object of 8x8 in an image of 32x32; the background has probability 0.05.

![The losses in limiting cases]({FIGURES["cases"]})

The same image; predicted means p = 0.998, not predicted 0.002. Darker is costlier, within each
row. One pixel off is the object moved by one pixel; the tiny object is one pixel. Dice is not
quite 0 here because p is not: 0.002 of 960 pixels is two of them.

## Which one

[The results](results.md) have the loss for each situation, as studies measured it. The minimiser
says this in advance:

- **You need probabilities**, or choose the threshold later: a loss with the minimiser p = q, such
  as `cross_entropy`.
- **The Dice score counts and foreground is rare**: an overlap loss, such as `dice`, or `dice_ce`.
  Dice predicts each pixel with q above half of the Dice score d that is reached. Cross-entropy with
  a threshold of d/2 has the same decision, if it is trained long enough.
- **Labels have random errors**: not `dice`. If more labels of the background are wrong than a share
  of d/2, it predicts foreground everywhere. `cross_entropy` keeps q, and a threshold can be chosen.
- **Misses cost more than false positives**: `tversky` with alpha < beta, or
  `weighted_cross_entropy`.
- **Each object counts the same, small or large**: `blob` or `inverse_size_dice`.
- **The distance to the true boundary counts**: `dice_boundary` or `hausdorff`.
"""


def markdown() -> Iterator[str]:
    """Yield the parts of the page."""
    yield INTRODUCTION.rstrip()
    losses = list(entries())
    for family in dict.fromkeys(e["family"] for e in losses):
        yield f"\n## {family}"
        for e in losses:
            if e["family"] != family:
                continue
            yield f"\n### {e['name']} (`{e['class']}`)"
            yield f"\n    {e['formula']}\n"
            yield e["about"]
            yield ""
            yield "- options: " + ", ".join(f"`{k}={v!r}`" for k, v in e["options"].items())
            yield f"- minimiser: {e['minimiser']}"
            if e["source"]:
                yield f"- source: {e['source']}"
    yield "\n## Options of the overlap losses\n"
    for name, meaning in overlap_options().items():
        yield f"- `{name}`: {meaning}"


def main() -> None:
    """Write the page and its figures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs"))
    out = parser.parse_args().out
    (out / "figures").mkdir(parents=True, exist_ok=True)
    sweep_figure(out / FIGURES["sweep"], list(LOSSES))
    cases_figure(out / FIGURES["cases"], list(LOSSES))
    (out / "losses.md").write_text("\n".join(markdown()) + "\n")


if __name__ == "__main__":
    main()
