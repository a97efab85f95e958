"""Step `collect`: join the runs of a study into ``runs.csv`` and ``records.json``.

``image_sources.csv`` has the source image and the group of each test image.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.data import prepared
from experiments.files import write_whole
from experiments.layout import IMAGE_SOURCES, RECORDS, RUNS
from experiments.origin import datasets
from experiments.plan.stamps import Stamps
from experiments.runs import table

if TYPE_CHECKING:
    import pandas as pd

    from experiments.plan.study import Study


def run(study: Study) -> None:
    """Write the study's table and records, and the sources of its images and datasets."""
    rows, records = gather(study)
    write_whole(study.file(RUNS), rows.to_csv(index=False))
    write_whole(study.file(RECORDS), json.dumps(records, indent=1, sort_keys=True) + "\n")
    write_whole(study.file(IMAGE_SOURCES), image_sources(study).to_csv(index=False))
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


def image_sources(study: Study) -> pd.DataFrame:
    """Return dataset, stress, image, source and group of each test image that is not generated.

    image: window or mosaic, named IMAGE-NUMBER. source: the image of the dataset that it is cut
    from. group: of that image (patient, video, volume), else the image itself. All are those of
    the first seed: all seeds share the test images of a dataset.
    """
    rows = [
        (dataset, stress, image, image.rpartition("-")[0], group)
        for dataset in study.datasets
        for stress in study.stresses(dataset)
        for image, group in prepared.sources(
            study.data_folder(dataset, stress, study.seeds[0])
        ).items()
    ]
    return pd.DataFrame(rows, columns=["dataset", "stress", "image", "source", "group"])
