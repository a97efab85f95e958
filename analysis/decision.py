"""Step `look`: decide which primary verdicts need more seeds, and which runs get them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import families, looks, verdicts
from analysis.effects import Tables
from analysis.scores import tuning
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.plan import looks as plans
from experiments.plan.study import Study
from experiments.runs import collect

if TYPE_CHECKING:
    from analysis.results import Results

log = logging.getLogger("dicebench")


def run(results: Results, name: str = "") -> None:
    """Write the decision of look `name`: of looks 1 to name, from the runs that are planned so far.

    Later decisions are removed first: they follow from this one. ConfigError for a look that the
    study does not have, or without chosen runs yet. InvalidRuns if a run is not valid.
    """
    study = results.study
    numbers = [str(k) for k in range(1, len(study.looks) + 1)] if study.adaptive else []
    if name not in numbers or int(name) > len(study.decisions) + 1:
        allowed = ", ".join(numbers[: len(study.decisions) + 1]) or "none, as seeds are fixed"
        raise ConfigError(f"look: {name!r} is not allowed; allowed: {allowed}")
    look = int(name)
    for later in range(len(study.looks), look - 1, -1):
        study.file(plans.file(later)).unlink(missing_ok=True)
    study = Study.open(study.folder)
    table, records = collect.gather(study)
    decision = decide(study, primary(study, table), look, seconds(records))
    write_whole(study.file(plans.file(look)), json.dumps(decision, indent=1) + "\n")
    log.info("%s", looks.summary(study, decision))


def seconds(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return dataset -> the median seconds of its runs."""
    rows = [(record["key"]["dataset"], sum(record["seconds"].values())) for record in records]
    frame = pd.DataFrame(rows, columns=["dataset", "seconds"])
    return frame.groupby("dataset")["seconds"].median().to_dict()


def primary(study: Study, table: pd.DataFrame) -> list[looks.Pair]:
    """Return the primary verdicts from the runs so far, corrected within their families."""
    sources = collect.image_sources(study)
    candidates = verdicts.primary(Tables(study, tuning.fixed(study, table), sources))
    return list(zip(families.settle(candidates), candidates, strict=True))


def decide(
    study: Study, pairs: Iterable[looks.Pair], look: int, pace: Mapping[str, float]
) -> dict[str, Any]:
    """Return the decision of a look.

    pairs: `primary`. pace: `seconds`. A verdict that was not worth more seeds at an earlier look
    gets none later, but may still be decided.
    """
    last, most = len(study.looks), len(study.seeds)
    earlier = study.decisions[-1] if study.decisions else {"decided": [], "undecided": []}
    level, final = looks.level_of(study, look), looks.level_of(study, last)
    decided, others = looks.split(pairs, earlier["decided"], look, level)
    undecided = looks.outlooks(others, earlier["undecided"], final, most)
    reason = looks.stop(undecided, look, last)
    chosen = [] if reason else looks.next_runs(study, undecided)
    more = len(study.looks[look]) if chosen else 0
    return {
        "settings": study.analysis_fingerprint,
        "look": look,
        "level": level,
        "decided": decided,
        "undecided": undecided,
        "stop": reason,
        "next": looks.grouped(chosen),
        "cost": looks.cost(study, dict.fromkeys(chosen, more), pace),
        "rest": looks.cost(study, looks.rest(study, undecided), pace),
    }
