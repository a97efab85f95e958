"""Figures of a loss's card: its scores under every stress, its inside, and examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.curves import PANELS, curves_of
from analysis.figures.examples import OUTCOMES, outcome, show
from analysis.figures.mechanism import COMPUTED
from analysis.figures.scope import (
    Captioned,
    Planned,
    of_datasets,
    of_experiments,
    shared_level,
)
from analysis.figures.sweep import label_levels, positions
from analysis.scores import metrics
from experiments.data.prepared import read_cell
from experiments.layout import EXAMPLES_FILE
from experiments.runs.overlap import at_half, regions
from experiments.runs.pictures import decode
from experiments.runs.records import EXAMPLES

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

COLUMNS = 3
"""Panels in a row."""
SHOWN = 5
"""Examples, at most."""
COLOURS = (
    "White: true positive; orange: false positive; blue: false negative. Of several classes: each "
    "in its colour; black: none."
)
KEPT = f"the first {EXAMPLES} test images of each run, whose predictions are kept"


def figures(results: Results) -> Iterator[Planned]:
    """Yield the figures of each loss's card; a study of one level has no scores to compare."""
    study = results.study
    several = any(of_experiments(study))
    for loss in study.losses:
        about = {"loss": loss}
        if several:
            yield Planned(f"card_{loss}", "card", partial(draw_scores, results, loss), about)
        yield Planned(f"card_{loss}_inside", "card", partial(draw_inside, results, loss), about)
        if several and compared(study, loss):
            draw = partial(draw_examples, results, loss)
            yield Planned(f"card_{loss}_examples", "card_examples", draw, about)


def compared(study: Study, loss: str) -> list[str]:
    """Return the references that a loss is compared with on its card."""
    return [reference for reference in study.references if reference != loss]


def lines_of(study: Study, loss: str) -> dict[str, dict[str, str]]:
    """Return the line styles of a loss and of the references that it is compared with."""
    lines = style.lines(study.losses)
    return {name: lines[name] for name in (loss, *compared(study, loss))}


def names(losses: Sequence[str]) -> str:
    """Return the labels of losses as a list in words.

    >>> names(["dice", "cross_entropy", "mine"])
    'Dice, Cross-entropy and mine'
    """
    labels = [style.name(loss) for loss in losses]
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def draw_scores(results: Results, loss: str) -> Captioned:
    """Draw the Dice score of a loss and of the references, a panel per dataset and experiment."""
    study, lines = results.study, lines_of(results.study, loss)
    scopes = [s for s in of_experiments(study) if s.setting == study.settings[0]]
    rows = -(-len(scopes) // COLUMNS)
    size = (style.WIDTH, 1.75 * rows + 0.3)
    figure, axes = style.subplots(rows, COLUMNS, size, sharey=True)
    for axis in axes.flat[len(scopes) :]:
        axis.set_axis_off()
    for axis, scope in zip(axes.flat, scopes, strict=False):
        where = scope.rows() | {"class": "", "metric": "dice", "threshold": "0.5"}
        estimates = metrics.select(results.estimates, **where)
        for i, (name, line) in enumerate(lines.items()):
            points = metrics.select(estimates, loss=name).set_index("level")
            points = points.reindex([level.label for level in scope.levels])
            line = line if scope.experiment.axis else style.points(line)
            x = positions(scope, style.offset(i, len(lines)))
            style.intervals(axis, x, points, {**line, "label": style.name(name)}, bounds=(0, 1))
        label_levels(axis, scope)
        axis.set_ylim(-0.02, 1.02)
        several = [scope.dataset] if len(study.datasets) > 1 else []
        axis.set_title(", ".join([*several, style.title(scope.experiment.name).capitalize()]))
    for row in axes:
        row[0].set_ylabel("Dice score (DSC)")
    style.legend(figure, axes)
    caption = (
        f"{names([*lines])} under every stress: mean Dice score at threshold 0.5 over test images "
        f"and seeds. {style.INTERVAL}; {style.seeds(study)}."
    )
    return figure, caption


def draw_inside(results: Results, loss: str) -> Captioned:
    """Draw the gradient of a loss, its prediction on doubtful pixels, and its learning curve."""
    figure, (axes,) = style.subplots(1, 3, (style.WIDTH, 2.3))
    gradient(axes[0], results, loss)
    theory(axes[1], results, loss)
    where = learning(axes[2], results, loss)
    style.legend(figure, axes[1:])
    caption = (
        f"{style.name(loss)} from inside. Left: gradient, as each pixel's share of the total "
        "(absolute, of the logits), for a large and a small square that are predicted with a "
        "blurred edge, while 1% of the labels are flipped. Middle: prediction of least expected "
        "loss on a rim round a sure object, where a share of the labels is foreground; grey: the "
        f"probability itself. {COMPUTED} Right: learning curve on {where}, mean over seeds, shaded "
        "from the smallest to the largest value."
    )
    return figure, caption


def gradient(axis: Axes, results: Results, loss: str) -> None:
    """Draw the gradient of a loss on the constructed image."""
    axis.set_title("Gradient, % of the total")
    style.bare(axis)
    if f"loss {loss}" not in results.maps:
        axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
        return
    share = 100 * results.maps[f"loss {loss}"]
    image = axis.imshow(share, cmap="viridis", vmin=0, vmax=np.quantile(share, 0.998))
    axis.figure.colorbar(image, ax=axis, shrink=0.75, aspect=20, extend="max")


def theory(axis: Axes, results: Results, loss: str) -> None:
    """Draw the prediction of least expected loss against the share of foreground labels."""
    axis.plot([0, 1], [0, 1], **style.GREY)
    for name, line in lines_of(results.study, loss).items():
        rows = metrics.select(results.mechanism, quantity="in_rim", loss=name)
        axis.plot(rows["x"], rows["value"], label=style.name(name), **line)
    axis.set_title("Theory")
    axis.set_xlabel("Share of foreground labels")
    axis.set_ylabel("Predicted probability")
    axis.set_xlim(0, 1)
    axis.set_ylim(-0.02, 1.02)


def learning(axis: Axes, results: Results, loss: str) -> str:
    """Draw the validation score against the steps; return the cell in words."""
    scope, level = shared_level(next(of_datasets(results.study)))
    cell = scope.where(level) | {"learning_rate": scope.study.training.learning_rate}
    for name, line in lines_of(results.study, loss).items():
        curves = curves_of(results.records, cell | {"loss": name})
        if curves:
            values = pd.concat([curve["val_dice"] for curve in curves], axis=1)
            axis.plot(values.index, values.mean(axis=1), label=style.name(name), **line)
            low, high = values.min(axis=1), values.max(axis=1)
            axis.fill_between(values.index, low, high, color=line["color"], alpha=0.12, linewidth=0)
    axis.set_title("Training")
    axis.set_xlabel("Training step")
    axis.set_ylabel(PANELS["val_dice"])
    axis.set_ylim(-0.02, 1.02)
    return f"{scope.words}, {style.title(scope.experiment.name)}: {level.label}"


def largest(results: Results, loss: str) -> pd.DataFrame:
    """Return the kept images whose Dice score differs most from the first reference's.

    One image and seed of each stress and setting, SHOWN of them at most, the largest difference
    first. Columns: experiment, level, dataset, stress, seed, image, own, other, and the labels of
    the setting.
    """
    study, other = results.study, compared(results.study, loss)[0]
    kept = _kept(study)
    found = []
    for scope in of_experiments(study):
        if scope.setting != study.settings[0]:
            continue
        for level in scope.levels:
            where = scope.where(level) | {"threshold": "0.5"}
            rows = metrics.select(results.scored, **where)
            index = ["seed", "image"]
            own, theirs = (
                metrics.select(rows, loss=name).set_index(index)["score_dice"]
                for name in (loss, other)
            )
            pair = pd.DataFrame({"own": own, "other": theirs}).dropna().reset_index()
            stems = {seed: kept(scope.dataset, level.stress.name, seed) for seed in pair["seed"]}
            pair = pair[[r.image in stems[r.seed] for r in pair.itertuples()]]
            if len(pair):
                best = pair.loc[(pair["own"] - pair["other"]).abs().idxmax()]
                words = {"experiment": scope.experiment.name, "level": level.label}
                found.append(words | where | best.to_dict())
    if not found:
        return pd.DataFrame()
    cells = [column for column in found[0] if column in {*study.key_columns} - {"seed"}]
    table = pd.DataFrame(found).drop_duplicates(cells)
    order = (table["own"] - table["other"]).abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].head(SHOWN)


def _kept(study: Study) -> Any:
    """Return a function that gives the stems of the images with kept predictions of a cell."""
    known: dict[tuple, list[str]] = {}

    def stems(*cell: Any) -> list[str]:
        if cell not in known:
            known[cell] = read_cell(study.data_folder(*cell)).split["test"][:EXAMPLES]
        return known[cell]

    return stems


def draw_examples(results: Results, loss: str) -> Captioned:
    """Draw a column per example: image, prediction of the loss, prediction of the reference."""
    study, other = results.study, compared(results.study, loss)[0]
    examples = largest(results, loss).to_dict("records")
    side = style.WIDTH / SHOWN
    size = (max(len(examples), 2) * side, 3 * side + 0.4)
    pads = {"h_pad": 0.01, "w_pad": 0.02, "hspace": 0.01, "wspace": 0.01}
    figure, axes = style.subplots(3, max(len(examples), 1), size, pads)
    for column, example in zip(axes.T, examples, strict=False):
        cell = read_cell(study.data_folder(*(example[k] for k in ("dataset", "stress", "seed"))))
        number = cell.split["test"].index(example["image"])
        column[0].imshow(cell.image(example["image"]), cmap="gray", vmin=0, vmax=255)
        knob = study.experiments[example["experiment"]].knob
        words = style.title(f"{knob} {example['level']}" if knob else example["level"])
        title = f"{style.title(example['experiment']).capitalize()}:\n{words}"
        column[0].set_title(title, fontsize=7)
        for axis, name, score in zip(column[1:], (loss, other), ("own", "other"), strict=True):
            predicted(axis, study, example | {"loss": name}, number)
            axis.set_xlabel(f"DSC {example[score]:.2f}", fontsize=7)
    for axis, label in zip(axes[:, 0], ("Image", style.name(loss), style.name(other)), strict=True):
        axis.set_ylabel(label, fontsize=7)
    for axis in axes.flat:
        style.bare(axis)
    caption = (
        f"{style.name(loss)} against {style.name(other)} where they differ most: one test image "
        f"of a stress, with the largest difference in Dice score among {KEPT}. So these are "
        f"extremes, not typical images; the means are above. Threshold 0.5. {COLOURS}"
    )
    return figure, caption


def predicted(axis: Axes, study: Study, example: dict[str, Any], number: int) -> None:
    """Show a stored prediction: agreement with the truth, or the classes of several."""
    run = run_of(study, example)
    cell = read_cell(study.data_folder(*run.cell))
    dataset = study.datasets[run.dataset]
    several = len(dataset.class_names) > 1
    truth = regions(cell.target(example["image"])[None], len(cell.classes))[0]
    ignored = cell.ignored(example["image"])
    ignored = np.zeros(truth.shape[1:], bool) if ignored is None else ignored > 0
    prob = decode((study.run_folder(run) / EXAMPLES_FILE).read_bytes(), ignored.shape)
    found = outcome(at_half(prob, dataset.multilabel)[number], truth)
    show(axis, found, ignored, style.classes(dataset.class_names) if several else OUTCOMES)


def run_of(study: Study, example: dict[str, Any]) -> RunSpec:
    """Return the run of an example at the fixed learning rate."""
    key = {k: v for k, v in example.items() if k in study.key_columns}
    key |= {"learning_rate": study.training.learning_rate}
    return next(run for run in study.runs if run.key == key)
