"""Looks at a study with adaptive seeds: which verdicts are decided, and which need more seeds.

Pure functions of the table of verdicts and of the decisions; the step is `analysis.decision`.
The error of 5% is split over the looks (`experiments.plan.looks.shares`). So a verdict may be
decided at any look, and stays decided.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis import claims
from analysis.claims import Claim
from analysis.scores import statistics
from analysis.scores.statistics import Estimate
from experiments.plan.looks import Run, shares

if TYPE_CHECKING:
    from experiments.plan.study import Setting, Study

ERROR = 0.05
"""Error of a family of verdicts, over all looks."""
KEY = ("claim", "level", "dataset", "loss", "against", "threshold", "rate", "setting")
"""Columns that identify a verdict."""
SHOWN = ("estimate", "low", "high", "smallest", "n")
"""Columns of an undecided verdict that its decision repeats."""
MATTERS = 0.01
"""An effect that is this near to the smallest difference need not be told from it."""
CHANCE = 0.2
"""A verdict whose probability to be decided by the last look is lower gets no more seeds."""
MOST = 1000
"""Greatest number of seeds that is named."""

Entry = dict[str, Any]
"""A verdict in a decision: its KEY and more."""


def level_of(study: Study, look: int) -> float:
    """Return the error that a look may spend in a family of verdicts."""
    ends = itertools.accumulate(map(len, study.looks))
    return shares(list(ends))[look - 1] * ERROR


def split(
    rows: pd.DataFrame, before: Iterable[Entry], look: int, level: float
) -> tuple[list[Entry], list[Entry]]:
    """Return the decided and the undecided primary verdicts at a look.

    rows: verdicts. before: those that are decided already; they stay so. A verdict is decided at
    the look if its corrected p is at most `level`.
    """
    known = {_key(entry): entry for entry in before}
    decided, undecided = [], []
    for row in rows[rows["family"] == "primary"].to_dict("records"):
        entry = {column: row[column] for column in KEY}
        if (key := _key(row)) in known:
            decided.append(known[key])
        elif row["p_corrected"] <= level and row["estimate"] != row["smallest"]:
            side = "supported" if row["estimate"] > row["smallest"] else "contradicted"
            decided.append(entry | {"verdict": side, "look": look})
        else:
            undecided.append(row)
    return decided, undecided


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[column] for column in KEY)


def seeds_needed(
    distance: float, error: float, df: float, n: int, *, level: float, most: int, fixed: float = 0.0
) -> int | None:
    """Return the least number of seeds, n or more, that would decide an estimate that stays as is.

    That is the least m with |distance| >= t_{1 - level}(df_m) error_m, where error_m^2 = fixed +
    (error^2 - fixed) n / m and df_m = df (m - 1) / (n - 1).

    distance: estimate less the smallest difference. error, df: its standard error and degrees of
    freedom with n seeds. level: of the one-sided test. fixed: variance that more seeds do not
    reduce, such as that of images which all seeds share. None if `most` seeds are too few.

    >>> seeds_needed(0.05, 0.05, 2, 3, level=0.05, most=12)
    10
    """
    m = np.arange(n, most + 1)
    errors = np.sqrt(fixed + (error**2 - fixed) * n / m)
    enough = abs(distance) >= stats.t.isf(level, df * (m - 1) / (n - 1)) * errors
    return int(m[enough.argmax()]) if enough.any() else None


def chance(
    distance: float, error: float, df: float, n: int, *, level: float, most: int, fixed: float = 0.0
) -> float:
    """Return the probability that an estimate will be decided with `most` seeds.

    The arguments are those of `seeds_needed`. The future estimate, given the present one, is
    Student's t with df degrees about it; its variance is the seeds' part times 1 - n / most.

    >>> round(chance(0.0, 0.05, 2, 3, level=0.05 * 4 / 7, most=12), 2)
    0.34
    """
    spread = np.sqrt((error**2 - fixed) * (1 - n / most))
    last = np.sqrt(fixed + (error**2 - fixed) * n / most)
    bound = stats.t.isf(level, df * (most - 1) / (n - 1)) * last
    if not spread > 0:
        return float(abs(distance) >= bound)
    ends = (bound - distance) / spread, (bound + distance) / spread
    return float(sum(stats.t.sf(end, df) for end in ends))


def outlook(row: Mapping[str, Any], seeds: int, level: float, most: int) -> Entry:
    """Return an undecided verdict with the seeds that would decide it, and the reason to stop.

    seeds: of the runs that it rests on. level: error of a single test at the last look. most: seeds
    of the last look. The reason is empty if more seeds are worth their cost.
    """
    entry = {column: row[column] for column in KEY}
    entry |= {name: None if pd.isna(row[name]) else row[name] for name in SHOWN}
    distance, error = row["estimate"] - row["smallest"], row["error"]
    needed, futile = None, ""
    if row["planned"] == 0:
        futile = "the experiment has no levels that answer the claim"
    elif error > 0:  # NaN for one seed, or without any spread
        known = distance, error, row["df"], seeds
        fixed = row.get("fixed", 0.0)
        needed = seeds_needed(*known, level=level, most=MOST, fixed=fixed)
        within = max(row["high"] - row["smallest"], row["smallest"] - row["low"])
        if within <= MATTERS:
            futile = f"its interval is within {MATTERS} of the smallest difference that matters"
        elif chance(*known, level=level, most=most, fixed=fixed) < CHANCE:
            futile = f"it is too near to the smallest difference for {most} seeds"
    return entry | {"seeds": seeds, "seeds_needed": needed, "futile": futile}


def outlooks(
    study: Study, rows: Iterable[Mapping[str, Any]], before: Iterable[Entry], level: float
) -> list[Entry]:
    """Return the `outlook` of the undecided verdicts. before: those of the look before."""
    known = {_key(entry): entry["futile"] for entry in before}
    found = []
    for row in rows:
        seeds = [len(study.plan.seeds(*where)) for where in runs_of(study, row)]
        entry = outlook(row, min(seeds, default=0), level, len(study.seeds))
        found.append(entry | {"futile": known.get(_key(row)) or entry["futile"]})
    return found


def runs_of(study: Study, row: Mapping[str, Any]) -> list[Run]:
    """Return the runs that a verdict rests on; a pooled one rests on all real datasets."""
    claim, losses = claims.load()[row["claim"]], (row["against"], row["loss"])
    settings = {setting.label: setting for setting in study.settings_of(claim.experiment)}
    real = [dataset.name for dataset in study.datasets.values() if not dataset.controlled]
    names = [row["dataset"]] if row["dataset"] in study.datasets else real
    return _unique(
        where
        for name in names
        for where in runs_of_claim(study, claim, name, settings[row["setting"]], losses)
    )


def runs_of_claim(
    study: Study, claim: Claim, dataset: str, setting: Setting, losses: Iterable[str]
) -> list[Run]:
    """Return the runs that a claim's estimate on a dataset is made of: those of its levels."""
    weighted = claim.weights(study.experiments[claim.experiment].levels[dataset])
    losses = list(losses)
    return _unique(
        where for _, level in weighted for where in study.runs_at(dataset, level, setting, losses)
    )


def _unique(runs: Iterable[Run]) -> list[Run]:
    return list(dict.fromkeys(runs))


def grouped(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return runs as the entries of a decision: dataset, stress, setting and losses.

    >>> grouped([("wbc", "none", "", "dice"), ("wbc", "none", "", "focal")])
    [{'dataset': 'wbc', 'stress': 'none', 'setting': '', 'losses': ['dice', 'focal']}]
    """
    cells: dict[tuple[str, ...], dict[str, None]] = {}
    for *cell, loss in runs:
        cells.setdefault(tuple(cell), {})[loss] = None
    names = "dataset", "stress", "setting"
    return [dict(zip(names, cell, strict=True)) | {"losses": [*of]} for cell, of in cells.items()]


def next_runs(study: Study, undecided: Iterable[Entry]) -> list[Run]:
    """Return the runs that get the seeds of the next look: of verdicts that these may decide."""
    return _unique(where for e in undecided if not e["futile"] for where in runs_of(study, e))


def rest(study: Study, undecided: Iterable[Entry]) -> dict[Run, int]:
    """Return the number of seeds that each run would need in addition to decide the verdicts.

    A verdict that MOST seeds would not decide is left out.
    """
    missing: dict[Run, int] = {}
    for entry in undecided:
        for where in runs_of(study, entry) if entry["seeds_needed"] else ():
            more = entry["seeds_needed"] - len(study.plan.seeds(*where))
            missing[where] = max(missing.get(where, 0), more)
    return missing


def cost(study: Study, seeds: Mapping[Run, int], pace: Mapping[str, float]) -> dict[str, float]:
    """Return the number of models, and their seconds in one process, of more seeds.

    seeds: of each run, at all learning rates. pace: dataset -> seconds of a run.
    """
    models = {where: number * len(study.rates) for where, number in seeds.items()}
    seconds = sum(number * pace.get(where[0], 0.0) for where, number in models.items())
    return {"runs": sum(models.values()), "seconds": round(seconds, 1)}


def stop(undecided: Sequence[Entry], look: int, last: int) -> str:
    """Return the reason why no look follows; empty if one does."""
    if not undecided:
        return "all primary verdicts are decided"
    if look == last:
        return "the seeds of the last look are spent"
    if all(entry["futile"] for entry in undecided):
        return "more seeds would decide no other primary verdict, or none that matters"
    return ""


def carry(table: pd.DataFrame, decision: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table of verdicts with the primary ones as the last decision has them.

    Column `look`: the look at which a verdict was decided, empty for all others.
    """
    decided = {_key(entry): entry for entry in decision["decided"]}
    undecided = {_key(entry): entry for entry in decision["undecided"]}
    rows = []
    for row in table.to_dict("records"):
        key, own = _key(row), {"look": np.nan}
        if key in decided:
            own = {"verdict": decided[key]["verdict"], "look": decided[key]["look"], "reason": ""}
        elif key in undecided:
            own = {"verdict": "undecided", "look": np.nan}
            own["reason"] = row["reason"] or undecided[key]["futile"]
        if "verdict" in own:
            estimated = Estimate(row["estimate"], row["low"], row["high"], row["n"])
            own["finding"] = statistics.finding(estimated, row["smallest"], own["verdict"])
        rows.append(row | own)
    result = pd.DataFrame(rows, columns=[*table.columns, "look"])
    return result.astype({"look": "Int64"})


def summary(study: Study, decision: Mapping[str, Any]) -> str:
    """Return the state of a study after a decision: seeds, verdicts, and the cost of the rest."""
    numbers = [sum(map(len, study.looks[: k + 1])) for k in range(len(study.looks))]
    spent = []
    for dataset in study.datasets:
        seeds = {len(study.plan.seeds(dataset, s)) for s in study.stresses(dataset)}
        runs = sum(run.dataset == dataset for run in study.runs)
        spent.append(f"{dataset}: {_range(seeds)} seeds, {runs} runs")
    decided, undecided = decision["decided"], decision["undecided"]
    total = len(decided) + len(undecided)
    text = (
        f"Look {decision['look']} of {len(numbers)} (at {', '.join(map(str, numbers))} seeds): "
        f"{len(decided)} of {total} primary verdicts are decided. {'; '.join(spent)}."
    )
    if decision["next"]:
        return f"{text} The next look takes {_cost(decision['cost'])} more."
    text += f" No more seeds: {decision['stop']}."
    needed = [entry["seeds_needed"] for entry in undecided]
    if known := [number for number in needed if number]:
        text += (
            f" By the present estimates {_range(set(known))} seeds would decide {len(known)} of "
            f"the other {len(undecided)}, with {_cost(decision['rest'])} more."
        )
    if unknown := len(needed) - len(known):
        text += f" {unknown} would need more than {MOST} seeds, or how many is not known."
    return text


def _range(numbers: Iterable[int]) -> str:
    """Return the least and the greatest number.

    >>> _range({3, 12, 6}), _range([4, 4])
    ('3 to 12', '4')
    """
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def _cost(cost: Mapping[str, float]) -> str:
    return f"{cost['runs']} runs and about {cost['seconds'] / 60:.0f} minutes of one process"
