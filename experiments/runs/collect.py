"""Step `collect`: join the runs of a study into ``runs.csv`` and ``records.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from experiments.files import write_whole
from experiments.layout import RECORDS, RUNS
from experiments.runs import table

if TYPE_CHECKING:
    from experiments.plan.study import Study


def run(study: Study) -> None:
    """Write the study's table and records; RecordError names the first invalid record."""
    rows, records = table.collect(study)
    write_whole(study.file(RUNS), rows.to_csv(index=False))
    write_whole(study.file(RECORDS), json.dumps(records, indent=1, sort_keys=True) + "\n")
