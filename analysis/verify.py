"""Step `verify`: compare a finished study with its configuration, code, data and versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from analysis.stamps import Stamps
from experiments import layout
from experiments.data import prepared
from experiments.runs.table import collect
from experiments.runs.validity import State, content, validity

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

ON_DEMAND = {"paper": layout.PAPER, "calibration": layout.CALIBRATION}
"""Optional steps; each with a file or folder that exists once the step was run."""


def run(results: Results) -> None:
    """Log everything that is stale or failed; exit with status 1 if there is anything."""
    study = results.study
    stale = [*cells(study), *runs(study), *tables(study), *steps(study)]
    for line in stale:
        log.error("stale: %s", line)
    if stale:
        raise SystemExit(1)
    log.info("all %d runs, their data, tables and figures are valid", len(study.runs))


def cells(study: Study) -> Iterator[str]:
    """Yield the stressed folders with changed or missing files."""
    for folder in (study.file(cell) for name in study.datasets for cell in study.cells(name)):
        try:
            described = prepared.content(folder)
        except (OSError, ValueError, KeyError):
            described = None
        if described is None or content(folder) != described:
            yield f"{folder}: files changed or are missing"


def runs(study: Study) -> Iterator[str]:
    """Yield the runs that are not valid, and the reasons."""
    for run in study.runs:
        found = validity(study.workspace, run)
        if found.state is not State.VALID:
            words = "failed: " if found.state is State.FAILED else ""
            yield f"{run.path}: {words}{found.reason}"


def tables(study: Study) -> Iterator[str]:
    """Yield the tables that differ from the records."""
    try:
        table, records = collect(study)
        present = {
            layout.RUNS: table.to_csv(index=False),
            layout.RECORDS: json.dumps(records, indent=1, sort_keys=True) + "\n",
        }
        for name, text in present.items():
            if study.file(name).read_text() != text:
                yield f"{study.file(name)}: differs from the records"
    except (OSError, ValueError) as error:
        yield f"{study.file(layout.RUNS)}: cannot be compared: {error}"


def steps(study: Study) -> Iterator[str]:
    """Yield the steps that are not done with the present settings, code, data and versions."""
    for stamp in Stamps(study).all():
        step = stamp.path.stem.partition("-")[0]
        if step in ON_DEMAND and not study.file(ON_DEMAND[step]).exists():
            continue
        if reason := stamp.void():
            yield f"step {stamp.path.stem.rpartition('-')[0]}: {reason}"
