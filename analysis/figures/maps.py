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
COLUMNS = (4, 5, 6)
"""Pictures in a row; the number that fills the last row best is taken."""


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figure."""
    yield Planned("mechanism_maps", "maps", lambda: draw(results.maps), {})


def draw(maps: Mapping[str, np.ndarray]) -> Captioned:
    """Draw the constructed image, then the gradient's share per pixel for each loss."""
    shares = {n.removeprefix("loss "): 100 * maps[n] for n in maps if n.startswith("loss ")}
    columns = min(COLUMNS, key=lambda number: (-len(shares) % number, -number))
    rows = 1 + -(-len(shares) // columns)
    size = (style.WIDTH, 1.08 * style.WIDTH / columns * rows + 0.3)
    figure, axes = style.subplots(rows, columns, size)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, label) in zip(axes[0], INPUTS.items(), strict=False):
        axis.imshow(maps[name], cmap="gray", vmin=0, vmax=1)
        axis.set_title(label)
    top = np.quantile(np.concatenate([share.ravel() for share in shares.values()]), 0.999)
    for axis, (loss, share) in zip(axes[1:].flat, shares.items(), strict=False):
        image = axis.imshow(share, cmap="viridis", vmin=0, vmax=top)
        axis.set_title(style.wrapped(style.name(loss), 96, columns, word=16))
    bar = figure.colorbar(
        image, ax=axes, shrink=0.6, aspect=30, location="bottom", extend="max", pad=0.02
    )
    bar.set_label("Share of the gradient (% of the total, per pixel)")
    caption = (
        "Gradient of each loss at one prediction (first row): a large and a small square with a "
        "blurred edge, while 1% of the labels are flipped. The brightness is the share of a pixel "
        "in the absolute gradient of the logits. All losses have the same scale; 0.1% of the "
        f"pixels are above it. {COMPUTED}"
    )
    return figure, caption
