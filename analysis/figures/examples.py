"""Example predictions of every loss: one test image at each level of an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib import colors
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.scope import Captioned, Planned, Scope, of_experiments
from experiments.data.prepared import Prepared, read_cell
from experiments.layout import EXAMPLES_FILE
from experiments.runs.overlap import most_probable
from experiments.runs.pictures import decode
from experiments.runs.records import EXAMPLES

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.levels import Level

BACKGROUND, IGNORED = "#101010", "#707070"
OUTCOMES = ("#FFFFFF", "#E69F00", "#56B4E9")
"""Colours of pixels that are foreground and predicted so, falsely predicted, missed."""


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
        (style.WIDTH, 0.98 * side * len(levels) + 0.25 + 0.25 * several),
        {"h_pad": 0.01, "w_pad": 0.02, "hspace": 0.01, "wspace": 0.01},
    )
    shades = style.classes(classes) if several else OUTCOMES
    palette = colors.ListedColormap([BACKGROUND, *shades, IGNORED])
    records = {record_key(record["key"]): record for record in results.records}
    any_ignored = False
    for row, level in zip(axes, levels, strict=True):
        cell = read_cell(study.data_folder(scope.dataset, level.stress.name, study.seeds[0]))
        number, stem, truth, ignored = pick(cell)
        any_ignored = any_ignored or bool(ignored.any())
        row[0].imshow(cell.image(stem), cmap="gray", vmin=0, vmax=255)
        knob = scope.experiment.knob
        words = f"{style.title(knob)} {level.label}" if knob else level.label
        row[0].set_ylabel(words, fontsize=7)
        show(row[1], truth, ignored, palette)
        for axis, (folder, key) in zip(row[2:], first_runs(scope, level), strict=True):
            record = records[key]
            if record["status"] != "ok":
                axis.text(0.5, 0.5, record["status"], ha="center", transform=axis.transAxes)
                continue
            prob = decode((folder / EXAMPLES_FILE).read_bytes(), truth.shape)
            show(axis, outcome(most_probable(prob)[number], truth), ignored, palette)
    for axis, label in zip(axes[0], titles, strict=True):
        axis.set_title(label, fontsize=7)
    for axis in axes.flat:
        style.bare(axis)
    if several:
        style.class_legend(figure, classes)
    return figure, caption(scope, several, any_ignored)


def pick(cell: Prepared) -> tuple[int, str, UInt8[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Return the number, stem, target and ignored pixels of the example image.

    It is the first image with the most classes, among those with stored predictions.
    """
    stems = cell.split["test"][:EXAMPLES]
    targets = [cell.target(stem) for stem in stems]
    number = int(np.argmax([len(np.unique(target[target > 0])) for target in targets]))
    ignored = cell.ignored(stems[number])
    ignored = np.zeros(targets[number].shape, bool) if ignored is None else ignored > 0
    return number, stems[number], targets[number], ignored


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


def outcome(
    predicted: Bool[np.ndarray, "k h w"], truth: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Return the class predicted at each pixel; for one class its agreement with the truth.

    One class: 0 neither, 1 both, 2 predicted only, 3 true only.

    >>> outcome(np.array([[[True, True, False, False]]]), np.array([[1, 0, 1, 0]])).tolist()
    [[1, 2, 3, 0]]
    """
    if len(predicted) > 1:
        numbers = np.arange(1, len(predicted) + 1)[:, None, None]
        return (predicted * numbers).sum(0).astype(np.uint8)
    return np.where(predicted[0], np.where(truth, 1, 2), np.where(truth, 3, 0)).astype(np.uint8)


def show(
    axis: Axes, numbers: np.ndarray, ignored: np.ndarray, palette: colors.ListedColormap
) -> None:
    """Show numbers as colours of the palette; its last colour marks ignored pixels."""
    last = palette.N - 1
    axis.imshow(np.where(ignored, last, numbers), cmap=palette, vmin=0, vmax=last)


def caption(scope: Scope, several: bool, any_ignored: bool) -> str:
    """Return the caption: the choice of the image, the prediction, and the colours."""
    choice = "with the most classes" if several else "with foreground, if any"
    prediction = "the most probable classes" if several else "the predictions at threshold 0.5"
    meaning = (
        "Black: none of the classes"
        if several
        else "White: true positive; orange: false positive; blue: false negative"
    )
    return (
        f"{style.title(scope.experiment.name).capitalize()} on {scope.words}: at each level one of "
        f"the first {EXAMPLES} test images of seed {scope.study.seeds[0]}, the first {choice}, and "
        f"{prediction}. {meaning}{'; grey: ignored' * any_ignored}. "
        "One image is an illustration, not evidence."
    )
