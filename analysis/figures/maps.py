"""Gradient of each loss on one constructed image, as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures import style
from analysis.figures.mechanism import COMPUTED
from analysis.figures.scope import Captioned, Planned

if TYPE_CHECKING:
    from analysis.results import Results

INPUTS = {"target": "Truth", "labels": "Labels, 1% flipped", "prediction": "Prediction"}
COLUMNS = 4


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figure."""
    yield Planned("mechanism_maps", "maps", lambda: draw(results.maps), {})


def draw(maps: Mapping[str, np.ndarray]) -> Captioned:
    """Draw the constructed image, then the gradient's share per pixel for each loss."""
    losses = [name.removeprefix("loss ") for name in maps if name.startswith("loss ")]
    rows = -(-(len(INPUTS) + len(losses)) // COLUMNS)
    size = (style.WIDTH, 1.08 * style.WIDTH / COLUMNS * rows + 0.3)
    figure, axes = style.subplots(rows, COLUMNS, size)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, label) in zip(axes.flat, INPUTS.items(), strict=False):
        axis.imshow(maps[name], cmap="gray", vmin=0, vmax=1)
        axis.set_title(label)
    shares = {loss: 100 * maps[f"loss {loss}"] for loss in losses}
    top = np.quantile(np.concatenate([share.ravel() for share in shares.values()]), 0.999)
    for axis, (loss, share) in zip(axes.flat[len(INPUTS) :], shares.items(), strict=False):
        image = axis.imshow(share, cmap="viridis", vmin=0, vmax=top)
        axis.set_title(style.name(loss))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, location="bottom")
    bar.set_label("Share of the gradient (% of the total, per pixel)")
    caption = (
        "Gradient of each loss: a large and a small square, predicted with a blurred edge, while "
        "1% of the labels are flipped. Brightness is a pixel's share of the total gradient "
        f"(absolute, of the logits), on the same scale for all losses. {COMPUTED}"
    )
    return figure, caption
