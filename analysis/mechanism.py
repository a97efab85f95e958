"""The mechanism level: what losses do without any training, as numbers per claim and figures."""

import numpy as np
import pandas as pd

from analysis import style
from analysis.claims import REFERENCE
from analysis.style import plt

CONDITIONS = {
    "definition": ("perfect", 100, "loss", "100 foreground pixels"),
    "imbalance": ("foreground_share", 0.003, "share of the gradient", "0.3% foreground, p = 0.5"),
    "boundary": ("boundary_share", 1.0, "share of the gradient", "a disk with a soft edge of 1 px"),
    "object_size": (
        "small_over_large",
        4,
        "gradient per pixel over the large object's",
        "squares of 4 and 32 px, equally well predicted",
    ),
    "noise": ("noisy_share", 0.1, "share of the gradient", "10% of labels flipped, 90% sure"),
}
"""Claim -> (quantity, x that is looked at, unit, the condition in words)."""


def verdict_rows(measured):
    """A row per claim and loss: the quantity less cross-entropy's (as it is, for `definition`)."""
    rows = []
    for claim, (quantity, x, unit, words) in CONDITIONS.items():
        found = measured[measured["quantity"] == quantity].dropna(subset="x")
        if not len(found):
            continue
        near = found.loc[(found["x"] - x).abs().groupby(found["loss"]).idxmin()]
        values = near.set_index("loss")["value"]
        against = 0.0 if claim == "definition" else values[REFERENCE]
        # The suite's own order, whatever the grouping made of it.
        for loss in (loss for loss in found["loss"].unique() if loss != REFERENCE):
            rows.append((claim, loss, words, values[loss] - against, unit))
    return pd.DataFrame(rows, columns=["claim", "loss", "stress", "estimate", "unit"])


def lines(axis, measured, quantity, looks):
    """A line per loss of one quantity."""
    for loss in looks:
        rows = measured[(measured["quantity"] == quantity) & (measured["loss"] == loss)]
        axis.plot(rows["x"], rows["value"], label=style.name(loss), **looks[loss])


def drawing(measured, panels):
    """Panels side by side, (quantity, x label, y label, log x), with one legend."""
    width = style.WIDTH if len(panels) > 1 else 1.4 * style.COLUMN
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 2.5), squeeze=False)
    looks = style.looks(list(dict.fromkeys(measured["loss"])))
    for axis, (quantity, x, y, log) in zip(axes.flat, panels, strict=True):
        lines(axis, measured, quantity, looks)
        if log:
            axis.set_xscale("log")
        axis.set_xlabel(x)
        axis.set_ylabel(y)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6 if len(panels) > 1 else 3)
    return figure, axes[0]


COMPUTED = "Computed on constructed predictions, no training."


def definition(measured):
    """The article's printed formula beside Dice: a perfect match, and the gradient by size."""
    figure, axes = drawing(
        measured,
        [
            ("perfect", "Foreground pixels n", "Loss at a perfect match", True),
            ("gradient", "Foreground pixels n", "Gradient on the object,\n|sum of dL/dp|", True),
        ],
    )
    axes[1].set_yscale("log")
    article = measured[(measured["loss"] == "article_dice") & (measured["quantity"] == "perfect")]
    values = ", ".join(f"{row.value:g} at n = {row.x:g}" for row in article.itertuples())
    caption = (
        "The article's printed formula, 1 - 2 sum(PY) / ((sum P)^2 + (sum Y)^2), taken literally, "
        f"is not a Dice loss: at a perfect match it is 1 - 1/n ({values}), where Dice is 0 (left). "
        "Right: how hard each loss pulls at an object of n pixels in a 64 x 64 image, predicted "
        "p = 0.5 on the object and 0.01 elsewhere: the gradient of the object's probabilities, "
        f"summed. {COMPUTED}"
    )
    return figure, caption


def imbalance(measured):
    """Foreground's share of the gradient against the foreground fraction."""
    figure, axes = drawing(
        measured,
        [
            (
                "foreground_share",
                "Foreground fraction f",
                "Foreground's share\nof the gradient",
                True,
            )
        ],
    )
    axes[0].set_ylim(0, 1)
    caption = (
        "Where everything is predicted p = 0.5, as before training: the share of the gradient "
        "(absolute, of the logits) that foreground pixels get. It is f for cross-entropy, which "
        f"background dominates, and (1 + f) / 2 for Dice whatever the imbalance. {COMPUTED}"
    )
    return figure, caption


def boundary(measured):
    """The gradient by distance to the boundary, and the share that falls near it."""
    figure, axes = drawing(
        measured,
        [
            (
                "by_distance",
                "Distance to the boundary (px; negative: inside)",
                "Gradient of a pixel\n/ of an average pixel",
                False,
            ),
            ("boundary_share", "Width of the predicted edge (px)", "Share within 2 px", False),
        ],
    )
    axes[0].axvline(0, color="0.8", linewidth=0.8, zorder=0)
    axes[1].set_ylim(0, 1.03)
    caption = (
        "A disk of radius 12 px predicted with a soft edge, p = 1 / (1 + exp(distance / width)). "
        "Left: the gradient of the logits by distance to the true boundary, at a width of 1 px. "
        "Right: the share of the gradient within 2 px of it. The article's reason would put "
        f"Dice above cross-entropy; no loss here squares the intersection. {COMPUTED}"
    )
    return figure, caption


def object_size(measured):
    """The gradient of a pixel of a small object over that of a large one beside it."""
    figure, axes = drawing(
        measured,
        [
            (
                "small_over_large",
                "Side of the small square (px)",
                "Gradient per pixel,\nsmall / large square",
                True,
            )
        ],
    )
    axes[0].axhline(1, color="0.8", linewidth=0.8, zorder=0)
    axes[0].set_ylim(0, max(2, axes[0].get_ylim()[1]))
    caption = (
        "A small square beside one of 32 px in the same image, both predicted p = 0.5: the "
        "gradient of a pixel of the small one over that of a pixel of the large one. At 1 a loss "
        "sums over pixels and does not see objects: a small object counts by its area, under "
        f"cross-entropy as under Dice. {COMPUTED}"
    )
    return figure, caption


def noise(measured):
    """The share of the gradient that flipped labels get."""
    figure, axes = drawing(
        measured,
        [
            (
                "noisy_share",
                "Share of labels flipped",
                "Flipped labels' share\nof the gradient",
                True,
            )
        ],
    )
    axes[0].set_ylim(0, 1)
    caption = (
        "A prediction that is 90% sure of the truth (6% foreground), while some labels are "
        "flipped: the share of the gradient that the flipped labels get, mean of five draws. The "
        f"more, the harder a loss pulls at noise. {COMPUTED}"
    )
    return figure, caption


FIGURES = {
    "definition": definition,
    "imbalance": imbalance,
    "boundary": boundary,
    "object_size": object_size,
    "noise": noise,
}
"""Claim -> its figure."""


def maps(found):
    """Where each loss pulls: the gradient's share per pixel on one constructed image."""
    names = [name.removeprefix("loss ") for name in found if name.startswith("loss ")]
    columns = 4
    rows = -(-(3 + len(names)) // columns)
    side = style.WIDTH / columns
    figure, axes = plt.subplots(rows, columns, figsize=(style.WIDTH, 1.08 * side * rows + 0.3))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, ("target", "labels", "prediction"), strict=False):
        axis.imshow(found[name], cmap="gray", vmin=0, vmax=1)
        axis.set_title(
            {"target": "Truth", "labels": "Labels, 1% flipped", "prediction": "Prediction"}[name]
        )
    top = np.quantile(np.concatenate([found[f"loss {n}"].ravel() for n in names]), 0.999)
    for axis, name in zip(axes.flat[3:], names, strict=False):
        image = axis.imshow(100 * found[f"loss {name}"], cmap="viridis", vmin=0, vmax=100 * top)
        axis.set_title(style.name(name))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, location="bottom")
    bar.set_label("Share of the gradient (% of the total, per pixel)")
    caption = (
        "Where each loss pulls: a large and a small square, predicted with a blurred edge, while "
        "1% of the labels are flipped. Brightness is a pixel's share of the loss's whole gradient "
        f"(absolute, of the logits), on the same scale for all. {COMPUTED}"
    )
    return figure, caption
