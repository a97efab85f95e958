"""The numbers behind the figures, as one table: ``estimates.csv``. Ranks, as ``ranks.csv``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.scores import metrics, ranking, statistics, tuning
from experiments.files import write_whole
from experiments.layout import ESTIMATES, RANKS
from experiments.plan.knobs import LABEL_KNOBS

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

COLUMNS = {
    "experiment": "experiment of the study",
    "dataset": "dataset of the study",
    "level": "label of the experiment's level; empty: mean over its levels",
    "setting": "label of the training setting; empty for a study without axes",
    "loss": "name of the loss in the configuration",
    "class": "class that is scored against the rest; empty: mean over the classes of an image",
    "metric": "name of the metric, or noise_background, noise_foreground (memorised labels)",
    "threshold": "0.5 or tuned",
    "value": "mean over seeds and test images",
    "low": "lower end of the 95% interval; empty for one seed, or one value other than 0 in all",
    "high": "upper end",
    "n": "number of seeds",
}
"""Columns of ``estimates.csv``. Intervals are not clipped to the range of the metric."""
THRESHOLDS = ("0.5", "tuned")
NOISE, KINDS = "noise", ("background", "foreground")
"""Prefix and suffixes of the metrics of memorised noise."""

Cells = Mapping[tuple, Mapping[int, pd.DataFrame]]
"""Values of a cell's columns -> seed -> its rows, one per image."""


def run(results: Results) -> None:
    """Write ``estimates.csv`` and ``ranks.csv`` of a study."""
    study = results.study
    fixed = tuning.fixed(study, results.table)
    table = estimates(study, fixed, results.records, results.image_sources)
    write_whole(study.file(ESTIMATES), table.to_csv(index=False))
    write_whole(study.file(RANKS), ranking.ranks(results).to_csv(index=False))


def estimates(
    study: Study,
    table: pd.DataFrame,
    records: list[dict[str, Any]],
    image_sources: pd.DataFrame,
) -> pd.DataFrame:
    """Return the rows of COLUMNS of a study.

    table: the study's table at the fixed learning rate. image_sources: see `metrics.sources`.

    For every experiment, dataset, level, setting and loss: each metric at each threshold; Dice per
    class for several classes; memorised noise for levels that corrupt labels. Then the mean Dice
    score over the levels, at 0.5.
    """
    cell = tuning.cell_columns(table)
    classes = metrics.scores(table, by_class=True)
    runs = metrics.of_runs(records)
    runs = tuning.fixed(study, runs).assign(threshold="0.5") if len(runs) else runs
    scored = metrics.scores(table)
    sources = metrics.sources(study, scored, image_sources)
    cells = {"": _group(scored, cell), None: _group(runs, cell)}
    cells |= {name: _group(rows, cell) for name, rows in classes.groupby("class")}
    rows = []
    for experiment, dataset in itertools.product(study.experiments, study.datasets):
        planned = list(_planned(study, experiment, dataset))
        samples = [_sample(cells, cell, *part) for part in planned]
        own = [
            None if labels["metric"].startswith(NOISE) else sources.get((dataset, where["stress"]))
            for where, labels in planned
        ]
        values = statistics.estimates(samples, own)
        for (_, labels), e in zip(planned, values, strict=True):
            numbers = {"value": e.value, "low": e.low, "high": e.high, "n": e.n}
            rows.append({"experiment": experiment, "dataset": dataset} | labels | numbers)
        rows += _means(study, experiment, dataset, cells, cell, sources)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _group(rows: pd.DataFrame, cell: list[str]) -> Cells:
    """Group the rows by cell and seed, in the order of the images' names."""
    groups: dict[tuple, dict[int, pd.DataFrame]] = {}
    rows = rows.sort_values("image") if "image" in rows else rows
    for (*key, seed), group in rows.groupby([*cell, "seed"]) if len(rows) else ():
        groups.setdefault(tuple(key), {})[seed] = group
    return groups


def _planned(
    study: Study, experiment: str, dataset: str
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Yield, for each row of the table, the columns that select its cell, and its labels."""
    classes = study.datasets[dataset].class_names
    for level, setting, loss in itertools.product(
        study.experiments[experiment].levels[dataset], study.settings_of(experiment), study.losses
    ):
        rows = [("", metric, t) for metric in metrics.METRICS for t in THRESHOLDS]
        rows += [(c, "dice", t) for c in classes for t in THRESHOLDS] * (len(classes) > 1)
        rows += [("", f"{NOISE}_{kind}", "0.5") for kind in KINDS] * bool(
            LABEL_KNOBS & set(level.stress)
        )
        where = study.where(dataset, level, setting) | {"loss": loss}
        about = {"level": level.label, "setting": setting.label, "loss": loss}
        for name, metric, threshold in rows:
            labels = {"class": name, "metric": metric, "threshold": threshold}
            yield where | {"threshold": threshold}, about | labels


def _means(
    study: Study,
    experiment: str,
    dataset: str,
    cells: Mapping[str | None, Cells],
    cell: list[str],
    sources: Mapping[tuple[str, str], list[str]],
) -> Iterator[dict[str, Any]]:
    """Yield the mean Dice score over the levels of an experiment, per setting and loss."""
    levels = study.experiments[experiment].levels[dataset]
    labels = {"level": "", "class": "", "metric": "dice", "threshold": "0.5"}
    for setting, loss in itertools.product(study.settings_of(experiment), study.losses):
        own = {"loss": loss, "threshold": "0.5"}
        wheres = [study.where(dataset, level, setting) | own for level in levels]
        terms = [(1 / len(levels), _sample(cells, cell, where, labels)) for where in wheres]
        e = statistics.estimate(terms, [sources.get((dataset, w["stress"])) for w in wheres])
        yield {
            **{"experiment": experiment, "dataset": dataset, "setting": setting.label},
            **{"loss": loss, "value": e.value, "low": e.low, "high": e.high, "n": e.n},
            **labels,
        }


def _sample(
    cells: Mapping[str | None, Cells],
    cell: list[str],
    where: dict[str, str],
    labels: dict[str, str],
) -> statistics.Sample:
    """Return the values per seed that a row of the table estimates.

    cells: by class, "" for the mean over classes; those of whole runs have the key None.
    """
    metric = labels["metric"]
    noise = metric.startswith(NOISE)
    column = metric if noise else f"score_{metric}"
    seeds = cells.get(None if noise else labels["class"], {}).get(
        tuple(where[name] for name in cell), {}
    )
    return {seed: rows[column].to_numpy(float) for seed, rows in seeds.items()}
