"""Example predictions of every loss: one test image at each level of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool
from matplotlib import colors
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, Scope, of_experiments
from experiments.data.prepared import Prepared, read_cell
from experiments.layout import EXAMPLES_FILE
from experiments.runs.overlap import at_half, regions
from experiments.runs.pictures import decode
from experiments.runs.records import EXAMPLES

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.levels import Level

BACKGROUND, IGNORED = "#101010", "#707070"
OUTCOMES = ("#FFFFFF", style.MUTED[1], style.MUTED[0])
"""Colours of pixels that are foreground and predicted so, falsely predicted, missed."""
NARROW = 0.75
"""Inches of a picture whose title has small letters."""

Regions = Bool[np.ndarray, "k h w"]


def figures(results: Results) -> Iterator[Planned]:
    """Yield a figure for each dataset, experiment and setting."""
    for scope in of_experiments(results.study):
        stem = scope.stem(scope.experiment.name, scope.dataset, "examples")
        yield Planned(stem, "examples", partial(draw, results, scope), scope.about)


def draw(results: Results, scope: Scope) -> Captioned:
    """Draw a row per level: image, truth and the prediction of each loss, of the first seed."""
    study, levels = scope.study, scope.levels
    classes = study.datasets[scope.dataset].class_names
    several = len(classes) > 1
    titles = ["Image", "Truth", *map(style.name, study.losses)]
    side = style.WIDTH / len(titles)
    figure, axes = style.subplots(
        len(levels),
        len(titles),
        (style.WIDTH, 0.98 * side * len(levels) + 0.3 + 0.25 * several),
        {"h_pad": 0.01, "w_pad": 0.02, "hspace": 0.01, "wspace": 0.01},
    )
    shades = style.classes(classes) if several else OUTCOMES
    multilabel = study.datasets[scope.dataset].multilabel
    records = {record_key(record["key"]): record for record in results.records}
    any_ignored = False
    for row, level in zip(axes, levels, strict=True):
        cell = read_cell(study.data_folder(scope.dataset, level.stress.name, study.seeds[0]))
        number, stem, truth, ignored = pick(cell)
        any_ignored = any_ignored or bool(ignored.any())
        row[0].imshow(cell.image(stem), cmap="gray", vmin=0, vmax=255)
        knob = scope.experiment.knob
        words = f"{style.title(knob)} {level.label}" if knob else level.label
        row[0].set_ylabel(style.wrapped(words, int(18 * side), 1), fontsize=7)
        show(row[1], outcome(truth, truth), ignored, shades)
        for axis, (folder, key) in zip(row[2:], first_runs(scope, level), strict=True):
            record = records[key]
            if record["status"] != "ok":
                axis.text(0.5, 0.5, record["status"], ha="center", transform=axis.transAxes)
                continue
            prob = decode((folder / EXAMPLES_FILE).read_bytes(), ignored.shape)
            predicted = at_half(prob, multilabel)[number]
            show(axis, outcome(predicted, truth), ignored, shades)
    size, letters = (7, int(18 * side)) if side > NARROW else (5, 12)
    for axis, label in zip(axes[0], titles, strict=True):
        axis.set_title(
            style.wrapped(label, letters, 1, letters + 1), fontsize=size, linespacing=0.9
        )
    for axis in axes.flat:
        style.bare(axis)
    if several:
        style.class_legend(figure, classes)
    return figure, caption(scope, any_ignored)


def pick(cell: Prepared) -> tuple[int, str, Regions, Bool[np.ndarray, "h w"]]:
    """Return the number, stem, pixels of each class, and ignored pixels of the example image.

    It is the first image with the most classes, among those with stored predictions.
    """
    stems = cell.split["test"][:EXAMPLES]
    true = regions(np.stack([cell.target(stem) for stem in stems]), len(cell.classes))
    number = int(true.any((2, 3)).sum(1).argmax())
    ignored = cell.ignored(stems[number])
    ignored = np.zeros(true.shape[2:], bool) if ignored is None else ignored > 0
    return number, stems[number], true[number], ignored


def first_runs(scope: Scope, level: Level) -> Iterator[tuple[Path, frozenset]]:
    """Yield the folder and the key of each loss's run at a level, of the first seed."""
    study = scope.study
    fixed = {"learning_rate": study.training.learning_rate, "seed": study.seeds[0]}
    for loss in study.losses:
        key = scope.where(level) | fixed | {"loss": loss}
        run = next(run for run in study.runs if run.key == key)
        yield study.run_folder(run), record_key(run.key)


def record_key(key: dict[str, Any]) -> frozenset:
    """Return the key of a run as a key of a dict."""
    return frozenset(key.items())


def outcome(predicted: Regions, truth: Regions) -> Regions:
    """Return the pixels predicted as each class; for one class its agreement with the truth.

    One class: the pixels of both, predicted only, true only.

    >>> one, other = np.array([[[True, True, False]]]), np.array([[[True, False, True]]])
    >>> outcome(one, other).astype(int).tolist()
    [[[1, 0, 0]], [[0, 1, 0]], [[0, 0, 1]]]
    """
    if len(predicted) > 1:
        return predicted
    return np.concatenate([predicted & truth, predicted & ~truth, truth & ~predicted])


def show(
    axis: Axes, shown: Regions, ignored: Bool[np.ndarray, "h w"], shades: Sequence[str]
) -> None:
    """Show regions in their colours, and ignored pixels in grey."""
    picture = style.painted(shown, shades, BACKGROUND)
    picture[ignored] = colors.to_rgba(IGNORED)
    axis.imshow(picture)


def caption(scope: Scope, any_ignored: bool) -> str:
    """Return the caption: the choice of the image, the prediction, and the colours."""
    dataset = scope.study.datasets[scope.dataset]
    several = len(dataset.class_names) > 1
    choice = "that shows the most classes" if several else "with foreground"
    prediction = "predictions at threshold 0.5"
    if several and not dataset.multilabel:
        prediction = "the most probable classes"
    meaning = "White: true positive; red: false positive; blue: false negative"
    if several:
        meaning = "Black: none of the classes"
    if dataset.multilabel:
        meaning += "; mixed colours: several"
    return (
        f"{style.heading(scope.experiment.name)} on {scope.words}: a test image at each level, and "
        f"{prediction}, seed {scope.study.seeds[0]}. {meaning}{'; grey: ignored' * any_ignored}. "
        f"The image is chosen by rule: {EXAMPLES} test images are kept, and it is the first "
        f"{choice}. It is an illustration, not evidence."
    )
