"""The figures of a study: `python -m analysis.figures CONFIG TABLE ... FOLDER`.

Each figure is SVG, PDF and PNG, with its caption in ``captions.json``.
"""

import argparse
import json
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colors
from PIL import Image

from analysis import claims, mechanism, metrics, ranking, statistics, style, theory, tuning
from analysis.claims import REFERENCE
from analysis.style import plt
from analysis.verdicts import POOLED, read_verdicts
from experiments.files import write_whole
from experiments.plan import CONTROLLED_FRACTION, IGNORED, LABELS, MASKS, Study, stress_name
from experiments.results import EXAMPLES, most_probable, read_table

KNOB_LABELS = {
    "fraction": "Foreground fraction",
    "absence": "Share of images that are empty",
    "left_out": "Share of objects left out",
    "rough": "Waves of outlines, sd / radius",
    "overlap": "Share of objects across another",
    "blur": "Image blur, sigma (px)",
    "image_noise": "Image noise, sd (white is 1)",
    "missed": "Share of objects not labelled",
    "invented": "False objects per true one",
    "overdraw": "Labels drawn too large by (px)",
    "shift": "Shift of training masks (px)",
    "jitter": "Label jitter, sd (px)",
    "flips": "Share of training labels flipped",
    "flips_background": "Share of background flipped",
    "flips_foreground": "Share of foreground flipped",
}
"""What stands at the axis of a knob: every one that is a number."""
BOUNDED = {"area_ratio": np.inf, "hd95": np.inf}
"""Metrics that can be above 1 -> how much."""
INTERVAL = "95% intervals from a bootstrap over seeds and test images, Student's t on the seeds"


def title(text):
    return text.replace("_", " ")


def seeds(count):
    return f"{count} seed{'s' * (count != 1)}"


def wrapped(text, characters, of):
    """A label in lines short enough for `of` beside each other in so many; no word is broken."""
    return textwrap.fill(text, max(1, characters // of), break_long_words=False)


def sweep(study, scored, name, dataset, knob):
    """Metrics against the stress of one experiment, a line and an interval per loss."""
    levels = study.experiments[name][dataset]
    claim = next((c for c, _ in claims.load().values() if c.experiment == name), None)
    panels = [("dice", "0.5"), ("dice", "tuned"), (claim.also if claim else "area_ratio", "0.5")]
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDTH, 2.7))
    looks = style.looks(study.losses)
    numeric = all(level.value is not None for level in levels)
    log = numeric and knob == "fraction"
    shared = not study.datasets[dataset].controlled
    rows = scored[
        (scored["dataset"] == dataset)
        & scored["stress"].isin([stress_name(level.stress) for level in levels])
    ]
    ok = rows.groupby(["stress", "loss"])["seed"].nunique()
    for axis, (metric, threshold) in zip(axes, panels, strict=True):
        for i, loss in enumerate(study.losses):
            shift = apart(i, len(study.losses))
            points = []
            for k, level in enumerate(levels):
                values = metrics.per_seed(
                    scored,
                    metric,
                    dataset=dataset,
                    stress=stress_name(level.stress),
                    loss=loss,
                    threshold=threshold,
                )
                found = statistics.estimate([(1, values)], shared=shared, draws=1000)
                points.append((k, level.value, found))
            x = [
                place(k, value, levels, shift, log=log) if numeric else k + 0.5 * shift
                for k, value, _ in points
            ]
            y = np.array([e.value for *_, e in points])
            # A score lies in its range, though a symmetric interval may not.
            bounds = (-np.inf, np.inf) if metric == "size_gap" else (0, BOUNDED.get(metric, 1))
            low, high = np.clip(
                [[e.low for *_, e in points], [e.high for *_, e in points]], *bounds
            )
            spread = np.nan_to_num(np.array([y - low, high - y]))
            look = looks[loss] if numeric else {**looks[loss], "linestyle": "none"}
            axis.errorbar(
                x, y, yerr=np.clip(spread, 0, None), label=style.name(loss), elinewidth=0.8, **look
            )
            for place_, level in zip(x, levels, strict=True):
                if ok.get((stress_name(level.stress), loss), 0) < len(study.seeds):
                    at_the_bottom = axis.get_xaxis_transform()
                    axis.plot(place_, 0.02, "x", color=look["color"], transform=at_the_bottom)
        axis.set_ylabel(metrics.METRICS[metric][0])
        axis.set_title("threshold 0.5" if threshold == "0.5" else "threshold tuned on validation")
        if metric == "area_ratio":
            if knob == "flips" and not shared:
                expected(axis, study, levels, looks)
            axis.set_yscale("symlog", linthresh=1)
            axis.set_ylim(-0.03, max(1.2, axis.get_ylim()[1]))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.axhline(1, color="0.7", linewidth=0.8, zorder=0)
        elif metric != "size_gap":
            axis.set_ylim(-0.02, 1.02)
        if numeric:
            if log:
                axis.set_xscale("log")
            axis.set_xticks([level.value for level in levels], [level.label for level in levels])
            axis.minorticks_off()
            axis.set_xlabel(KNOB_LABELS[knob])
        else:
            axis.set_xticks(range(len(levels)), [wrapped(v.label, 30, len(levels)) for v in levels])
            axis.set_xlim(-0.5, len(levels) - 0.5)
            axis.set_xlabel(title(name).capitalize())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    runs = int(ok.sum())
    planned = len(levels) * len(study.losses) * len(study.seeds)
    images = rows.groupby("stress")["image"].nunique()
    caption = (
        f"{title(name).capitalize()} on {dataset}: mean over test images and seeds of the score "
        f"named at each axis, at threshold 0.5 and (middle) at the one chosen on validation "
        f"images. {INTERVAL}. Rests on {runs} of {planned} runs "
        f"({seeds(len(study.seeds))}, {images.min() if len(images) else 0} test images each)."
    )
    if len(study.datasets[dataset].class_names) > 1:
        caption += (
            " An image's score is the mean over the classes that it shows; at 0.5 the most "
            "probable class is predicted."
        )
    if knob == "flips" and not shared:
        caption += (
            " Faint lines (right): what minimises each loss in expectation, by theory; Dice's "
            f"jumps at a flip rate of {theory.breakdown('dice', true_share(levels)):.3f}."
        )
    if runs < planned:
        caption += " A cross at the bottom marks a cell with runs that diverged or failed."
    return figure, caption


def learned(study, whole, name, dataset):
    """Share of the noisy training labels that a model predicts, against the stress."""
    levels = [v for v in study.experiments[name][dataset] if v.value]
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 2.5), sharey=True)
    looks = style.looks(study.losses)
    for axis, kind in zip(axes, ("background", "foreground"), strict=True):
        for i, loss in enumerate(study.losses):
            shift = apart(i, len(study.losses))
            points = []
            for level in levels:
                rows = whole[
                    (whole["dataset"] == dataset)
                    & (whole["stress"] == stress_name(level.stress))
                    & (whole["loss"] == loss)
                ]
                values = rows[f"noise_{kind}"].dropna()
                of_seeds = {s: np.array([v]) for s, v in zip(values.index, values, strict=True)}
                points.append(statistics.estimate([(1, of_seeds)], draws=1000))
            x = [place(k, level.value, levels, shift, log=False) for k, level in enumerate(levels)]
            y = np.array([e.value for e in points])
            spread = np.array([[e.value - e.low, e.high - e.value] for e in points]).T
            axis.errorbar(
                x,
                y,
                yerr=np.nan_to_num(spread),
                label=style.name(loss),
                elinewidth=0.8,
                **looks[loss],
            )
        axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axis.set_xticks([level.value for level in levels], [level.label for level in levels])
        axis.set_xlabel(KNOB_LABELS["flips"])
        axis.set_title(f"flipped {kind} pixels")
    axes[0].set_ylabel("Noisy labels reproduced,\nbeyond plain mistakes")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    caption = (
        f"Overfitting to noise on {dataset}, measured on the training images: the share of flipped "
        "labels that the trained model predicts at threshold 0.5, less the share of clean pixels "
        "of the same class that it gets wrong alike. At 0 the noise was not learned by heart. "
        f"{seeds(len(study.seeds))}, 95% intervals by Student's t."
    )
    return figure, caption


def true_share(levels):
    """Foreground's share of the controlled images of these levels."""
    return dict(levels[0].stress).get("fraction", CONTROLLED_FRACTION)


def expected(axis, study, levels, looks):
    """Predicted / true area by theory, a faint line per loss whose minimiser is known."""
    f = true_share(levels)
    rates = np.linspace(0, max(level.value for level in levels), 301)
    for loss in (loss for loss in study.losses if loss in theory.MINIMISERS):
        area = [theory.predicted_share(loss, f, e) / f for e in rates]
        axis.plot(rates, area, color=looks[loss]["color"], alpha=0.35, linewidth=2.5, zorder=0)


def half_the_score(study, table, dataset):
    """Cross-entropy's tuned threshold against half the Dice score that it reaches there."""
    tuned = table[
        (table["loss"] == REFERENCE)
        & (table["threshold"] == "tuned")
        & (table["dataset"] == dataset)
        & (table["status"] == "ok")
    ]
    key = ["stress", "seed", "class"]
    runs = tuned.groupby(key, sort=False)[["val_dice", "threshold_value"]].first()
    several = tuned["class"].nunique() > 1
    figure, axis = plt.subplots(figsize=(style.COLUMN, 2.8))
    knobs = ["" if "flips" not in stress else "flips" for stress, *_ in runs.index]
    for label, marker, face in (("", "o", "black"), ("flips", "s", "white")):
        rows = runs[[k == label for k in knobs]]
        if len(rows):
            axis.plot(
                rows["val_dice"] / 2,
                rows["threshold_value"],
                marker,
                color="black",
                markerfacecolor=face,
                label="labels flipped" if label else "labels as they are",
            )
    axis.plot([0, 0.5], [0, 0.5], color="0.6", linewidth=0.8, zorder=0, label="theory")
    axis.set_xlabel("Half the Dice score reached")
    axis.set_ylabel("Threshold tuned on validation")
    axis.set_xlim(-0.02, 0.52)
    axis.set_ylim(-0.02, 1)
    axis.legend(loc="upper left")
    caption = (
        f"Cross-entropy on {dataset}: the threshold of the greatest pooled Dice score on "
        "validation images against half of that score, where theory puts it for probabilities "
        f"that are calibrated. A point per run{' and class' * several}, {len(runs)} "
        f"{'points' if several else 'runs'} of all stresses."
    )
    return figure, caption


def apart(i, losses):
    """Where loss i stands, -1/2 to 1/2, so that the losses' intervals do not hide each other."""
    return (i - (losses - 1) / 2) / losses


def place(k, value, levels, shift, *, log):
    """A level's place on the axis, moved by a part of the gap between levels."""
    values = np.array(sorted(level.value for level in levels))
    if len(values) < 2:
        return value
    if log:
        return value * (values[1:] / values[:-1]).min() ** (0.25 * shift)
    return value + 0.25 * shift * np.diff(values).min()


def examples(study, records, name, dataset, knob):
    """Image, truth and each loss's prediction at 0.5: a test image of the first seed per level.

    Of those whose predictions are kept the first that shows most classes.
    """
    levels = study.experiments[name][dataset]
    classes = study.datasets[dataset].class_names
    several = len(classes) > 1
    seed = study.seeds[0]
    losses = list(study.losses)
    columns = 2 + len(losses)
    side = style.WIDTH / columns
    figure, axes = plt.subplots(
        len(levels),
        columns,
        figsize=(style.WIDTH, 0.98 * side * len(levels) + 0.25 + 0.25 * several),
        squeeze=False,
    )
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.02, hspace=0.01, wspace=0.01)
    shades = style.classes(classes) if several else ["#FFFFFF", "#E69F00", "#56B4E9"]
    palette = colors.ListedColormap(["#101010", *shades, "#707070"])
    grey = palette.N - 1

    def show(axis, kinds, ignored):
        axis.imshow(np.where(ignored, grey, kinds), cmap=palette, vmin=0, vmax=grey)

    paths = {(r["run"]["dataset"], *key(r["run"])): r for r in records}
    some_ignored = False
    for row, level in zip(axes, levels, strict=True):
        stress = stress_name(level.stress)
        folder = Path(study.data_folder(dataset, stress, seed))
        stems = json.loads((folder / "dataset.json").read_text())["split"]["test"][:EXAMPLES]
        truths = [
            np.asarray(Image.open(folder / (LABELS if several else MASKS) / f"{stem}.png"))
            for stem in stems
        ]
        classes_shown = [len(np.unique(truth[truth > 0])) for truth in truths]
        at = int(np.argmax(classes_shown))  # the first of equals
        stem, truth = stems[at], truths[at] if several else truths[at] > 0
        image = np.asarray(Image.open(folder / "images" / f"{stem}.png"))
        row[0].imshow(image, cmap="gray", vmin=0, vmax=255)
        row[0].set_ylabel(f"{title(knob)} {level.label}" if knob else level.label, fontsize=7)
        ignored = np.zeros(truth.shape, bool)
        if (folder / IGNORED).is_dir():
            ignored = np.asarray(Image.open(folder / IGNORED / f"{stem}.png")) > 0
            some_ignored = True
        show(row[1], truth, ignored)
        for axis, loss in zip(row[2:], losses, strict=True):
            run = next(
                r
                for r in study.runs
                if (r.dataset, stress_name(r.stress), r.loss, r.seed)
                == (dataset, stress, loss, seed)
            )
            record = paths[(dataset, stress, loss, seed)]
            if record["status"] != "ok":
                axis.text(0.5, 0.5, record["status"], ha="center", transform=axis.transAxes)
                continue
            strip = np.asarray(Image.open(Path(study.folder, run.path, "probabilities.png")))
            images = strip.reshape(1, len(classes), len(truth), -1, truth.shape[1])
            found = most_probable(images[..., at, :] / 255)[0]
            if several:
                kinds = (found * np.arange(1, len(classes) + 1)[:, None, None]).sum(0)
            else:  # 0: neither, 1: both, 2: predicted only, 3: missed
                kinds = np.where(found[0], np.where(truth, 1, 2), np.where(truth, 3, 0))
            show(axis, kinds, ignored)
    for axis, label in zip(axes[0], ["Image", "Truth", *map(style.name, losses)], strict=True):
        axis.set_title(label, fontsize=7)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    which, what = "the first with foreground, if any", "the predictions at threshold 0.5"
    means = "White: foreground found; orange: predicted but not there; blue: there but missed"
    if several:
        style.class_legend(figure, classes)
        which, what = "the first with most classes", "the most probable ones"
        means = "Black: none of the classes"
    caption = (
        f"{title(name).capitalize()} on {dataset}: of the first {EXAMPLES} test images of seed "
        f"{seed} at each level {which}, with {what}. {means}"
        f"{'; grey: not counted' * some_ignored}. One image is an illustration, not evidence."
    )
    return figure, caption


def key(run):
    return stress_name(sorted(run["stress"].items())), run["loss"], run["seed"]


def shared_stress(study, dataset):
    """The stress of a dataset that most experiments share."""
    counts = {}
    for experiment in study.experiments.values():
        for level in experiment[dataset]:
            counts[level.stress] = counts.get(level.stress, 0) + 1
    return stress_name(max(counts, key=lambda s: (counts[s], s == ())))


def by_class(study, table, dataset):
    """Each class's score, from the most frequent to the rarest, at the stress most shared."""
    stress = shared_stress(study, dataset)
    scored = metrics.scores(table, by_class=True)
    scored = scored[(scored["dataset"] == dataset) & (scored["stress"] == stress)]
    sums = scored.groupby("class")[["tp", "fn", "fp", "tn"]].sum()
    shares = (sums["tp"] + sums["fn"]) / sums.sum(axis=1)
    classes = shares.sort_values(ascending=False, kind="stable").index
    figure, axes = plt.subplots(2, 1, figsize=(style.WIDTH, 4.2), sharex=True)
    looks = style.looks(study.losses)

    def estimate(name, **where):
        rows = scored[scored["class"] == name]
        values = metrics.per_seed(rows, "dice", dataset=dataset, stress=stress, **where)
        return statistics.estimate([(1, values)], shared=True, draws=1000)

    for axis, threshold in zip(axes, ("0.5", "tuned"), strict=True):
        for i, loss in enumerate(study.losses):
            found = [estimate(name, loss=loss, threshold=threshold) for name in classes]
            y = np.array([e.value for e in found])
            low, high = np.clip([[e.low for e in found], [e.high for e in found]], 0, 1)
            axis.errorbar(
                np.arange(len(classes)) + 0.7 * apart(i, len(study.losses)),
                y,
                yerr=np.clip(np.nan_to_num([y - low, high - y]), 0, None),
                label=style.name(loss),
                elinewidth=0.8,
                **{**looks[loss], "linestyle": "none"},
            )
        axis.set_ylim(-0.02, 1.02)
        axis.set_ylabel(metrics.METRICS["dice"][0])
        for line in range(1, len(classes)):
            axis.axvline(line - 0.5, color="0.9", linewidth=0.6, zorder=0)
    axes[0].set_title("the most probable class")
    axes[1].set_title("each class's threshold tuned on validation")
    axes[1].set_xticks(range(len(classes)), [f"{c}\n{100 * shares[c]:.2g}%" for c in classes])
    axes[1].set_xlim(-0.5, len(classes) - 0.5)
    axes[1].set_xlabel("Class, and its share of the test images' pixels")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    runs = scored.groupby("loss")["seed"].nunique().sum()
    caption = (
        f"Each class of {dataset} against all else, stress {stress}: mean Dice score over the test "
        f"images that have the class or are said to, and seeds. {INTERVAL}. Rests on {runs} of "
        f"{len(study.losses) * len(study.seeds)} runs."
    )
    return figure, caption


def curves(study, records, dataset):
    """Training loss and validation score over steps, at the stress that most experiments share."""
    stress = shared_stress(study, dataset)
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 2.5))
    looks = style.looks(study.losses)
    n = 0
    for loss in study.losses:
        found = [
            pd.DataFrame(r["curve"]).set_index("step")
            for r in records
            if r["run"]["dataset"] == dataset
            and key(r["run"])[:2] == (stress, loss)
            and r.get("curve")
        ]
        n += len(found)
        if not found:
            continue
        for axis, column in zip(axes, ("loss", "val_dice"), strict=True):
            values = pd.concat([curve[column] for curve in found], axis=1)
            if column == "loss":  # losses have units of their own: each against its first value
                values = values / values.iloc[0]
            axis.plot(values.index, values.mean(axis=1), label=style.name(loss), **looks[loss])
            axis.fill_between(
                values.index,
                values.min(axis=1),
                values.max(axis=1),
                color=looks[loss]["color"],
                alpha=0.12,
                linewidth=0,
            )
    axes[0].set_ylabel("Training loss / its first value")
    axes[1].set_ylabel("Validation DSC (pooled, 0.5)")
    for axis in axes:
        axis.set_xlabel("Training step")
        axis.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, max(1, len(labels))))
    caption = (
        f"Learning curves on {dataset}, stress {stress}: mean over seeds, shaded from the least "
        f"to the greatest. The training loss is a mean over the steps since the point before, "
        f"divided by its first value. Rests on {n} runs."
    )
    return figure, caption


def overview(study, verdicts):
    """Every claim's estimate and interval against the smallest difference that matters.

    A panel per claim: a row per loss, or, where there are several datasets, a row per dataset
    with the losses beside each other.
    """
    found = claims.load()
    trained = verdicts[
        (verdicts["level"] != "mechanism")
        & (verdicts["rate"] == "fixed")
        & verdicts["estimate"].notna()
    ]
    names = list(dict.fromkeys(trained["claim"]))
    losses = [loss for loss in study.losses if loss in set(trained["loss"])]
    datasets = list(dict.fromkeys(trained["dataset"]))
    many = len(datasets) > 1
    marks = [("0.5", "full")] if many else [("0.5", "full"), ("tuned", "none")]
    rows = datasets if many else losses
    lines = -(-len(names) // 2)
    height = (0.06 * len(losses) + 0.12 if many else 0.17) * len(rows) + 0.62
    figure, axes = plt.subplots(
        lines, min(2, len(names)), figsize=(style.WIDTH, height * lines + 0.4), squeeze=False
    )
    looks = style.looks(study.losses)
    for axis, name in zip(axes.flat, names, strict=False):
        claim = found[name][0]
        axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.axvline(claim.smallest, color="0.4", linewidth=0.8, linestyle=":", zorder=0)
        shown = trained[trained["claim"] == name].set_index(["dataset", "loss", "threshold"])
        drawn = [
            (row, (dataset, loss, threshold), fill)
            for row, label in enumerate(rows)
            for dataset in datasets
            for loss in losses
            for threshold, fill in marks
            if label in (dataset, loss) and (dataset, loss, threshold) in shown.index
        ]
        for row, key, fill in drawn:
            verdict, loss = shown.loc[key], key[1]
            place = losses.index(loss) if many else marks.index((key[2], fill))
            of = len(losses) if many else 2
            axis.errorbar(
                verdict["estimate"],
                row + (place - (of - 1) / 2) * 0.7 / of,
                xerr=np.nan_to_num(
                    [
                        [max(0, verdict["estimate"] - verdict["low"])],
                        [max(0, verdict["high"] - verdict["estimate"])],
                    ]
                ),
                elinewidth=0.9,
                fillstyle=fill,
                **{**looks[loss], "linestyle": "none"},
            )
        missing = {
            rows[row] for row, key, _ in drawn if shown.loc[key]["n"] < shown.loc[key]["planned"]
        }
        labels = [label if many else style.name(label) for label in rows]
        axis.set_yticks(
            range(len(rows)),
            [f"{v} (incomplete)" if r in missing else v for r, v in zip(rows, labels, strict=True)],
        )
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlabel(f"difference in {claim.unit}", labelpad=1)
        axis.set_title(claim.title, loc="left", fontweight="bold", fontsize=7.5)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    if many:
        handles = [
            plt.Line2D([], [], label=style.name(v), **{**looks[v], "linestyle": "none"})
            for v in losses
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6)
    n = int(trained.loc[trained["dataset"] != POOLED, "n"].max())
    caption = (
        "Every claim's estimate for each loss against cross-entropy, counted so that to the right "
        "is as the claim says. "
        + (
            "Threshold 0.5. "
            if many
            else "Filled: threshold 0.5; open: threshold tuned on validation. "
        )
        + "Dotted: the smallest difference that matters; an interval wholly to its right supports "
        "the claim, one wholly to its left contradicts it, but for the correction for the number "
        f"of comparisons. {INTERVAL}; up to {seeds(n)} each, paired. For the tuned threshold's "
        "claim cross-entropy is at its tuned threshold throughout."
    )
    return figure, caption


def ranks(study, ranked):
    """Each loss's rank, with its interval: a row of panels per dataset, one for each experiment."""
    datasets, experiments = (list(dict.fromkeys(ranked[c])) for c in ("dataset", "experiment"))
    losses = [loss for loss in study.losses if loss in set(ranked["loss"])]
    figure, axes = plt.subplots(
        len(datasets),
        len(experiments),
        figsize=(style.WIDTH, (0.12 * len(losses) + 0.1) * len(datasets) + 0.7),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.02)
    looks = style.looks(study.losses)
    for row in ranked.itertuples(index=False):
        axes[datasets.index(row.dataset), experiments.index(row.experiment)].errorbar(
            row.rank,
            losses.index(row.loss),
            xerr=[[max(0, row.rank - row.low)], [max(0, row.high - row.rank)]],
            elinewidth=0.9,
            **{**looks[row.loss], "linestyle": "none"},
        )
    for axis, experiment in zip(axes[0], experiments, strict=True):
        axis.set_title(wrapped(title(experiment), 60, len(experiments)))
    for axis, dataset in zip(axes[:, -1], datasets, strict=True):
        if len(datasets) > 1:
            axis.annotate(
                dataset,
                (1.04, 0.5),
                xycoords="axes fraction",
                rotation=270,
                va="center",
                fontsize=7,
            )
    axes[0, 0].set_yticks(range(len(losses)), [style.name(loss) for loss in losses])
    axes[0, 0].set_ylim(len(losses) - 0.5, -0.5)
    axes[0, 0].set_xticks(range(1, len(losses) + 1))
    axes[0, 0].set_xlim(0.5, len(losses) + 0.5)
    figure.supxlabel("Rank by mean Dice score (1 is the best)", fontsize=8)
    caption = (
        "Rank of each loss by its mean Dice score over an experiment's levels, threshold 0.5, "
        f"fixed learning rate; {seeds(len(study.seeds))}. Lines: where 95% of the ranks fall when "
        "seeds and test images are drawn again, the same for all losses. Ranks whose lines overlap "
        "are not told apart by this study."
    )
    return figure, caption


def sensitivity(study, table):
    """Test score against learning rate: a panel per dataset, a line per loss, mean over cells."""
    grid = tuning.grid(table)
    grid = grid[grid["threshold"] == "0.5"]
    figure, axes = plt.subplots(
        1, len(study.datasets), figsize=(style.WIDTH, 2.5), squeeze=False, sharey=True
    )
    looks = style.looks(study.losses)
    for axis, dataset in zip(axes.flat, study.datasets, strict=True):
        for loss in study.losses:
            rows = grid[(grid["dataset"] == dataset) & (grid["loss"] == loss)]
            mean = rows.groupby("learning_rate")["test_dice"].mean()
            axis.plot(mean.index, mean, label=style.name(loss), **looks[loss])
        axis.axvline(study.training.learning_rate, color="0.8", linewidth=0.8, zorder=0)
        axis.set_xscale("log")
        axis.set_xticks(study.rates, [f"{rate:g}" for rate in study.rates])
        axis.minorticks_off()
        axis.set_xlabel("Learning rate of Adam")
        axis.set_title(dataset)
    axes[0, 0].set_ylabel("Dice score (DSC)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    caption = (
        "Test Dice score at threshold 0.5 against the learning rate, mean over all stresses, seeds "
        f"and test images; rests on {len(study.runs)} planned runs. Grey: the fixed rate. Every "
        "loss has the same grid and budget; a cell's chosen rate is the best on its validation "
        "images."
    )
    return figure, caption


def draw(study, table, records, verdicts, measured, maps, folder):
    """Draw every figure of a study; returns what captions.json holds."""
    fixed = tuning.fixed(study, table)
    scored = metrics.scores(fixed)
    rate = study.training.learning_rate
    records = [r for r in records if r["run"]["learning_rate"] == rate]
    whole = metrics.of_runs(records)
    knobs = {name: value.get("knob") for name, value in study.config["experiments"].items()}
    drawn = {}

    def keep(name, kind, made, **about):
        figure, caption = made
        width = min(100, round(100 * figure.get_figwidth() / style.WIDTH))
        style.save(figure, folder / name)
        drawn[name] = {"kind": kind, "caption": caption, "width": width, **about}

    for claim, made in mechanism.FIGURES.items():
        keep(f"mechanism_{claim}", "mechanism", made(measured), claim=claim)
    keep("mechanism_maps", "maps", mechanism.maps(maps))
    if verdicts.loc[verdicts["level"] != "mechanism", "estimate"].notna().any():
        keep("verdicts", "overview", overview(study, verdicts))
    ranked = ranking.ranks(study, scored)
    if len(ranked):
        keep("ranking", "ranking", ranks(study, ranked))
    if len(study.rates) > 1:
        keep("learning_rates", "tuning", sensitivity(study, table))
    for dataset in study.datasets:
        for name in study.experiments:
            if knobs[name] and len(study.experiments[name][dataset]) == 1:
                continue  # the knob is not turned on this dataset
            about = {"experiment": name, "dataset": dataset}
            stem = f"{name}_{dataset}"
            keep(stem, "sweep", sweep(study, scored, name, dataset, knobs[name]), **about)
            shown = examples(study, records, name, dataset, knobs[name])
            keep(f"{stem}_examples", "examples", shown, **about)
            if knobs[name] == "flips" and len(whole) and whole["noise_background"].notna().any():
                keep(f"{stem}_learned", "sweep", learned(study, whole, name, dataset), **about)
        if REFERENCE in study.losses:
            about = {"claim": "threshold", "dataset": dataset}
            keep(f"threshold_{dataset}", "theory", half_the_score(study, fixed, dataset), **about)
        if len(study.datasets[dataset].class_names) > 1:
            keep(f"classes_{dataset}", "classes", by_class(study, fixed, dataset), dataset=dataset)
        keep(f"curves_{dataset}", "curves", curves(study, records, dataset), dataset=dataset)
    return drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for argument in ("config", "table", "records", "verdicts", "mechanism", "maps"):
        parser.add_argument(argument)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    study = Study.read(args.config)
    records = json.loads(Path(args.records).read_text())
    verdicts = read_verdicts(args.verdicts)
    drawn = draw(
        study,
        read_table(args.table),
        records,
        verdicts,
        pd.read_csv(args.mechanism),
        np.load(args.maps),
        args.folder,
    )
    write_whole(args.folder / "captions.json", json.dumps(drawn, indent=1) + "\n")


if __name__ == "__main__":
    main()
