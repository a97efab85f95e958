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

from analysis import claims
from analysis.claims import Claim
from analysis.families import MOST, Candidate, Verdict
from analysis.remarks import finding
from analysis.scores import forecast, statistics
from analysis.scores.statistics import LEVEL, Estimate
from experiments.plan.looks import Run, shares

if TYPE_CHECKING:
    from experiments.plan.study import Setting, Study

KEY = ("claim", "level", "dataset", "loss", "against", "threshold", "rate", "setting")
"""Columns that identify a verdict."""
MATTERS = 0.01
"""A difference from the smallest difference that does not matter, in the unit of the claim."""
CHANCE = 0.2
"""Least probability to be decided by the last look: other verdicts get no more seeds."""

Entry = dict[str, Any]
"""A verdict in a decision: its KEY and more."""
Pair = tuple[Verdict, Candidate]
"""A verdict, and the estimate that it was made of."""


def level_of(study: Study, look: int) -> float:
    """Return the error that a look may spend in a family of verdicts."""
    ends = itertools.accumulate(map(len, study.looks))
    return shares(list(ends))[look - 1] * LEVEL


def split(
    pairs: Iterable[Pair], before: Iterable[Entry], look: int, level: float
) -> tuple[list[Entry], list[Pair]]:
    """Return the decided and the undecided primary verdicts at a look.

    pairs: primary verdicts, corrected within their families. before: the entries of those that are
    decided already; they stay so. A verdict is decided at the look if its corrected p is at most
    `level`.
    """
    known = {_key(entry): entry for entry in before}
    decided, undecided = [], []
    for row, candidate in pairs:
        entry = {column: getattr(row, column) for column in KEY}
        asked = candidate.asked(candidate.estimated)
        verdict = statistics.decide(*asked, row.p_corrected, level)
        if (key := _key(entry)) in known:
            decided.append(known[key])
        elif candidate.enough and verdict != "undecided":
            about = {"verdict": verdict, "look": look, "p_corrected": row.p_corrected}
            decided.append(entry | about)
        else:
            undecided.append((row, candidate))
    return decided, undecided


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[column] for column in KEY)


def outlook(pair: Pair, level: float, most: int) -> Entry:
    """Return an undecided verdict with the seeds that would decide it, and the reason to stop.

    level: error of a single verdict at the last look. most: seeds of the last look. The reason is
    empty if more seeds are worth their cost.
    """
    row, candidate = pair
    estimated, bound = candidate.asked(candidate.estimated)
    level /= candidate.sides
    entry = {column: getattr(row, column) for column in (*KEY, "smallest", "n")}
    numbers = {"estimate": estimated.value, "low": estimated.low, "high": estimated.high}
    entry |= {name: None if np.isnan(number) else number for name, number in numbers.items()}
    futile = ""
    if not candidate.datasets:
        futile = "the study's datasets cannot answer"
    elif max(estimated.high - bound, bound - estimated.low) <= MATTERS:
        futile = f"its interval is within {MATTERS} of the smallest difference that matters"
    elif estimated.parts and forecast.chance(estimated, bound, level, most) < CHANCE:
        futile = f"it is too near to the smallest difference for {most} seeds"
    needed = forecast.seeds_needed(estimated, bound, level, MOST)
    return entry | {"datasets": candidate.datasets, "seeds_needed": needed, "futile": futile}


def outlooks(
    pairs: Iterable[Pair], before: Iterable[Entry], level: float, most: int
) -> list[Entry]:
    """Return the `outlook` of undecided verdicts.

    before: the entries of the look before. A verdict that was given up there stays so.
    """
    known = {_key(entry): entry["futile"] for entry in before}
    entries = [outlook(pair, level, most) for pair in pairs]
    return [entry | {"futile": known.get(_key(entry)) or entry["futile"]} for entry in entries]


def runs_of(study: Study, entry: Entry) -> list[Run]:
    """Return the runs that an undecided verdict rests on, on all of its datasets."""
    claim = claims.load()[entry["claim"]].within(study.experiments)
    settings = {setting.label: setting for setting in study.settings_of(claim.experiment)}
    losses = [loss for loss in (entry["against"], entry["loss"]) if loss]
    return _unique(
        where
        for name in entry["datasets"]
        for where in runs_of_claim(study, claim, name, settings[entry["setting"]], losses)
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

    Column `look`: the look at which a verdict was decided, empty for all others; its corrected p is
    that of the look. Estimate and interval are from all seeds.
    """
    decided = {_key(entry): entry for entry in decision["decided"]}
    undecided = {_key(entry): entry for entry in decision["undecided"]}
    rows = []
    for row in table.to_dict("records"):
        key = _key(row)
        if key in decided:
            verdict, look, p = (decided[key][name] for name in ("verdict", "look", "p_corrected"))
            row |= _changed(row, verdict, None, f"decided at look {look}")
            row |= {"look": look, "p_corrected": p}
        elif key in undecided:
            reason = undecided[key]["futile"]
            if row["verdict"] != "undecided":
                reason = f"not decided at the {decision['level']:.1%} of the last look"
            row |= _changed(row, "undecided", undecided[key]["seeds_needed"], reason)
        rows.append(row)
    result = pd.DataFrame(rows, columns=[*table.columns, "look"])
    return result.astype({"look": "Int64", "seeds_needed": "Int64"})


def _changed(row: Mapping[str, Any], verdict: str, needed: int | None, reason: str) -> Entry:
    """Return the columns that follow from a verdict."""
    estimated = Estimate(row["estimate"], row["error"], row["df"], row["n"])
    return {
        "verdict": verdict,
        "finding": finding(estimated, row["smallest"], verdict, needed, row["rule"]),
        "seeds_needed": pd.NA if needed is None else needed,
        "fragile": row["fragile"] if row["verdict"] == verdict else "",
        "reason": "; ".join(filter(None, (reason, row["reason"]))),
    }


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
        return f"{text} The next look takes {_cost(decision['cost'])}."
    text += f" No more seeds: {decision['stop']}."
    needed = [entry["seeds_needed"] for entry in undecided]
    if known := [number for number in needed if number]:
        text += (
            f" By the present estimates {_range(set(known))} seeds would decide {len(known)} of "
            f"the other {len(undecided)}, with {_cost(decision['rest'])} more."
        )
    if unknown := len(needed) - len(known):
        text += f" For {unknown} the number is above {MOST} or not known."
    return text


def _range(numbers: Iterable[int]) -> str:
    """Return the least and the greatest number.

    >>> _range({3, 12, 6}), _range([4, 4])
    ('3 to 12', '4')
    """
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def _cost(cost: Mapping[str, float]) -> str:
    """Return the cost of more seeds in words.

    >>> _cost({"runs": 20, "seconds": 50.0}), _cost({"runs": 20, "seconds": 500.0})
    ('20 runs (50 s in one process)', '20 runs (8 min in one process)')
    """
    seconds = cost["seconds"]
    time = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"{cost['runs']} runs ({time} in one process)"
