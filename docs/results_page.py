"""Write ``docs/results.md`` from its template and the kept tables: ``python -m docs.results_page``.

    python -m docs.results_page            # docs/results.md.j2 and docs/results/ -> results.md
    python -m docs.results_page FOLDER     # first keep the tables of a study, results/STUDY

The template holds the words. Every number is a call that reads a kept table.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from analysis import claims, recommendation
from analysis.calibration import SMALLEST
from analysis.steps import ANSWER
from analysis.verdicts import POOLED, headline
from experiments.layout import CALIBRATION, RECORDS, VERDICTS

DOCS = Path(__file__).parent
KEPT = DOCS / "results"
PAGE = DOCS / "results.md"
TEXTS = dict.fromkeys(("threshold", "setting", "looks", "fails_on", "claim", "family"), str)
"""Columns that are text even if they are empty or hold numbers."""
ANSWERS = "quick"
"""Study whose answer the README gives."""
PRIMARY = ("imbalance", "boundary", "object_size", "noise", "threshold")
LOOKED = " ".join(map(str, claims.LOOKS))
"""Label of adaptive seeds in the tables of error rates."""
PUBLIC = ("wbc", "dsb2018", "vnc_em", "camvid", "chase_db1", "crackforest", "sirst_v2")


# Keeping the tables of a study


def keep(folder: Path) -> None:
    """Copy the tables of a finished study that the page needs to ``docs/results/STUDY*.csv``.

    Verdicts only on the losses that the claims are about, recommendations as they are; the runs as
    a row per dataset with their number, status and hours.
    """
    name = json.loads((folder / "config.json").read_text())["study"]
    tables = {
        "": headlines(read(folder / VERDICTS)),
        "_runs": runs(json.loads((folder / RECORDS).read_text())),
        "_looks": looks(folder / "looks"),
        "_recommendation": read(folder / "recommendation.csv"),
        "_rates": rates_at(read(folder / CALIBRATION)),
    }
    for part, table in tables.items():
        if len(table):
            table.to_csv(KEPT / f"{name}{part}.csv", index=False)
    if (folder / ANSWER).is_file():
        shutil.copy(folder / ANSWER, KEPT / f"{name}_answer.txt")


def headlines(table: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on the losses that the claims are about."""
    if table.empty:
        return table
    about = table["claim"].map({name: claim.about for name, claim in claims.load().items()})
    return table[table["loss"] == about]


def runs(records: Sequence[dict]) -> pd.DataFrame:
    """Return number, status and hours of one process, per dataset and loss."""
    rows = pd.DataFrame(
        {
            "dataset": [record["run"]["dataset"] for record in records],
            "loss": [record["run"]["loss"] for record in records],
            "status": [record["status"] for record in records],
            "hours": [sum(record["seconds"].values()) / 3600 for record in records],
        }
    )
    grouped = rows.groupby(["dataset", "loss", "status"], sort=False)["hours"]
    return grouped.agg(runs="size", hours="sum").reset_index().round(3)


def rates_at(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rates at the smallest differences and .1 above them."""
    return table[table["effect"].isin([*SMALLEST, "+0.1"])] if len(table) else table


def looks(folder: Path) -> pd.DataFrame:
    """Return a row per look of a study with adaptive seeds: decided verdicts, next runs, stop."""
    decisions = [json.loads(path.read_text()) for path in sorted(folder.glob("look-*.json"))]
    return pd.DataFrame(
        {
            "look": decision["look"],
            "decided": len(decision["decided"]),
            "primary": len(decision["decided"]) + len(decision["undecided"]),
            "next_runs": decision["cost"]["runs"],
            "stop": decision["stop"],
        }
        for decision in decisions
    )


def read(path: Path) -> pd.DataFrame:
    """Return a table, empty if there is no such file."""
    return pd.read_csv(path, dtype=TEXTS) if path.is_file() else pd.DataFrame()


def kept(name: str) -> pd.DataFrame:
    """Return a kept table with empty texts as ''; FileNotFoundError if it is not there."""
    table = pd.read_csv(KEPT / f"{name}.csv", dtype=TEXTS)
    texts = table.select_dtypes(exclude="number").columns
    return table.fillna(dict.fromkeys(texts, ""))


# Numbers as text


def number(value: float, digits: int = 3) -> str:
    """Return a number with its sign.

    >>> number(-0.25), number(0.0312, 2)
    ('−.250', '+.03')
    """
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text.replace("0.", ".", 1) if text[1:3] == "0." else text


def interval(row: pd.Series, low: str = "low", high: str = "high") -> str:
    """Return an interval: [−.01, +.20]."""
    return f"[{number(row[low])}, {number(row[high])}]"


def effect(row: pd.Series | None) -> str:
    """Return estimate and interval of a verdict; a dash without one."""
    if row is None or np.isnan(row["estimate"]):
        return "–"
    return f"{number(row['estimate'])} {interval(row)}"


def word(row: pd.Series | None) -> str:
    """Return the verdict, bold if it is decided."""
    if row is None:
        return "–"
    return row["verdict"] if row["verdict"] == "undecided" else f"**{row['verdict']}**"


# Parts of the page


def only(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    """Return the rows with these values."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def verdict(table: pd.DataFrame, claim: str, dataset: str, **values: str) -> pd.Series | None:
    """Return one verdict, by default at threshold 0.5 and the fixed rate; None if there is none."""
    wanted = {"threshold": "0.5", "rate": "fixed"} | values
    rows = only(table, claim=claim, dataset=dataset, **wanted)
    return None if rows.empty else rows.iloc[0]


def markdown(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def primary(table: pd.DataFrame, datasets: Sequence[str]) -> str:
    """Return the primary claims as rows: verdict and effect per dataset, and with tuned thresholds.

    datasets: names, of which POOLED is the mean over the public ones.
    """
    known = claims.load()
    heads = ["claim"]
    for name in datasets:
        heads += [name, f"{name}: estimate [95%]", f"{name}, thresholds tuned"]

    def rows() -> Iterator[Sequence[str]]:
        for claim in PRIMARY:
            row = [known[claim].title]
            for name in datasets:
                own = verdict(table, claim, name)
                tuned = verdict(table, claim, name, threshold="tuned")
                row += [word(own), effect(own), effect(tuned)]
            yield row

    return markdown(heads, rows())


def by_dataset(table: pd.DataFrame, datasets: Sequence[str]) -> str:
    """Return the estimates of the primary claims, a row per dataset; decided ones in bold."""
    known = claims.load()

    def rows() -> Iterator[Sequence[str]]:
        for name in datasets:
            found = [verdict(table, claim, name) for claim in PRIMARY]
            cells = [effect(row) for row in found]
            yield [
                name,
                *(
                    f"**{cell}**" if row is not None and row["verdict"] != "undecided" else cell
                    for row, cell in zip(found, cells, strict=True)
                ),
            ]

    return markdown(["dataset", *(known[claim].title for claim in PRIMARY)], rows())


def another(table: pd.DataFrame) -> str:
    """Return the prediction for a dataset that is not in the study, a row per primary claim."""
    known = claims.load()

    def rows() -> Iterator[Sequence[str]]:
        for claim in PRIMARY:
            row = verdict(table, claim, POOLED)
            if row is not None:
                yield [
                    known[claim].title,
                    interval(row, "next_low", "next_high"),
                    f"at least {number(row['smallest'], 2)}: {row['next_probability']:.2f}",
                ]

    return markdown(["claim", "effect on another dataset [95%]", "probability"], rows())


def findings(table: pd.DataFrame, datasets: Sequence[str]) -> str:
    """Return the published findings that the study can answer, a row each."""
    known = claims.load()
    table = headline(table)

    def rows() -> Iterator[Sequence[str]]:
        for name, claim in known.items():
            found = [verdict(table, name, dataset) for dataset in datasets]
            if claim.source and any(row is not None for row in found):
                smallest = f"{'±' if claim.equivalent else '≥ '}{claim.smallest:g} {claim.unit}"
                cells = [f"{word(row)} {effect(row)}" if row is not None else "–" for row in found]
                yield [claim.title, claim.source, smallest, *cells]

    return markdown(["finding", "source", "claimed", *datasets], rows())


def advice(table: pd.DataFrame, scope: str) -> str:
    """Return the recommendation of a scope: a row per situation, both thresholds."""
    sentences: dict[str, dict[str, str]] = {}
    for case in recommendation.cases(table):
        if case["scope"] == scope and not case["setting"]:
            sentences.setdefault(case["situation"], {})[case["threshold"]] = case["sentence"]
    rows = ([name, found["0.5"], found["tuned"]] for name, found in sentences.items())
    return markdown(["situation", "threshold 0.5", "tuned threshold"], rows)


def rates(
    table: pd.DataFrame, numbers: Sequence[int], thresholds: Sequence[str] = ("0.5", "tuned")
) -> str:
    """Return the error rates of whole families of verdicts: a row per threshold and seeds.

    At the smallest differences: false verdicts just below and exactly there, and those of as many
    normal seeds; least and greatest coverage of the 95% intervals over the claims.
    """

    def rows() -> Iterator[Sequence[str]]:
        for threshold in thresholds:
            for looks, n in [*(("", n) for n in numbers), (LOOKED, max(claims.LOOKS))]:
                own = only(table, threshold=threshold, n=n, looks=looks)
                false = only(own, claim="").set_index("effect")
                covered = own.loc[own["claim"] != "", "covered_95"]
                yield [
                    threshold,
                    looks or n,
                    f"{false['false_rate']['below']:.1%}",
                    f"{false['false_rate']['smallest']:.1%}",
                    f"{false['normal_false']['smallest']:.1%}",
                    f"{covered.min():.1%} to {covered.max():.1%}",
                ]

    heads = ["threshold", "seeds", "false supported", "false contradicted", "of normal seeds"]
    return markdown([*heads, "coverage of a claim"], rows())


def power(table: pd.DataFrame, numbers: Sequence[int]) -> str:
    """Return the share of right verdicts .1 above the smallest difference: a row per claim."""
    known = claims.load()

    def rows() -> Iterator[Sequence[str]]:
        for claim, threshold in itertools.product(PRIMARY, ("0.5", "tuned")):
            own = only(table, claim=claim, threshold=threshold, effect="+0.1", looks="")
            right = own.set_index("n")["power"]
            yield [known[claim].title, threshold, *(f"{right[n]:.0%}" for n in numbers)]

    return markdown(["claim", "threshold", *(f"{n} seeds" for n in numbers)], rows())


def by_setting(table: pd.DataFrame, dataset: str) -> str:
    """Return the primary claims at every training setting: a row per setting."""
    known = claims.load()
    table = only(table, dataset=dataset, threshold="0.5", rate="fixed")

    def rows() -> Iterator[Sequence[str]]:
        for setting in dict.fromkeys(table["setting"]):
            found = [verdict(table, claim, dataset, setting=setting) for claim in PRIMARY]
            cells = [f"{word(row)} {effect(row)}" if row is not None else "–" for row in found]
            yield [setting or "the study's", *cells]

    return markdown(["setting", *(known[claim].title for claim in PRIMARY)], rows())


def along(table: pd.DataFrame, claim: str, dataset: str) -> str:
    """Return a claim's effect at every training setting, a row each: both thresholds."""
    table = only(table, claim=claim, dataset=dataset, rate="fixed")

    def rows() -> Iterator[Sequence[str]]:
        for setting in sorted(dict.fromkeys(table["setting"]), key=order):
            own = verdict(table, claim, dataset, setting=setting)
            tuned = verdict(table, claim, dataset, setting=setting, threshold="tuned")
            label = setting or own["stress"].partition(", ")[2] or "the study's"
            yield [label, f"{word(own)} {effect(own)}", effect(tuned)]

    return markdown(["training", "threshold 0.5", "both thresholds tuned"], rows())


def order(setting: str) -> tuple[int, str]:
    """Return the sorting key of a setting: the number in it; the study's own setting is last."""
    digits = "".join(filter(str.isdigit, setting))
    return int(digits) if digits else sys.maxsize, setting


def seen(table: pd.DataFrame) -> str:
    """Return the looks of an adaptive study, a row each."""
    rows = (
        [row.look, f"{row.decided} of {row.primary}", row.next_runs, row.stop or "goes on"]
        for row in table.itertuples()
    )
    return markdown(["look", "primary verdicts decided", "runs added", "end"], rows)


def answer() -> Iterator[str]:
    """Yield the advice and the claims of the study in ANSWERS, as the report's first screen."""
    text = (KEPT / f"{ANSWERS}_answer.txt").read_text()
    yield from re.findall(r"^- .*$", text.partition("Threshold 0.5")[0], re.MULTILINE)
    yield ""
    claims_part = text.partition("### Claims")[2].partition("###")[0]
    yield from re.findall(r"^- .*$", claims_part, re.MULTILINE)


def decided(table: pd.DataFrame) -> str:
    """Return the number of primary verdicts that are decided, of all."""
    rows = only(table, family="primary")
    return f"{(rows['verdict'] != 'undecided').sum()} of {len(rows)}"


def side_by_side(one: pd.DataFrame, other: pd.DataFrame, names: Sequence[str]) -> str:
    """Return the primary verdicts on generated images of two studies, a row per claim."""
    known = claims.load()

    def rows() -> Iterator[Sequence[str]]:
        for claim in PRIMARY:
            found = [verdict(table, claim, "controlled") for table in (one, other)]
            cells = [f"{word(row)} {effect(row)}, {row['n']} seeds" for row in found]
            yield [known[claim].title, *cells]

    return markdown(["claim", *names], rows())


def render() -> str:
    """Return the page; an undefined name or a missing table is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DOCS), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.globals |= {
        function.__name__: function
        for function in (
            kept, only, verdict, effect, word, number, interval, primary, by_dataset, another,
            findings, advice, rates, power, by_setting, along, seen, decided,
            side_by_side,
        )
    }  # fmt: skip
    environment.globals |= {"POOLED": POOLED, "SUITE": recommendation.SUITE}
    environment.globals |= {"NEW": recommendation.NEW, "PUBLIC": PUBLIC, "LOOKED": LOOKED}
    return environment.get_template(f"{PAGE.name}.j2").render() + "\n"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        keep(Path(argument))
    PAGE.write_text(render())
