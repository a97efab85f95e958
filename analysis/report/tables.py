"""Tables of a study as frames: the report shows them, and a paper prints the same frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims, remarks, theory
from analysis.figures import style
from analysis.report import advice
from analysis.scores import metrics, tuning
from analysis.scores.equivalence import WITHIN
from analysis.scores.metrics import METRICS
from analysis.verdicts import POOLED, headline
from experiments.plan.knobs import CONTROLLED_FRACTION
from experiments.plan.training import words
from experiments.runs.table import COLUMNS, key_columns

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study

FIRST_STEP = "first foreground, step"
FORMATS = {FIRST_STEP: "{:.0f}", "seeds needed": "{:.0f}"} | {
    metric.column: "{:.1f}"
    for metric in METRICS.values()
    if metric.column and np.isinf(metric.bounds[1]) and not metric.ratio
}
"""Column -> format of its numbers; all others have three decimals."""
MEANS = {metric.column: f"score_{name}" for name, metric in METRICS.items() if metric.column}
CLASS_MEANS = {m.column: f"score_{name}" for name, m in METRICS.items() if m.column and m.by_class}
"""Column of a table -> column of the scores with the values that it averages."""
PIXELS = ["tp", "fp", "fn", "tn"]


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
        "Learning rates: the whole grid, threshold 0.5": learning_rates(table),
        "Properties of each stressed dataset, first seed": stressed(study, results.stresses),
    }
    return {title: printed(frame) for title, frame in frames.items() if len(frame)}


def signed(value: float) -> str:
    """Return a number with its sign and three decimals.

    >>> signed(-0.0001), signed(0.25), signed(float("nan"))
    ('+0.000', '+0.250', '–')
    """
    # Adding 0.0 turns a minus zero into a zero.
    return "–" if np.isnan(value) else f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


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
    smallest = f"{row['smallest']:{'' if row['rule'] == WITHIN else '+'}g}"
    return (
        f"{interval(row, 'next_low', 'next_high')}, {sign}{smallest} with probability "
        f"{row['next_probability']:.2f}"
    )


def axes_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of a study's table that are axes of its training grid.

    >>> axes_of(pd.DataFrame(columns=["dataset", "loss", "learning_rate", "steps", "seed"]))
    ['steps']
    """
    return [column for column in key_columns(table) if column not in COLUMNS]


def row_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a printed row: a cell, its setting and a loss."""
    return ["dataset", "stress", *axes_of(table), "loss"]


def with_setting(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Join the columns of the axes to one column `setting`, at the first one's position.

    >>> frame = pd.DataFrame({"stress": ["none"], "batch_size": ["4"], "steps": ["160"]})
    >>> with_setting(frame, ["batch_size", "steps"]).to_dict("records")
    [{'stress': 'none', 'setting': 'batch size 4, steps 160'}]
    """
    if not axes or not len(frame):
        return frame
    settings = [
        words({axis: label for axis, label in row.items() if label})
        for row in frame[axes].to_dict("records")
    ]
    position = frame.columns.get_loc(axes[0])
    frame = frame.drop(columns=axes)
    frame.insert(position, "setting", settings)
    return frame


def with_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Replace the names of losses by their labels."""
    return frame.assign(loss=frame["loss"].map(style.name)) if len(frame) else frame


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
            "family": table["family"],
            "verdict": list(map(remarks.state, rows)),
            "finding": table["finding"],
            "estimate": table["estimate"].map(signed),
            "95% interval": [
                "exact" if row["level"] == "mechanism" else interval(row) for row in rows
            ],
            "90% interval": [
                "exact" if row["level"] == "mechanism" else interval(row, "low90", "high90")
                for row in rows
            ],
            "another dataset (95%)": [following(row) for row in rows],
            "threshold": table["threshold"],
            "learning rate": table["rate"],
            "smallest": [
                f"±{row['smallest']:g}" if row["rule"] == WITHIN else f"{row['smallest']:+g}"
                for row in rows
            ],
            "p": table["p_corrected"],
            "n": [f"{row['n']} of {row['planned']}" for row in rows],
            "seeds needed": table["seeds_needed"],
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
                    "claimed": f"{sign}{row['smallest']:g} {row['unit']}",
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


def scores(study: Study, table: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds and test images, per cell, loss and threshold, with controls."""
    axes = axes_of(table)
    controls = controls.assign(**dict.fromkeys(axes, ""))
    both = pd.concat([tuning.fixed(study, table), controls], ignore_index=True)
    keys = row_columns(table)
    planned = both.groupby(keys, sort=False)["seed"].nunique()
    rows = []
    for key, group in metrics.scores(both).groupby([*keys, "threshold"], sort=False):
        rows.append(
            dict(zip([*keys, "threshold"], key, strict=True))
            | {"runs": f"{group['seed'].nunique()} of {planned[key[:-1]]}"}
            | {"at": group["threshold_value"].median()}
            | {column: group[score].mean() for column, score in MEANS.items()}
        )
    losses = [*study.losses, *controls["loss"].unique()]
    cells = [(dataset, stress) for dataset in study.datasets for stress in study.stresses(dataset)]
    settings = list(both[axes].drop_duplicates().itertuples(index=False, name=None))
    rows.sort(
        key=lambda row: (
            cells.index((row["dataset"], row["stress"])),
            settings.index(tuple(row[axis] for axis in axes)),
            losses.index(row["loss"]),
            row["threshold"],
        )
    )
    return with_names(with_setting(pd.DataFrame(rows), axes))


def classes(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each class against the rest, for datasets with several classes."""
    several = [d.name for d in study.datasets.values() if len(d.class_names) > 1]
    fixed = tuning.fixed(study, table)
    planned = fixed.groupby(row_columns(table))["seed"].nunique()
    scored = metrics.scores(fixed[fixed["dataset"].isin(several)], by_class=True)
    keys = ["dataset", "stress", *axes_of(table), "class", "loss", "threshold"]
    rows = []
    for key, group in scored.groupby(keys, sort=False):
        sums = group.groupby("seed")[PIXELS].sum()
        row = dict(zip(keys, key, strict=True))
        cell = tuple(row[name] for name in row_columns(table))
        rows.append(
            row
            | {
                "share of pixels": metrics.share(sums["tp"] + sums["fn"], sums.sum(axis=1)).mean(),
                "runs": f"{len(sums)} of {planned[cell]}",
                "never predicted": int((sums["tp"] + sums["fp"] == 0).sum()),
                "DSC of all pixels": metrics.dice(sums).mean(),
            }
            | {column: group[score].mean() for column, score in CLASS_MEANS.items()}
        )
    return with_names(with_setting(pd.DataFrame(rows), axes_of(table)))


def runs(study: Study, table: pd.DataFrame, records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return properties of whole runs per cell and loss, at threshold 0.5."""
    keys = row_columns(table)
    table = tuning.fixed(study, table)
    status = table.groupby([*keys, "seed"], sort=False)["status"].first().reset_index()
    status = status.groupby(keys, sort=False)["status"].value_counts().unstack(fill_value=0)
    empty = metrics.collapsed(table).groupby(keys, sort=False)[["nothing", "everything"]].sum()
    whole = tuning.fixed(study, metrics.of_runs(records)).groupby(keys, sort=False)
    mean = whole[["ece", "noise_background", "noise_foreground"]].mean()
    first = whole["first_step"].agg(["median", "count"])
    rows = []
    for key, counts in status.iterrows():
        ok = int(counts.get("ok", 0))
        row = dict(zip(keys, key, strict=True)) | {
            "ok": f"{ok} of {counts.sum()}",
            "diverged": int(counts.get("diverged", 0)),
            "failed": int(counts.get("failed", 0)),
        }
        if ok:
            row |= {
                "predict nothing": int(empty.loc[key, "nothing"]),
                "predict everything": int(empty.loc[key, "everything"]),
                "detect the foreground": int(first.loc[key, "count"]),
                FIRST_STEP: first.loc[key, "median"],
                "ECE": mean.loc[key, "ece"],
                "noise memorised, background": mean.loc[key, "noise_background"],
                "noise memorised, foreground": mean.loc[key, "noise_foreground"],
            }
        rows.append(row)
    return with_names(with_setting(pd.DataFrame(rows), axes_of(table)))


def learning_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Return validation and test Dice score at each learning rate of the grid, and the best rate.

    sensitivity: test Dice score lost from the best rate to the worst. Empty for a single rate.
    """
    grid = tuning.grid(table)
    grid = grid[grid["threshold"] == "0.5"]
    if grid["learning_rate"].nunique() < 2:
        return pd.DataFrame()
    keys = row_columns(table)
    wide = grid.pivot(index=keys, columns="learning_rate", values=["val_dice", "test_dice"])
    wide.columns = [
        f"{'validation' if kind == 'val_dice' else 'test'} at {rate:g}"
        for kind, rate in wide.columns
    ]
    best = grid[grid["best"]].set_index(keys)
    wide.insert(0, "best rate", best["learning_rate"].map("{:g}".format))
    wide["sensitivity"] = best["test_dice"] - grid.groupby(keys)["test_dice"].min()
    wide = grid[keys].drop_duplicates().merge(wide.reset_index(), on=keys)
    return with_names(with_setting(wide, axes_of(table)))


def flips(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the predicted share of foreground after training on flipped labels.

    Controlled images only: the minimiser of each loss in expectation, and the trained models.
    """
    keys = row_columns(table)
    rows = []
    for key, group in tuning.fixed(study, table).groupby(keys, sort=False):
        cell = dict(zip(keys, key, strict=True))
        stress = study.stresses(cell["dataset"])[cell["stress"]]
        controlled = study.datasets[cell["dataset"]].controlled
        if not controlled or set(stress) - {"flips"} or cell["loss"] not in theory.MINIMISERS:
            continue
        rate, share = stress.get("flips", 0), CONTROLLED_FRACTION
        ok = metrics.select(group, status="ok", threshold="0.5")
        sums = ok.groupby("seed")[PIXELS].sum().astype(float)
        shares = (sums["tp"] + sums["fp"]) / sums.sum(axis=1)
        del cell["stress"]
        rows.append(
            {"dataset": cell.pop("dataset"), "flips": f"{rate:g}"}
            | cell
            | {
                "true share": share,
                "by theory": theory.predicted_share(cell["loss"], share, rate),
                "measured": shares.mean(),
                "smallest run": shares.min(),
                "largest run": shares.max(),
                "runs": f"{len(shares)} of {group['seed'].nunique()}",
            }
        )
    return with_names(with_setting(pd.DataFrame(rows), axes_of(table)))


def stressed(study: Study, stresses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``stresses.csv`` of the first seed."""
    return metrics.select(stresses, seed=study.seeds[0]).drop(columns="seed")


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
        return FORMATS.get(column, "{:.3f}").format(value)

    return pd.DataFrame(
        {column: [cell(column, value) for value in frame[column]] for column in frame.columns},
        index=frame.index,
    )
