"""A card for every loss: formula, theory, verdicts and differences, cost of a step, figures."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import claims, comparisons
from analysis.comparisons import BETTER, MARKS, WORSE
from analysis.effects import Tables
from analysis.figures import style
from analysis.figures.cards import compared, names
from analysis.figures.scope import of_experiments
from analysis.report.tables import interval, minus, signed
from analysis.scores import metrics, statistics, tuning
from analysis.verdicts import POOLED
from experiments.card import ADDED
from experiments.plan.losses import custom_modules
from experiments.plan.sources import locate
from losses import LOSSES

if TYPE_CHECKING:
    from analysis.results import Results
    from analysis.scores.statistics import Estimate
    from experiments.plan.study import Study

NEAR = 0.03
"""Greatest distance of p from the share of labels at which they count as equal."""
WORDS = {BETTER: "better than", WORSE: "worse than", "": "not clearly different from"}
TOGETHER = timedelta(hours=1)
"""Longest time between two runs whose seconds are compared."""
KINDS = ("card", "card_examples")

Row = dict[str, Any]


def left_out(study: Study) -> str:
    """Return a sentence on the experiments that the study of an added loss leaves out."""
    path = study.file(ADDED)
    about = json.loads(path.read_text()) if path.exists() else {}
    if not about.get("left_out"):
        return ""
    found = " and ".join(map(style.title, about["left_out"]))
    return (
        f"This study adds a loss to the study {about['study']}. It leaves out the experiment "
        f"{found}, which sets training fields, to be ready in minutes."
    )


def cards(results: Results, figures: Sequence[Row]) -> list[Row]:
    """Return the cards of a study's losses, custom losses first. figures: those of the report."""
    study = results.study
    gaps = differences(results)
    custom = {name for name, spec in study.losses.items() if custom_modules(spec)}
    return [
        {
            "name": name,
            "label": style.name(name),
            "own": name in custom,
            "against": names(compared(study, name)) if compared(study, name) else "",
            "references": [style.name(other) for other in compared(study, name)],
            "definition": definition(study.losses[name], name),
            "summary": summary(gaps.get(name, {})),
            "differences": table(gaps.get(name, {})),
            "theory": list(theory(results.mechanism, name)),
            "verdicts": verdicts(study, results.verdicts, name),
            "cost": cost(results, name),
            "figures": [f for f in figures if f["kind"] in KINDS and f["loss"] == name],
        }
        for name in sorted(study.losses, key=lambda name: name not in custom)
    ]


# Formula


def definition(spec: Row, name: str) -> Row:
    """Return formula, text, minimiser, import path and options of a loss; some may be empty.

    The formula is the first paragraph of the class's docstring, for a loss of the suite.
    """
    if "sum" in spec:
        parts = spec["sum"].items()
        weights = {
            part: w if isinstance(w, int | float) else w.get("weight", 1) for part, w in parts
        }
        formula = " + ".join(f"{weight:g} {style.name(part)}" for part, weight in weights.items())
        return {"formula": formula, "path": "", "options": json.dumps(spec["sum"])}
    use = spec.get("use", name)
    options = ", ".join(f"{k} = {json.dumps(v)}" for k, v in spec.items() if k != "use")
    if use not in LOSSES:
        return {"formula": "", "path": use, "options": options}
    path = LOSSES[use].path
    texts = {name: minus(text) for name, text in documented(path).items()}
    return texts | {"path": path, "options": options}


def documented(path: str) -> Row:
    """Return formula, text and minimiser of a loss of the suite, from its file.

    The file is read and not imported: it needs torch.

    >>> documented("losses.likelihood:CrossEntropyLoss")["minimiser"]
    'p = q'
    """
    module, _, name = path.partition(":")
    body = ast.parse(locate(module).read_text()).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    formula, _, about = (ast.get_docstring(classes[name]) or "").partition("\n\n")
    return {
        "formula": " ".join(formula.split()),
        "about": " ".join(about.split()),
        "minimiser": _minimiser(classes, name),
    }


def _minimiser(classes: dict[str, ast.ClassDef], name: str) -> str:
    """Return the text that a class sets as its `minimiser`, or has from another class."""
    for node in classes[name].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "minimiser":
            if isinstance(node.value, ast.Attribute):  # minimiser = OtherLoss.minimiser
                return _minimiser(classes, ast.unparse(node.value.value))
            return ast.literal_eval(node.value)
    bases = [ast.unparse(base) for base in classes[name].bases]
    return next((_minimiser(classes, base) for base in bases if base in classes), "")


# Theory


def theory(measured: pd.DataFrame, loss: str) -> Iterator[str]:
    """Yield the predictions of least expected loss in sentences.

    >>> rows = [("in_rim", "a", q / 10, q / 10) for q in range(1, 10)]
    >>> table = pd.DataFrame([*rows, ("rim_threshold", "a", 0.5, 0.5)])
    >>> table.columns = ["quantity", "loss", "x", "value"]
    >>> next(theory(table, "a")).partition(", ")[2]
    'it predicts the share itself (p within 0.00 of it).'
    """
    own = metrics.select(measured, loss=loss).dropna(subset=["x", "value"])
    values = {
        quantity: rows.set_index("x")["value"].to_dict()
        for quantity, rows in own.groupby("quantity")
    }
    if not values.get("in_rim") or not values.get("rim_threshold"):
        yield "No prediction of least expected loss was found: the loss could not be called."
        return
    yield f"Where the labels of a rim round a sure object differ, {_rim(values)}"
    if alone := values.get("alone"):
        low, middle = (min(alone, key=lambda x, at=at: abs(x - at)) for at in (0.1, 0.5))
        yield (
            f"A doubtful object alone in the image gets p = {alone[low]:.2f} if {low:.0%} of the "
            f"labels show it, and {alone[middle]:.2f} if {middle:.0%} do."
        )
    if outside := values.get("flipped_background"):
        inside = values["flipped_object"]
        parts = [f"{x:.0%} flipped: {inside[x]:.2f} and {p:.2f}" for x, p in outside.items()]
        first = next((x for x, p in outside.items() if p > 0.5 and inside[x] > 0.5), None)
        everything = f" From {first:.0%} on everything is foreground." if first else ""
        yield (
            "With flipped labels it predicts on an object of 6% of the image, and on its "
            f"background: {'; '.join(parts)}.{everything}"
        )


def _rim(values: dict[str, dict[float, float]]) -> str:
    """Return the prediction on a doubtful rim in words."""
    p, (threshold,) = values["in_rim"], values["rim_threshold"].values()
    off = max(abs(value - x) for x, value in p.items())
    if off < NEAR:
        return f"it predicts the share itself (p within {off:.2f} of it)."
    if threshold == 1:
        return f"it never predicts foreground (p is {max(p.values()):.2f} at most)."
    above = [value for x, value in p.items() if x > threshold]
    ends = dict.fromkeys(f"{end:.2f}" for end in (min(above), max(above))) if above else ()
    there = f"; there it predicts {' to '.join(ends)}, not the probability" if ends else ""
    where = f"where more than {threshold:.0%} of them are" if threshold else "at any share of"
    return f"it predicts foreground {where} foreground{there}."


# Differences from the references


def differences(results: Results) -> dict[str, dict[str, list[Row]]]:
    """Return loss -> reference -> the difference in Dice score at each cell of the experiments.

    At threshold 0.5, the fixed learning rate and the reference setting; a cell once. A loss is told
    apart by the tests of `analysis.comparisons`, with Holm's correction for the cells of a loss and
    a reference.
    """
    study = results.study
    tables = Tables(study, tuning.fixed(study, results.table), results.image_sources)
    found: dict[str, dict[str, list[Row]]] = {}
    for loss in study.losses:
        for against in compared(study, loss):
            pairs = list(_differences(tables, loss, against))
            told = comparisons.told_apart(study, [estimated for _, estimated in pairs])
            rows = [
                {
                    "level": level,
                    "value": estimated.value,
                    "estimate": signed(estimated.value),
                    "interval": interval({"low": estimated.low, "high": estimated.high}),
                    "n": estimated.n,
                    "word": WORDS[word],
                    "mark": MARKS.get(word, ""),
                }
                for (level, estimated), word in zip(pairs, told, strict=True)
            ]
            found.setdefault(loss, {})[style.name(against)] = rows
    return found


def _differences(tables: Tables, loss: str, against: str) -> Iterator[tuple[str, Estimate]]:
    study, seen = tables.study, []
    for scope in of_experiments(study):
        if scope.setting != study.settings[0]:
            continue
        for level in scope.levels:
            if (where := scope.where(level)) in seen:
                continue
            seen.append(where)
            ours, theirs = (
                tables.sample("dice", where | {"loss": name, "threshold": "0.5"})
                for name in (loss, against)
            )
            sample = {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)}
            sources = tables.sources.get((scope.dataset, where["stress"]))
            yield (
                place(study, scope.dataset, scope.experiment.name, level.label),
                statistics.estimate([(1, sample)], [sources]),
            )


def place(study: Study, dataset: str, experiment: str, level: str) -> str:
    """Return a level in words, with its dataset if the study has several."""
    knob = study.experiments[experiment].knob
    words = style.title(f"{knob} {level}" if knob else level)
    parts = [dataset] if len(study.datasets) > 1 else []
    return ", ".join([*parts, f"{style.title(experiment)}: {words}"])


def table(gaps: dict[str, list[Row]]) -> list[Row]:
    """Return a row per level, with its difference from each reference."""
    columns = list(gaps.values())
    return [{"level": cells[0]["level"], "cells": cells} for cells in zip(*columns, strict=True)]


def summary(gaps: dict[str, list[Row]]) -> list[str]:
    """Return a sentence per reference on the levels where the loss clearly differs from it.

    >>> row = {"level": "noise: flips 0.3", "value": -0.5, "word": "worse than"}
    >>> summary({"Dice": [row]})
    ['Worse than Dice at noise: flips 0.3 (−0.500).']
    """
    sentences = []
    for against, rows in gaps.items():
        parts = [
            f"{word} {against} at "
            + "; ".join(f"{r['level']} ({signed(r['value'])})" for r in rows if r["word"] == word)
            for word in (WORDS[BETTER], WORDS[WORSE])
            if any(r["word"] == word for r in rows)
        ]
        known = [row for row in rows if not np.isnan(row["value"])]
        most = max(known, key=lambda row: abs(row["value"]), default=None)
        if not parts and most:
            largest = f"{signed(most['value'])}, {most['level']}"
            parts = [f"{WORDS['']} {against} under any stress (largest difference {largest})"]
        sentences += [f"{part[0].upper()}{part[1:]}." for part in parts]
    return sentences


# Verdicts and cost


def verdicts(study: Study, rows: pd.DataFrame, loss: str) -> list[Row]:
    """Return the verdicts on a loss at threshold 0.5, the fixed rate and the first setting.

    Those on trained models come first. Of the public datasets the pooled verdict, or that on the
    only one.
    """
    known, real = claims.load(), [d.name for d in study.datasets.values() if not d.controlled]
    result = []
    for row in metrics.select(rows, loss=loss).to_dict("records"):
        claim, mechanism = known[row["claim"]], row["level"] == "mechanism"
        names_of_field = (POOLED, *real[: len(real) == 1])
        shown = row["level"] != "field" or row["dataset"] in names_of_field
        at = row["threshold"] in ("", "0.5") and row["rate"] in ("", "fixed")
        if not shown or not at or row["setting"] not in ("", study.settings[0].label):
            continue
        against = style.name(row["against"]) if row["against"] else ""
        says = claim.mechanism.says if mechanism else claim.says
        result.append(
            {
                "claim": row["claim"],
                "title": claim.title,
                "level": row["level"],
                "against": against,
                "measured": says.format(loss=style.name(loss), against=against),
                "estimate": signed(row["estimate"]),
                "interval": "exact" if mechanism else interval(row),
                "unit": row["unit"],
                "verdict": row["verdict"],
                "finding": row["finding"],
            }
        )
    return sorted(result, key=lambda row: row["level"] == "mechanism")


def cost(results: Results, loss: str) -> str:
    """Return the time of a training step, and its ratio to that of each reference, in words.

    A pair of runs of one cell counts if both are of one device and machine, and at most TOGETHER
    apart: at another time the machine may have been busy. Ratios are medians.
    """
    times: dict[tuple, tuple[float, datetime]] = {}
    for record in results.records:
        if record["status"] == "ok" and "train" in record.get("seconds", {}):
            key = dict(record["key"])
            steps = record.get("run", {}).get("training", {}).get("steps")
            if not steps:
                continue
            where = record.get("device"), json.dumps(record.get("machine"), sort_keys=True)
            seconds = record["seconds"]["train"] / steps
            written = datetime.fromisoformat(record["written"])
            times[(key.pop("loss"), *where, *key.items())] = seconds, written
    own = {key[1:]: pair for key, pair in times.items() if key[0] == loss}
    if not own:
        return "Not measured."
    middle = 1000 * np.median([seconds for seconds, _ in own.values()])
    sentences = [f"{middle:.1f} ms per training step (median)."]
    for other in compared(results.study, loss):
        pairs = [(pair, times[other, *key]) for key, pair in own.items() if (other, *key) in times]
        ratios = [a / b for (a, when), (b, then) in pairs if abs(when - then) <= TOGETHER]
        if ratios:
            low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
            sentences.append(
                f"{middle:.2f} times a step with {style.name(other)} on the same device "
                f"(from {low:.2f} to {high:.2f} in 8 of 10 of {len(ratios)} pairs of runs)."
            )
        elif pairs:
            sentences.append(f"No ratio to {style.name(other)}: its runs are of another time.")
    return " ".join(sentences)
