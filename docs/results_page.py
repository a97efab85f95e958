"""Write ``docs/results.md`` from its template and the kept tables: ``python -m docs.results_page``.

The template holds the words. Every number is a call that reads a kept table.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import yaml

from analysis import claims, recommendation
from analysis.scores import equivalence
from analysis.verdicts import POOLED, headline
from docs.kept import ANSWERS, KEPT, kept

DOCS = Path(__file__).parent
REFERENCE = DOCS.parent / "configs" / "reference.yaml"
PAGE = DOCS / "results.md"
PRIMARY = ("imbalance", "boundary", "object_size", "noise", "threshold")
LOOKED = " ".join(map(str, claims.LOOKS))
"""Label of adaptive seeds in the tables of error rates."""
DECIDED = ("reproduced", "refuted")
PUBLIC = ("wbc", "dsb2018", "vnc_em", "camvid", "chase_db1", "crackforest", "sirst_v2")


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


def outcome(row: pd.Series | None) -> str:
    """Return the outcome of a published finding; "" if the study cannot answer it.

    It is reproduced or refuted if the verdict is decided. An open verdict can still have the
    published direction: the 95% interval is above 0, but not clear of the smallest difference.
    """
    if row is None or np.isnan(row["estimate"]):
        return ""
    decided = {"supported": "reproduced", "contradicted": "refuted"}.get(row["verdict"])
    towards = row["rule"] == equivalence.AT_LEAST and row["low"] > 0
    return decided or ("same direction" if towards else "open")


def published(table: pd.DataFrame, datasets: Sequence[str]) -> Iterator[tuple[str, list]]:
    """Yield each published finding that the study can answer, with its verdict per dataset."""
    table = headline(table)
    for name, claim in claims.load().items():
        found = [verdict(table, name, dataset) for dataset in datasets]
        if claim.source and any(map(outcome, found)):
            yield name, found


def findings(table: pd.DataFrame, datasets: Sequence[str]) -> str:
    """Return the published findings that the study can answer, a row each."""
    known = claims.load()

    def rows() -> Iterator[Sequence[str]]:
        for name, found in published(table, datasets):
            claim = known[name]
            smallest = f"{'±' if claim.equivalent else '≥ '}{claim.smallest:g} {claim.unit}"
            words = [outcome(row) for row in found]
            cells = [
                f"{f'**{word}**' if word in DECIDED else word} {effect(row)}" if word else "–"
                for word, row in zip(words, found, strict=True)
            ]
            yield [claim.title, claim.source, smallest, *cells]

    return markdown(["finding", "source", "claimed", *datasets], rows())


def settled(table: pd.DataFrame, datasets: Sequence[str]) -> pd.Series:
    """Return outcome -> number of findings, by the most certain outcome over the datasets."""
    order = [*DECIDED, "same direction", "open"]
    best = [
        min((outcome(row) for row in found if outcome(row)), key=order.index)
        for _, found in published(table, datasets)
    ]
    return pd.Series(best).value_counts().reindex(order, fill_value=0)


def advice(table: pd.DataFrame, scope: str) -> str:
    """Return the recommendation of a scope: a row per situation, both thresholds."""
    sentences: dict[str, dict[str, str]] = {}
    for case in recommendation.cases(table):
        if case["scope"] == scope and not case["setting"]:
            sentences.setdefault(case["situation"], {})[case["threshold"]] = case["sentence"]
    rows = ([name, found["0.5"], found["tuned"]] for name, found in sentences.items())
    return markdown(["situation", "threshold 0.5", "tuned threshold"], rows)


def good_in(table: pd.DataFrame, loss: str, scope: str = recommendation.SUITE) -> str:
    """Return the number of situations and thresholds in which a loss may be as good as the best."""
    rows = only(table, loss=loss, scope=scope, setting="")
    return f"{(rows['may_be_as_good'] == recommendation.YES).sum()} of {len(rows)}"


def lead(
    table: pd.DataFrame,
    loss: str,
    situation: str,
    threshold: str = "0.5",
    scope: str = recommendation.SUITE,
) -> str:
    """Return a loss's mean Dice score minus that of cross-entropy, with its interval."""
    where = {"loss": loss, "situation": situation, "threshold": threshold, "scope": scope}
    (row,) = only(table, against="cross_entropy", setting="", **where).iloc
    return f"{number(row['value'])} {interval(row)}"


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
        for setting in sorted(dict.fromkeys(table["setting"]), key=order):
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


def became(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """Return the older verdicts next to those of a new study, a row each."""
    known = claims.load()

    def rows() -> Iterator[Sequence[str]]:
        for _, was in old.iterrows():
            now = verdict(new, was["claim"], was["dataset"], threshold=was["threshold"])
            where = [known[was["claim"]].title, was["dataset"], was["threshold"]]
            yield [*where, *(f"{word(row)} {effect(row)}" for row in (was, now))]

    return markdown(["claim", "images", "threshold", "older study", "reference study"], rows())


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


def trained(spent: pd.DataFrame) -> list[str]:
    """Return the losses that have runs."""
    return list(dict.fromkeys(spent["loss"]))


def join(*tables: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all tables."""
    return pd.concat(tables, ignore_index=True)


def decided(table: pd.DataFrame) -> str:
    """Return the number of primary verdicts that are decided, of all."""
    rows = only(table, family="primary")
    return f"{(rows['verdict'] != 'undecided').sum()} of {len(rows)}"


def share(table: pd.DataFrame) -> str:
    """Return the number of decided verdicts, of all; table: counts of ``kept.pooled``."""
    return f"{table['decided'].sum()} of {table['verdicts'].sum()}"


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
            findings, settled, good_in, lead, advice, rates, power, by_setting, along, seen,
            decided, share, trained, join, became, side_by_side,
        )
    }  # fmt: skip
    environment.globals |= {"POOLED": POOLED, "SUITE": recommendation.SUITE}
    environment.globals |= {"NEW": recommendation.NEW, "PUBLIC": PUBLIC, "LOOKED": LOOKED}
    environment.globals["LISTED"] = yaml.safe_load(REFERENCE.read_text())["losses"]
    return environment.get_template(f"{PAGE.name}.j2").render() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
