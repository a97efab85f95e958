"""How sure a study's answer is: seeds, images, smallest differences, error rates of verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from analysis.calibration import FAMILY, SMALLEST
from analysis.figures import style
from analysis.report.cases import first_of, joined, short
from analysis.scores.forecast import POWER
from analysis.stamps import Stamps
from experiments.datasets import DATASETS
from experiments.layout import CALIBRATION
from experiments.runs.table import read_csv

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

ESTIMATES = "estimates only, no intervals, no verdicts"
"""Words on a study with one seed."""
ELSEWHERE = "Error rates of the verdicts: docs/results.md in the repository of dicebench."


def lines(
    results: Results, groups: Mapping[str, Sequence[str]], compared: pd.DataFrame
) -> Iterator[str]:
    """Yield the sentences.

    groups: name -> scopes, of the parts of the answer. compared: rows of ``comparisons.csv`` at
    one setting and threshold.
    """
    study = results.study
    yield f"{basis(study)}."
    if len(study.seeds) == 1:
        return
    for name, scopes in list(groups.items())[:1]:
        if found := detectable(study, scopes, compared):
            yield f"{found}{f' ({name})' * (len(groups) > 1)}."
    yield error_rates(results)


def basis(study: Study) -> str:
    """Return the seeds and images that the answer is from."""
    one = f": {ESTIMATES}" * (len(study.seeds) == 1)
    real = any(not dataset.controlled for dataset in study.datasets.values())
    alone = "" if real else "; real images are not in this study"
    return f"{style.seeds(study)} on {images(study)}{one}{alone}"


def images(study: Study) -> str:
    """Return the kinds of a study's datasets."""
    real = [dataset for dataset in study.datasets.values() if not dataset.controlled]
    public = [dataset for dataset in real if dataset.source in DATASETS]
    own = [dataset.name for dataset in real if dataset not in public]
    kinds = [style.counted(len(public), "public dataset")] * bool(public)
    kinds += [f"your images ({', '.join(own)})"] * bool(own)
    kinds += ["generated images"] * (len(real) < len(study.datasets))
    return joined(kinds, "and")


def detectable(study: Study, scopes: Sequence[str], compared: pd.DataFrame) -> str:
    """Return the differences from the first reference that the study can find; empty if unknown."""
    against = study.references[0]
    rows = compared[compared["against"] == against].dropna(subset="detectable")
    sizes = pd.Series(
        [
            row["detectable"]
            for (situation, _), own in rows.groupby(["situation", "loss"])
            if (row := first_of(own, situation, scopes)) is not None
        ],
        dtype=float,
    )
    if not len(sizes):
        return ""
    return (
        f"This study finds a difference of {short(sizes.median())} DSC from {style.name(against)} "
        f"with a probability of {POWER:.0%}; this is the median, {short(sizes.min())} "
        f"to {short(sizes.max())} by loss and situation"
    )


def error_rates(results: Results) -> str:
    """Return the rates of false verdicts of ``calibration.csv``, if it is of the present runs."""
    if Stamps(results.study).calibration.void():
        return ELSEWHERE
    table = read_csv(results.path(CALIBRATION), {"false_rate"}.__contains__)
    rows = table[(table["claim"] == FAMILY) & (table["looks"] == "")]
    rates = rows.loc[rows["effect"].isin(SMALLEST), "false_rate"]
    return (
        f"Simulated families of verdicts with a false one, at the smallest differences: "
        f"{rates.min():.1%} to {rates.max():.1%} ({CALIBRATION})."
    )
