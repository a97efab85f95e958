"""Names of the steps of a study and their modules. Standard library only."""

STEPS = {
    "check": "experiments.runs.check",
    "terms": "experiments.data.fetch:run_terms",
    "fetch": "experiments.data.fetch",
    "probe": "experiments.data.probe",
    "prepare": "experiments.data.prepare",
    "train": "experiments.runs.jobs",
    "mechanism": "experiments.runs.mechanism",
    "collect": "experiments.runs.collect",
    "controls": "experiments.runs.controls",
    "drop": "experiments.data.drop",
    "compare": "experiments.origin.compare",
    "archive": "experiments.origin.archive",
}
"""Step -> its module, or ``module:function``."""
