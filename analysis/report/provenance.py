"""Origin of a study's results: its configuration, code, device and packages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis import looks
from analysis.figures import style

if TYPE_CHECKING:
    from analysis.results import Results
    from experiments.plan.study import Study


def provenance(results: Results) -> list[tuple[str, str]]:
    """Return the origin of the results as (name, value) lines."""
    study, records = results.study, results.records
    seconds = sum(sum(record["seconds"].values()) for record in records)
    written = [record["written"] for record in records]
    planned = f"{len(study.runs)} runs planned, {len(records)} recorded"
    lines = [
        ("Study", f"{study.name}: {planned}"),
        *((f"Axis: {style.title(axis)}", values) for axis, values in axes(study)),
        ("Status", counts(record["status"] for record in records)),
        ("Commit", counts(commit(record) for record in records)),
        ("Code, training", counts(record["code"]["train"] for record in records)),
        ("Code, evaluation", counts(record["code"]["evaluate"] for record in records)),
        ("Device", counts(record["device"] for record in records)),
        ("Processor", counts(processor(record) for record in records)),
        ("Training and evaluation", f"{seconds / 60:.1f} minutes in total, one thread per run"),
        ("Written", f"{min(written)} to {max(written)}"),
    ]
    if study.adaptive:
        lines.insert(1, ("Looks", looks.summary(study, study.decisions[-1])))
    packages = sorted({package for record in records for package in record["versions"]})
    return lines + [
        (package, counts(record["versions"].get(package) for record in records))
        for package in packages
    ]


def failures(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the loss and the reason of the failed runs, with their numbers of runs."""
    return Counter(f"{r['key']['loss']}: {r['reason']}" for r in records if r["status"] == "failed")


def mixed(records: Sequence[dict[str, Any]]) -> int:
    """Return the number of cells with runs of different devices or instruction sets."""
    cells: dict[tuple, set] = {}
    for record in records:
        if record["status"] != "failed":
            cell = tuple(record["key"][name] for name in ("dataset", "stress", "seed"))
            machine = record.get("machine", {})
            kind = record["device"], machine.get("arch"), machine.get("capability")
            cells.setdefault(cell, set()).add(kind)
    return sum(len(machines) > 1 for machines in cells.values())


def processor(record: dict[str, Any]) -> str:
    """Return the processor of a run and its instruction set."""
    machine = record.get("machine")
    return f"{machine['cpu']} ({machine['capability']})" if machine else "unknown"


def axes(study: Study) -> list[tuple[str, str]]:
    """Return the axes of a study's training grid with the labels of their values.

    The reference's value is the first.
    """
    settings = [study.settings[0], *(run.setting for run in study.runs)]
    return [
        (axis, ", ".join(dict.fromkeys(setting.labels[axis] for setting in settings)))
        for axis in study.axes
    ]


def commit(record: dict[str, Any]) -> str:
    """Return the commit, or the release of the package, that a run was trained with."""
    source = record["commit"] or record.get("release") or "none"
    return f"{source}{' (with changes)' if record['dirty'] else ''}"


def counts(values: Iterable[Any]) -> str:
    """Return the distinct values, the most frequent first, with their numbers of runs.

    >>> counts(["ok", "failed", "ok"]), counts(["cpu", "cpu"])
    ('ok (2 runs), failed (1 runs)', 'cpu')
    """
    counted = Counter(values).most_common()
    return ", ".join(f"{v} ({n} runs)" if len(counted) > 1 else str(v) for v, n in counted)
