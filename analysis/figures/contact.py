"""Contact sheets: training images under each stress, with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.scope import Captioned
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


def sheets(study: Study) -> Iterator[tuple[str, str, Captioned]]:
    """Yield the contact sheets of a study: file stem, dataset, figure and caption."""
    for dataset in study.datasets:
        stresses = list(study.stresses(dataset).items())
        for number, first in enumerate(range(0, len(stresses), ROWS), 1):
            rows = dict(stresses[first : first + ROWS])
            yield f"{dataset}_{number}", dataset, draw(study, dataset, rows)


def draw(study: Study, dataset: str, stresses: Mapping[str, Stress]) -> Captioned:
    """Draw a row of training images for each stress, of the first seed."""
    seed = study.seeds[0]
    classes = study.datasets[dataset].class_names
    several = len(classes) > 1
    plain = "unchanged" if study.datasets[dataset].controlled else "windows\nat objects"
    side = (style.WIDTH - 1.3) / IMAGES
    figure, axes = style.subplots(
        len(stresses),
        IMAGES,
        (style.WIDTH, side * len(stresses) + 0.3),
        dict.fromkeys(("h_pad", "w_pad", "hspace", "wspace"), 0.01),
    )
    for row, (name, stress) in zip(axes, stresses.items(), strict=True):
        cell = read_cell(study.data_folder(dataset, name, seed))
        stems = cell.split["train"]
        # Spread over the split: neighbours are often of one patient or video.
        numbers = np.linspace(0, len(stems) - 1, IMAGES).round().astype(int)
        for axis, number in zip(row, numbers, strict=True):
            show(axis, cell, stems[number], classes)
        words = "\n".join(f"{knob} {value}" for knob, value in stress.items()) or plain
        row[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=7)
    figure.suptitle(f"{dataset}: one stress in each row", fontsize=8)
    labels = "the outlines of their labels (orange) and, where labels are corrupted, of the true "
    labels += "masks (blue)"
    if several:
        style.class_legend(figure, classes)
        labels = "their classes"
        labels += "; mixed colours: several" * study.datasets[dataset].multilabel
    caption = f"Training images of {dataset} under each stress (seed {seed}), with {labels}."
    return figure, caption


def show(axis: Axes, cell: Prepared, stem: str, classes: Sequence[str]) -> None:
    """Show an image with the outlines of its masks, or with the colours of its classes."""
    axis.imshow(cell.image(stem), cmap="gray", vmin=0, vmax=255)
    if cell.has(CLEAN):
        outline(axis, cell.clean(stem), "#56B4E9", 0.5)
    if len(classes) > 1:
        (true,) = regions(cell.target(stem)[None], len(classes))
        picture = style.painted(true, style.classes(classes))
        picture[..., 3] *= 0.4
        axis.imshow(picture)
    else:
        outline(axis, cell.mask(stem), "#E69F00", 0.7)
    style.bare(axis)


def outline(axis: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    """Draw the outline of a mask that is neither empty nor full."""
    if mask.any() and not mask.all():
        axis.contour(mask > 0, levels=[0.5], colors=colour, linewidths=width)
