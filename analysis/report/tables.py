"""Tables of a study as frames: the report shows them, and a paper prints the same frames."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims, remarks
from analysis.figures import style
from analysis.report import advice
from analysis.report.measured import (
    FIRST_STEP,
    classes,
    flips,
    learning_rates,
    runs,
    scores,
    stressed,
)
from analysis.scores.equivalence import WITHIN
from analysis.scores.metrics import METRICS
from analysis.verdicts import POOLED, headline

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

FORMATS = {FIRST_STEP: "{:.0f}", "seeds needed": "{:.0f}"} | {
    metric.column: "{:.1f}"
    for metric in METRICS.values()
    if metric.column and np.isinf(metric.bounds[1]) and not metric.ratio
}
"""Column -> format of its numbers; all others have three decimals."""


def all_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Return title -> frame of text, in the order of the report, without empty tables."""
    study, table = results.study, results.table
    frames = {
        "Verdicts, for every loss, threshold and learning rate": verdicts(study, results.verdicts),
        "Recommendation: draws of the mean Dice score by situation": without_setting(
            advice.frame(results.recommendation), study
        ),
        "Published findings: one pair of losses each, fixed learning rate": findings(
            study, results.verdicts
        ),
        "Ranks": ranking(study, results.ranks),
        "Scores by cell and loss, means over seeds and test images; with controls": scores(
            study, table, results.controls
        ),
        "Scores by class, each against the rest; means over seeds and test images": classes(
            study, table
        ),
        "Predicted foreground under flipped labels: theory and measured, threshold 0.5": flips(
            study, table
        ),
        "Whole runs: collapse, calibration, memorised noise": runs(study, table, results.records),
        "Learning rates: the whole grid, threshold 0.5": learning_rates(study, table),
        "Properties of each stressed dataset, first seed": stressed(study, results.stresses),
    }
    return {title: printed(frame) for title, frame in frames.items() if len(frame)}


def minus(text: str) -> str:
    """Replace the hyphens before numbers, and between blanks, by minus signs.

    >>> minus("0.5 to -0.01, 3-fold, 1 - p")
    '0.5 to −0.01, 3-fold, 1 − p'
    """
    return re.sub(r"(?<![\w.)])-(?=\.?\d)|(?<= )-(?= )", "−", text)


def signed(value: float) -> str:
    """Return a number with its sign and three decimals.

    >>> signed(-0.0001), signed(0.25), signed(float("nan"))
    ('+0.000', '+0.250', '–')
    """
    # Adding 0.0 turns a minus zero into a zero.
    return "–" if np.isnan(value) else minus(f"{round(value, 3) + 0.0:+.3f}")


def interval(row: Any, low: str = "low", high: str = "high") -> str:
    """Return the interval of a row between two of its columns; by default that of 95%.

    >>> interval({"low": -0.5, "high": 0.25})
    '−0.500 to +0.250'
    """
    return f"{signed(row[low])} to {signed(row[high])}"


def following(row: Any) -> str:
    """Return the effect of a dataset that is not in the suite; empty for a single dataset.

    >>> row = {"next_low": -0.2, "next_high": 0.4, "next_probability": 0.75, "smallest": 0.05}
    >>> following(row | {"rule": "at least"})
    '−0.200 to +0.400, at least +0.05 with probability 0.75'
    """
    if np.isnan(row["next_probability"]):
        return ""
    sign = "within ±" if row["rule"] == WITHIN else "at least "
    smallest = minus(f"{row['smallest']:{'' if row['rule'] == WITHIN else '+'}g}")
    return (
        f"{interval(row, 'next_low', 'next_high')}, {sign}{smallest} with probability "
        f"{row['next_probability']:.2f}"
    )


def without_setting(frame: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Drop the column `setting` for a study without a training grid."""
    return frame if len(study.settings) > 1 else frame.drop(columns="setting")


def verdicts(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per verdict."""
    titles = {name: claim.title for name, claim in claims.load().items()}
    rows = table.to_dict("records")
    frame = pd.DataFrame(
        {
            "claim": table["claim"].map(titles),
            "level": table["level"],
            "dataset": table["dataset"],
            "setting": table["setting"],
            "loss": table["loss"].map(style.name),
            "reference": table["against"].map(style.name),
            "threshold": table["threshold"],
            "learning rate": table["rate"],
            "verdict": list(map(remarks.state, rows)),
            "estimate": table["estimate"].map(signed),
            "95% interval": [
                "exact" if row["level"] == "mechanism" else interval(row) for row in rows
            ],
            "90% interval": [
                "exact" if row["level"] == "mechanism" else interval(row, "low90", "high90")
                for row in rows
            ],
            "smallest": [
                f"±{row['smallest']:g}" if row["rule"] == WITHIN else minus(f"{row['smallest']:+g}")
                for row in rows
            ],
            "n": [f"{row['n']} of {row['planned']}" for row in rows],
            "finding": table["finding"],
            "family": table["family"],
            "p": table["p_corrected"],
            "seeds needed": table["seeds_needed"],
            "another dataset (95%)": [following(row) for row in rows],
            "fragile": table["fragile"],
            "floor": table["floor"],
        }
    )
    if len(study.references) == 1:
        frame = frame.drop(columns="reference")
    return without_setting(frame, study)


def findings(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per published finding, on generated images and on all real datasets."""
    known = claims.load()
    rows = []
    for row in headline(table).to_dict("records"):
        claim = known[row["claim"]]
        real = [name for name, dataset in study.datasets.items() if not dataset.controlled]
        shown = row["level"] == "controlled" or row["dataset"] in (POOLED, *real[: len(real) == 1])
        if claim.source and shown:
            sign = "±" if row["rule"] == WITHIN else "≥ "
            rows.append(
                {
                    "finding": claim.title,
                    "source": claim.source,
                    "published": claim.published,
                    "dataset": row["dataset"],
                    "setting": row["setting"],
                    "verdict": remarks.state(row),
                    "estimate": signed(row["estimate"]),
                    "95% interval": interval(row),
                    "claimed": minus(f"{sign}{row['smallest']:g} {row['unit']}"),
                    "n": f"{row['n']} of {row['planned']}",
                    "measured": claim.says.format(
                        loss=style.name(row["loss"]), against=style.name(row["against"])
                    ),
                }
            )
    return without_setting(pd.DataFrame(rows), study) if rows else pd.DataFrame()


def ranking(study: Study, ranks: pd.DataFrame) -> pd.DataFrame:
    """Return the ranks with their intervals, a row per dataset, experiment, setting and loss."""
    frame = pd.DataFrame(
        {
            "dataset": ranks["dataset"],
            "experiment": ranks["experiment"].map(style.title),
            "setting": ranks["setting"],
            "loss": ranks["loss"].map(style.name),
            "DSC": ranks["score"],
            "rank": ranks["rank"],
            "95% interval": advice.rank_intervals(ranks),
            "share of draws first": ranks["first"],
        }
    )
    return without_setting(frame, study)


def printed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its numbers as text.

    >>> printed(pd.DataFrame({"loss": ["Dice"], "DSC": [0.5], "HD95, px": [1.25], "n": [3]}))
       loss    DSC HD95, px  n
    0  Dice  0.500      1.2  3
    """

    def cell(column: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        if value is None or np.isnan(value):
            return "–"
        if isinstance(value, int | np.integer):
            return str(value)
        return minus(FORMATS.get(column, "{:.3f}").format(value))

    return pd.DataFrame(
        {column: [cell(column, value) for value in frame[column]] for column in frame.columns},
        index=frame.index,
    )
