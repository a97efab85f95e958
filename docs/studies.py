"""The table of the repository's studies, and the measurement of their time.

    python -m docs.studies [--mirror FOLDER]

The command times the models of each configuration (`experiments.runs.cost`: a few real steps of
each kind of model, one thread, processor time; the least of three estimates, since other work only
adds to it) and writes ``docs/benchmarks/studies.csv``.
mirror: a folder of prepared datasets; an image of theirs gives the number of channels.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from experiments.plan.study import Study

ROOT = Path(__file__).parents[1]
QUICK = ROOT / "config.yaml"
TIMES = ROOT / "docs" / "benchmarks" / "studies.csv"
COLUMNS = ("configuration", "runs", "seconds")
REPEATS = 3
CALL = "#   snakemake "
"""Start of the line that ends the description of a study in its file."""


def files() -> list[Path]:
    """Return the configurations of the repository, the quick study first."""
    return [QUICK, *sorted((ROOT / "configs").glob("*.yaml"))]


def study_of(path: Path, **settings: str) -> Study:
    """Return the study of a configuration; one without datasets changes the quick study."""
    config = yaml.safe_load(path.read_text())
    if "datasets" not in config:
        quick = yaml.safe_load(QUICK.read_text())
        both = [key for key in config if isinstance(quick.get(key), dict)]
        merged = {key: quick[key] | config[key] for key in both if isinstance(config[key], dict)}
        config = quick | config | merged
    return Study(config | settings)


def question(path: Path) -> str:
    """Return the question of a study: the first sentence of the comment at the file's start."""
    lines = itertools.takewhile(lambda line: line[:1] == "#", path.read_text().splitlines())
    comment = " ".join(line.removeprefix("# ") for line in lines if "$schema=" not in line)
    return re.split(r"(?<=[?.]) ", comment.partition(CALL)[0])[0]


def times() -> dict[str, tuple[int, float]]:
    """Return configuration -> measured runs and their seconds on one core."""
    with TIMES.open() as file:
        rows = csv.DictReader(file)
        return {row["configuration"]: (int(row["runs"]), float(row["seconds"])) for row in rows}


def duration(seconds: float) -> str:
    """Return a time in words: minutes below an hour, then hours."""
    if round(seconds / 60) < 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"


def table() -> Iterator[str]:
    """Yield the table of the studies.

    A study whose seeds are added where they are needed has the runs of its first and last look.
    """
    measured = times()
    yield "| configuration | question | runs | time on one core |"
    yield "|---|---|---|---|"
    for path in files():
        name, study = str(path.relative_to(ROOT)), study_of(path)
        runs, seconds = measured[name]
        counts = dict.fromkeys([len(study.runs), len(study.possible)])
        numbers = " to ".join(f"{count:,}" for count in counts)
        spans = " to ".join(duration(seconds * count / runs) for count in counts)
        yield f"| `{name}` | {question(path)} | {numbers} | {spans} |"


def measure(mirror: str | None) -> None:
    """Time the models of every configuration and write the file of the times."""
    from experiments.runs.cost import estimate

    with TIMES.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for path in files():
            study = study_of(path, **({"mirror": mirror} if mirror else {}))
            seconds = min(estimate(study, 1).seconds for _ in range(REPEATS))
            row = str(path.relative_to(ROOT)), len(study.runs), round(seconds)
            print(*row, flush=True)
            writer.writerow(row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mirror")
    measure(parser.parse_args().mirror)
