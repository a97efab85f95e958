"""Tables of whole studies with planted counts, for tests of the analysis."""

import numpy as np
import pandas as pd

from analysis import comparisons, recommendation, verdicts
from analysis.results import Results
from experiments.layout import FOREGROUND
from experiments.runs.table import NUMERIC, check_table, columns, key_columns

MILLION = 1_000_000
OWN_SOURCES = pd.DataFrame(columns=["dataset", "stress", "image", "source"])
"""Every image is its own source."""
NOTHING_MEASURED = pd.DataFrame(columns=["quantity", "loss", "x", "value"])


def row(**counts):
    """A table of one image."""
    return pd.DataFrame([dict.fromkeys(NUMERIC, 0) | counts])


def spread(counts, image, seed):
    """The counts a million times, and a few pixels or objects more or less by image and seed."""
    counts = {name: value * MILLION for name, value in counts.items()}
    step = (1, -1, 0, 0)[image] + 2 * seed
    for hit, missed in (("tp", "fn"), ("band_tp", "band_fn")):
        if counts.get(hit) and counts.get(missed):
            counts[hit] += step
            counts[missed] -= step
    for size in ("small", "large"):
        if f"hits_{size}" in counts:
            hits = counts[f"hits_{size}"] + step
            counts[f"hits_{size}"] = min(max(hits, 0), counts[f"objects_{size}"])
    return counts


def table_of(study, counts):
    """A study's table with counts(run, threshold) for each of four images and each class.

    The losses that are compared with the reference get a small spread.
    """
    rows = []
    for run in study.runs:
        classes = study.datasets[run.dataset].class_names or (FOREGROUND,)
        for threshold in ("0.5", "tuned"):
            for image in range(4):
                full = counts(run, threshold)
                if run.loss != study.references[0]:
                    full |= spread({k: full[k] for k in NUMERIC if k in full}, image, run.seed)
                full = dict.fromkeys(NUMERIC, 0) | full
                for name in classes:
                    named = {"image": f"{image}", "class": name, "threshold": threshold}
                    rows.append(run.key | {"status": "ok"} | named | full)
    frame = pd.DataFrame(rows)
    rest = {"threshold_value": 0.5, "val_dice": 0.5, "hd95": 1.0, "squared_error": 0.1}
    for column, value in rest.items():
        if column not in frame:
            frame[column] = value
    table = frame[columns(study.axes)].copy()
    table[NUMERIC] = table[NUMERIC].astype("Int64")
    return check_table(table, "test")


def results_of(study, table, sources=OWN_SOURCES):
    """The results of a study with these tables, without any file."""
    results = Results(study)
    vars(results).update(table=table, image_sources=sources)
    return results


def lose(table, status, run):
    """The table with a run lost: a row with its status and without counts.

    run: values of its key columns; columns without a value select every run.
    """
    key = [column for column in key_columns(table) if column in run]
    lost = (table[key] == [run[column] for column in key]).all(axis=1)
    table = table.copy()
    table.loc[lost, "status"] = status
    table.loc[lost, table.columns[table.columns.get_loc("status") + 1 :]] = np.nan
    return table[~lost | ~table.duplicated(key_columns(table))]


def good(tp, fn):
    return {"tp": tp, "fn": fn, "band_tp": tp, "band_fn": fn}


def noisy_counts(rng, gain=0):
    """Runs that differ by chance only, and by `gain` for Dice."""

    def counts(run, threshold):
        tp = int(rng.integers(40, 61)) + (gain if run.loss == "dice" else 0)
        return good(tp, 100 - tp)

    return counts


def record_of(run, noise=None):
    """The record of a run that is ok."""
    bins = {"pixels": [10], "predicted": [5.0], "true": [4.0]}
    curve = [{"step": 5, "val_dice": 0.05}, {"step": 10, "val_dice": 0.3}]
    return {"key": run.key, "status": "ok", "curve": curve, "calibration": bins, "noise": noise}


def judged(study, table, sources=OWN_SOURCES):
    """All verdicts on trained models."""
    return verdicts.verdicts(study, table, NOTHING_MEASURED, sources)


def headline(study, table, sources=OWN_SOURCES):
    """The headline verdicts on trained models, by claim."""
    return verdicts.headline(judged(study, table, sources)).set_index("claim")


def planted(scores, spread=1.0):
    """Counts with these Dice scores, in percent, by loss and run; seeds differ by `spread`."""
    rng = np.random.default_rng(0)

    def counts(run, threshold):
        score = scores(run, threshold) + spread * rng.normal()
        return good(round(10 * score), 2 * round(1000 - 10 * score))

    return counts


def found(study, counts, change=lambda table: table):
    """The results of a study with planted counts."""
    table = change(table_of(study, counts))
    results = results_of(study, table)
    vars(results).update(
        recommendation=recommendation.recommendation(results),
        comparisons=comparisons.comparisons(results),
        verdicts=judged(study, table),
    )
    return results
