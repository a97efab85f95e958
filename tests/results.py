"""A study's folder with planted results, without any training, for tests of figures and report."""

import json

import numpy as np
import pandas as pd
from PIL import Image

from analysis import recommendation, verdicts
from analysis.results import Results
from analysis.scores import estimates
from experiments import layout
from experiments.plan.study import Study
from tests.tables import NOTHING_MEASURED, OWN_SOURCES, noisy_counts, record_of, table_of


def write_results(folder, config):
    """Write the tables and records of a study whose runs differ by chance; return its Results."""
    study = Study(config, str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    table = table_of(study, noisy_counts(np.random.default_rng(0)))
    study.file(layout.CONFIG).write_text(study.json)
    table.to_csv(study.file(layout.RUNS), index=False)
    study.file(layout.RECORDS).write_text(json.dumps([whole_record(run) for run in study.runs]))
    table.head(0).to_csv(study.file(layout.CONTROLS), index=False)
    NOTHING_MEASURED.to_csv(study.file(layout.MECHANISM), index=False)
    OWN_SOURCES.to_csv(study.file(layout.IMAGE_SOURCES), index=False)
    pd.DataFrame(columns=["dataset", "seed"]).to_csv(study.file(layout.STRESSES), index=False)
    results = Results.open(folder)
    estimates.run(results)
    verdicts.run(results)
    recommendation.run(results)
    return results


def whole_record(run):
    noise = {"noisy": 10, "noisy_reproduced": 4, "clean": 10, "clean_wrong": 3}
    noise = {"background": noise, "foreground": noise} if "flips" in run.stress else None
    record = record_of(run, noise)
    record["curve"] = [point | {"loss": 1 / point["step"]} for point in record["curve"]]
    return record | {
        "commit": "abc",
        "dirty": False,
        "code": {"train": "a", "evaluate": "b"},
        "device": "cpu",
        "seconds": {"train": 60.0},
        "versions": {"numpy": "2"},
        "written": "2026-01-01",
    }


def write_sheet(results):
    """A contact sheet of the dataset `controlled`."""
    contact = results.study.file(layout.CONTACT)
    contact.mkdir()
    Image.new("RGB", (8, 8)).save(contact / "controlled_1.png")
    entry = {"controlled_1": {"dataset": "controlled", "caption": "Training images."}}
    (contact / layout.CAPTIONS).write_text(json.dumps(entry))
