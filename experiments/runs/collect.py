"""Step `collect`: join the runs of a study into ``runs.csv`` and ``records.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from experiments.files import write_whole
from experiments.layout import RECORDS, RUNS
from experiments.origin import datasets
from experiments.plan.stamps import Stamps
from experiments.runs import table

if TYPE_CHECKING:
    import pandas as pd

    from experiments.plan.study import Study


def run(study: Study) -> None:
    """Write the study's table and records, and the sources of its datasets."""
    rows, records = gather(study)
    write_whole(study.file(RUNS), rows.to_csv(index=False))
    write_whole(study.file(RECORDS), json.dumps(records, indent=1, sort_keys=True) + "\n")
    datasets.write(study)


def gather(study: Study) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the table and the records of the runs that are planned so far.

    InvalidRuns names runs that are not valid. The next call of the workflow trains them.
    """
    try:
        return table.collect(study)
    except table.InvalidRuns as error:
        stamps = Stamps(study).train
        for name, job in study.jobs.items():
            if not error.runs.keys().isdisjoint(job.runs):
                stamps[name].remove()
        raise
