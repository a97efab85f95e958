"""Alternative text of the figures: the finding in a sentence or two, made from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims
from analysis.figures import style
from analysis.figures.curves import curves_of
from analysis.figures.learned import PANELS
from analysis.figures.scope import of_datasets, shared_level
from analysis.figures.situations import scopes
from analysis.figures.threshold import tuned_points
from analysis.report.measured import level_words
from analysis.report.tables import minus, signed
from analysis.scores import metrics, tuning
from analysis.verdicts import POOLED, headline

if TYPE_CHECKING:
    from analysis.results import Results

Entry = dict[str, Any]
"""A figure: its entry of captions.json, and its name."""

LISTED = 8
"""Largest number of firsts that are listed; more are counted."""


def alternative(results: Results, figure: Entry) -> str:
    """Return the alternative text of a figure; for other kinds its caption's first sentence."""
    words = _MAKERS[figure["kind"]](results, figure) if figure["kind"] in _MAKERS else ""
    return words or figure["caption"].partition(". ")[0].rstrip(".") + "."


def extremes(values: pd.Series) -> str:
    """Return the losses with the highest and the lowest value; values: by loss.

    >>> extremes(pd.Series({"dice": 0.5, "cross_entropy": 0.25}))
    'highest Dice (0.50), lowest Cross-entropy (0.25)'
    >>> extremes(pd.Series({"dice": 0.0, "cross_entropy": 0.001}))
    'all losses 0.00'
    """
    values = values.dropna()
    if not len(values):
        return "no values"
    low, high = (_two(value) for value in (values.min(), values.max()))
    if low == high:
        return f"{'all losses' if len(values) > 1 else style.name(values.index[0])} {high}"
    return (
        f"highest {style.name(values.idxmax())} ({high}), "
        f"lowest {style.name(values.idxmin())} ({low})"
    )


def _two(value: float) -> str:
    # Adding 0.0 turns a minus zero into a zero.
    return minus(f"{round(value, 2) + 0.0:.2f}")


def _where(figure: Entry) -> str:
    parts = [figure["dataset"], figure.get("setting", "")]
    return f"{style.title(figure['experiment']).capitalize()} on {', '.join(filter(None, parts))}"


def _estimates(results: Results, figure: Entry, **columns: str) -> pd.DataFrame:
    """Return the rows of estimates.csv of a figure's experiment, dataset and setting."""
    setting = figure.get("setting", results.study.settings[0].label)
    where = {"experiment": figure["experiment"], "dataset": figure["dataset"]}
    rows = metrics.select(results.estimates, **where, **{"class": ""}, **columns)
    own = rows[rows["setting"] == setting]
    return own if len(own) else rows


def _sweep(results: Results, figure: Entry) -> str:
    if "_learned" in figure["name"]:  # the kind of both figures is the same
        rows = _estimates(results, figure)
        noise = [
            f"{title}: {extremes(rows[rows['metric'] == m].groupby('loss')['value'].max())}"
            for m, title in PANELS.items()
        ]
        return f"{_where(figure)}, memorised at most: {'; '.join(noise)}."
    rows = _estimates(results, figure, metric="dice", threshold="0.5")
    rows = rows[rows["level"] != ""]
    means = rows.groupby("level", sort=False)["value"].mean().dropna()
    if not len(means):
        return ""
    experiment = results.study.experiments[figure["experiment"]]
    words = {x.label: level_words(experiment, x) for x in experiment.levels[figure["dataset"]]}
    parts = [
        f"at {words[level]}, the {name} level, "
        + extremes(rows[rows["level"] == level].set_index("loss")["value"])
        for name, level in {"hardest": means.idxmin(), "easiest": means.idxmax()}.items()
    ]
    return f"{_where(figure)}, mean Dice score at threshold 0.5: {'; '.join(parts)}."


def _examples(results: Results, figure: Entry) -> str:
    names = ", ".join(map(style.name, results.study.losses))
    scores = _sweep(results, figure)
    return f"A test image at each level, its true mask, and the predictions of {names}. {scores}"


def _ranking(results: Results, figure: Entry) -> str:
    first = results.ranks[results.ranks["rank"] == 1]
    cells = first.groupby(["dataset", "experiment", "setting"], sort=False)
    if len(cells) <= LISTED:
        listed = [
            f"{style.title(key[1])} {' and '.join(map(style.name, rows['loss']))}"
            for key, rows in cells
        ]
        return f"First by mean Dice score: {'; '.join(listed)}."
    counted = [f"{style.name(loss)} in {n}" for loss, n in first["loss"].value_counts().items()]
    return f"First by mean Dice score, of {len(cells)} rankings: {'; '.join(counted)}."


def _situations(results: Results, figure: Entry) -> str:
    """Name the largest difference of each situation at threshold 0.5, on the first scope."""
    study = results.study
    (scope, where), *_ = scopes(study).items()
    reference, setting = study.references[0], study.settings[0].label
    columns = {"against": reference, "threshold": "0.5", "setting": setting, "scope": scope}
    rows = metrics.select(results.comparisons, **columns).dropna(subset="value")
    if rows.empty:
        return ""
    largest = rows.loc[rows["value"].abs().groupby(rows["situation"], sort=False).idxmax()]
    parts = [f"{r.situation}: {style.name(r.loss)} {signed(r.value)}" for r in largest.itertuples()]
    return (
        f"Largest difference from {style.name(reference)}, {where}, threshold 0.5: "
        f"{'; '.join(parts)}."
    )


def _overview(results: Results, figure: Entry) -> str:
    """Name the claims by verdict: at the reference setting, pooled if possible."""
    study, known = results.study, claims.load()
    stem = figure["name"].removeprefix("verdicts").removeprefix("_")
    rows = headline(results.verdicts)
    rows = rows[(rows["level"] != "mechanism") & (rows["setting"] == study.settings[0].label)]
    rows = rows[rows["against"].isin([stem or study.references[0], ""])]
    found: dict[str, list[str]] = {}
    for name, own in rows.groupby("claim", sort=False):
        if known[name].brief:
            continue
        pooled = own[own["dataset"] == POOLED]
        row = (pooled if len(pooled) else own).iloc[-1]
        number = "" if np.isnan(row["estimate"]) else f" ({signed(row['estimate'])})"
        found.setdefault(row["verdict"], []).append(f"{known[name].title}{number}")
    return " ".join(f"{verdict.capitalize()}: {'; '.join(t)}." for verdict, t in found.items())


def _mechanism(results: Results, figure: Entry) -> str:
    claim = claims.load()[figure["claim"]]
    rows = metrics.select(results.verdicts, claim=figure["claim"], level="mechanism")
    rows = rows.drop_duplicates(["loss", "against"])
    if not len(rows):
        return ""
    about = rows[rows["loss"] == claim.about]
    row = (about if len(about) else rows).iloc[0]
    words = claim.mechanism.says.format(
        loss=style.name(row["loss"]), against=style.name(row["against"])
    )
    return f"{words}: {signed(row['estimate'])} ({row['stress']})."


def _maps(results: Results, figure: Entry) -> str:
    maps = results.maps
    flipped = maps["labels"] != maps["target"]
    shares = [
        f"{style.name(name.removeprefix('loss '))} {maps[name][flipped].sum():.0%}"
        for name in maps
        if name.startswith("loss ")
    ]
    return f"Share of the gradient on the flipped labels: {', '.join(shares)}."


def _theory(results: Results, figure: Entry) -> str:
    study = results.study
    stem = figure["name"].removeprefix(f"threshold_{figure['dataset']}").removeprefix("_")
    loss = stem if stem in study.losses else study.references[0]
    points = tuned_points(tuning.fixed(study, results.table), figure["dataset"], loss)
    if not len(points):
        return ""
    tuned, half = points["threshold_value"], points["val_dice"] / 2
    return (
        f"{style.name(loss)} on {figure['dataset']}, {len(points)} tuned thresholds: median "
        f"{_two(tuned.median())}; half of the Dice score: median {_two(half.median())}; median "
        f"distance between them {_two((tuned - half).abs().median())}."
    )


def _curves(results: Results, figure: Entry) -> str:
    study = results.study
    setting = figure.get("setting", study.settings[0].label)
    scopes = [s for s in of_datasets(study) if s.dataset == figure["dataset"]]
    scope = next((s for s in scopes if s.setting.label == setting), scopes[0])
    shared, level = shared_level(scope)
    cell = shared.where(level) | {"learning_rate": study.training.learning_rate}
    last = {}
    for loss in study.losses:
        ends = [c["val_dice"].iloc[-1] for c in curves_of(results.records, cell | {"loss": loss})]
        if ends:
            last[loss] = float(np.mean(ends))
    found = extremes(pd.Series(last, dtype=float))
    return f"{scope.words}: validation Dice score at the last step: {found}."


def _axes(results: Results, figure: Entry) -> str:
    rows = metrics.select(results.estimates, dataset=figure["dataset"], level="").dropna(
        subset="value"
    )
    if not len(rows):
        return ""
    best, worst = (rows.loc[at] for at in (rows["value"].idxmax(), rows["value"].idxmin()))
    words = [
        f"{name} {style.name(row['loss'])} in {style.title(row['experiment'])} with "
        f"{row['setting']} ({_two(row['value'])})"
        for name, row in {"highest": best, "lowest": worst}.items()
    ]
    return f"Mean Dice score on {figure['dataset']} by training setting: {', '.join(words)}."


def _tuning(results: Results, figure: Entry) -> str:
    grid = metrics.select(tuning.grid(results.table), threshold="0.5")
    means = grid.groupby(["loss", "learning_rate"])["test_dice"].mean().dropna()
    best = [
        f"{style.name(loss)} {means[loss].idxmax():g}"
        for loss in results.study.losses
        if loss in means.index.get_level_values(0)
    ]
    return f"Learning rate with the highest mean Dice score: {', '.join(best)}."


def _classes(results: Results, figure: Entry) -> str:
    where = {"dataset": figure["dataset"], "metric": "dice", "threshold": "0.5"}
    rows = metrics.select(results.estimates, **where)
    means = rows[rows["class"] != ""].groupby("class")["value"].mean().dropna()
    if not len(means):
        return ""
    return (
        f"Mean Dice score on {figure['dataset']} over losses and levels: highest class "
        f"{means.idxmax()} ({_two(means.max())}), lowest {means.idxmin()} ({_two(means.min())})."
    )


def _card(results: Results, figure: Entry) -> str:
    """Name the level at which a loss differs most from the first other reference."""
    study, loss = results.study, figure["loss"]
    reference = next((name for name in study.references if name != loss), None)
    keys = ["dataset", "experiment", "level"]
    where = {"metric": "dice", "threshold": "0.5", "class": ""}
    rows = metrics.select(results.estimates, **where, setting=study.settings[0].label)
    wide = rows[rows["level"] != ""].pivot_table(index=keys, columns="loss", values="value")
    if reference not in wide or loss not in wide:
        return ""
    differences = (wide[loss] - wide[reference]).dropna()
    dataset, name, label = differences.abs().idxmax()
    experiment = study.experiments[name]
    level = next(x for x in experiment.levels[dataset] if x.label == label)
    return (
        f"{style.name(loss)} minus {style.name(reference)}, Dice score: largest difference "
        f"{signed(differences[dataset, name, label])} in {style.title(name)} on {dataset}, at "
        f"{level_words(experiment, level)}."
    )


_MAKERS = {
    "card": _card,
    "card_examples": _card,
    "sweep": _sweep,
    "examples": _examples,
    "ranking": _ranking,
    "situations": _situations,
    "overview": _overview,
    "mechanism": _mechanism,
    "maps": _maps,
    "theory": _theory,
    "curves": _curves,
    "axes": _axes,
    "tuning": _tuning,
    "classes": _classes,
}
"""Kind of a figure -> function of the results and the figure."""
