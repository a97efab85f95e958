"""Contact sheets: training images under each stress, with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.scope import Captioned, stress_words
from experiments.data.prepared import Prepared, read_cell
from experiments.layout import CLEAN
from experiments.runs.overlap import regions

if TYPE_CHECKING:
    from experiments.plan.knobs import Stress
    from experiments.plan.study import Study

IMAGES = 6
"""Images in a row of a contact sheet."""
ROWS = 24
"""Stresses on one sheet."""
OUTLINE = style.MUTED[2]
"""Colour of true outlines: none of a loss."""


def sheets(study: Study) -> Iterator[tuple[str, str, Captioned]]:
    """Yield the contact sheets of a study: file stem, dataset, figure and caption."""
    for dataset in study.datasets:
        stresses = list(study.stresses(dataset).items())
        for number, first in enumerate(range(0, len(stresses), ROWS), 1):
            rows = dict(stresses[first : first + ROWS])
            yield f"{dataset}_{number}", dataset, draw(study, dataset, rows)


def draw(study: Study, dataset: str, stresses: Mapping[str, Stress]) -> Captioned:
    """Draw a row of training images for each stress, of the first seed.

    Where the labels differ from the true masks, every image is followed by its labels.
    """
    seed = study.seeds[0]
    classes = study.datasets[dataset].class_names
    side = (style.WIDTH - 1.3) / IMAGES
    figure, axes = style.subplots(
        len(stresses),
        IMAGES,
        (style.WIDTH, side * len(stresses) + 0.3 * (1 + (len(classes) > 1))),
        dict.fromkeys(("h_pad", "w_pad", "hspace", "wspace"), 0.01),
    )
    corrupted = False
    for row, (name, stress) in zip(axes, stresses.items(), strict=True):
        cell = read_cell(study.data_folder(dataset, name, seed))
        stems = cell.split["train"]
        corrupted |= cell.has(CLEAN)
        pictures = IMAGES // 2 if cell.has(CLEAN) else IMAGES
        # Spread over the split: neighbours are often of one patient or video.
        numbers = np.linspace(0, len(stems) - 1, pictures).round().astype(int)
        if cell.has(CLEAN):
            for axis, number in zip(row[1::2], numbers, strict=True):
                labels(axis, cell, stems[number], classes)
        for axis, number in zip(row[:: IMAGES // pictures], numbers, strict=True):
            show(axis, cell, stems[number], classes)
        words = "\n".join(stress_words(study, dataset, stress))
        row[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=7)
    figure.suptitle(f"{dataset}: training images, one stress in each row", fontsize=8)
    several = len(classes) > 1
    if several:
        style.class_legend(figure, classes)
    masks = "the colours of the true classes" if several else "the outline of the true masks"
    mixed = "; mixed colours are several classes" * study.datasets[dataset].multilabel
    caption = (
        f"Training images of {dataset} under each stress (seed {seed}), with {masks}{mixed}. "
        + "Where the training labels are not the true ones, the labels are to the right of each "
        "image. " * corrupted + "Test images have the same stress and true labels."
    )
    return figure, caption


def show(axis: Axes, cell: Prepared, stem: str, classes: Sequence[str]) -> None:
    """Show an image with the colours of its classes, or the outline of its true mask.

    The true classes of corrupted labels are not known, only the true foreground.
    """
    axis.imshow(cell.image(stem), cmap="gray", vmin=0, vmax=255)
    if len(classes) > 1 and not cell.has(CLEAN):
        picture = painted(cell.target(stem), classes)
        picture[..., 3] *= 0.4
        axis.imshow(picture)
    else:
        outline(axis, cell.clean(stem))
    style.bare(axis)


def labels(axis: Axes, cell: Prepared, stem: str, classes: Sequence[str]) -> None:
    """Show the training labels of an image: white foreground, or the colours of its classes."""
    if len(classes) > 1:
        axis.imshow(painted(cell.target(stem), classes))
    else:
        axis.imshow(cell.mask(stem) > 0, cmap="gray", vmin=0, vmax=1)
    style.bare(axis)


def painted(target: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return the classes of a target in their colours."""
    (shown,) = regions(target[None], len(classes))
    return style.painted(shown, style.classes(classes))


def outline(axis: Axes, mask: np.ndarray) -> None:
    """Draw the outline of a mask that is neither empty nor full."""
    if mask.any() and not mask.all():
        axis.contour(mask > 0, levels=[0.5], colors=OUTLINE, linewidths=0.8)
