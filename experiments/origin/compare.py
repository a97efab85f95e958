"""Step `compare`: the records of two studies, run by run; or a study and the present state.

Only alike runs are compared: equal configuration, code, versions that matter, device, CPU
capability, and CUDA, cuDNN and driver of a GPU. Runs that differ in one of them need not have equal
bytes, and neither need runs with an operation that is not deterministic on a GPU.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.layout import COUNTS_FILE
from experiments.origin import calls, machine, repository
from experiments.plan import versions
from experiments.runs import provenance
from experiments.runs.records import RecordError, read_record

if TYPE_CHECKING:
    from experiments.plan.study import Study

KINDS = ("equal", "different", "not comparable", "missing")
LISTED = 5
"""Number of runs that are named for each reason."""

log = logging.getLogger("dicebench")


class NotEqual(ValueError):
    """A run that differs or is missing, or no run that can be compared."""


def run(study: Study, name: str | None = None) -> None:
    """Compare a study with another one, or with the present code, packages and machine.

    name: folder of the other study. NotEqual if a run differs or is missing, or if no run can be
    compared.
    """
    if name is None:
        log.info("%s", "\n".join(changes(study)) or f"{study.folder}: nothing has changed")
        return
    other = type(study).open(name)
    results = compare(study, other)
    log.info("%s", table(study.folder, other.folder, results))
    number = {kind: sum(found == kind for found, _ in results.values()) for kind in KINDS}
    if number["different"] or number["missing"]:
        raise NotEqual(f"{number['different']} runs differ, {number['missing']} are missing")
    if not number["equal"]:
        raise NotEqual("no run can be compared")


def compare(study: Study, other: Study) -> dict[str, tuple[str, str]]:
    """Return run -> (one of KINDS, its reason), for every run that either study plans."""
    paths = dict.fromkeys(run.path for one in (study, other) for run in one.runs)
    return {path: _compare(path, study.folder, other.folder) for path in paths}


def _compare(path: str, *folders: str) -> tuple[str, str]:
    try:
        old, new = (read_record(Path(folder, path)) for folder in folders)
        reason = unlike(old, new)
        if reason:
            return "not comparable", reason
        a, b = results(old), results(new)
        different = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
    except RecordError as error:
        return "missing", str(error).replace(f"/{path}", "")
    except (KeyError, TypeError, AttributeError) as error:
        return "missing", f"incomplete record: {error}"
    return ("different", ", ".join(different)) if different else ("equal", "")


def unlike(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return the reason why two records cannot be compared, or ""."""
    parts = []
    if old["fingerprint"] != new["fingerprint"]:
        parts.append("another configuration")
    parts += [f"other code: {part}" for part in ("train", "evaluate") if _differ(old, new, part)]
    installed = old["versions"], new["versions"]
    for package in sorted(_packages(old, new)):
        a, b = (one.get(package) for one in installed)
        if a != b:
            parts.append(f"{package} {a} and {b}")
    if old["device"] != new["device"]:
        parts.append(f"device {old['device']} and {new['device']}")
    machines = [record.get("machine") or {} for record in (old, new)]
    for key, title in (("arch", "architecture"), ("capability", "CPU capability")):
        a, b = (one.get(key) for one in machines)
        if a != b:
            parts.append(f"{title} {a} and {b}")
    if old["device"] == new["device"]:
        parts += _unlike_gpus(*(machine.get("gpu") or {} for machine in machines))
    if names := {name for one in (old, new) for name in one.get("nondeterministic", ())}:
        parts.append(f"not deterministic: {', '.join(sorted(names))}")
    return "; ".join(parts)


def _unlike_gpus(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the software of two GPUs that differs."""
    return [
        f"{title} {old.get(key)} and {new.get(key)}"
        for key, title in (("cuda", "CUDA"), ("cudnn", "cuDNN"), ("driver", "GPU driver"))
        if old.get(key) != new.get(key)
    ]


def _differ(old: dict[str, Any], new: dict[str, Any], part: str) -> bool:
    return old["code"].get(part) != new["code"].get(part)


def _packages(*records: dict[str, Any]) -> set[str]:
    """Return the packages that the numbers of a run depend on, with those of a custom loss."""
    matter = {*versions.TRAINING, *versions.EVALUATION, *versions.DATA}
    if isinstance(records[0]["run"]["training"]["augment"], list):
        matter.update(versions.AUGMENTATION)
    recorded = set().union(*(record["versions"] for record in records))
    return recorded - ({*versions.PACKAGES, "python"} - matter)


def results(record: dict[str, Any]) -> dict[str, str]:
    """Return the results of a run that are equal if it is repeated, as text.

    A failed run has its status only: its reason can name an address or a process.
    """
    values = {"status": record["status"], "data": record.get("data")}
    if record["status"] != "failed":
        values |= {key: record.get(key) for key in ("weights", "step", "curve")}
        values["counts"] = record["files"].get(COUNTS_FILE)
    return {key: json.dumps(value) for key, value in values.items()}


def table(folder: str, other: str, compared: dict[str, tuple[str, str]]) -> str:
    """Return the number of runs of each kind, and runs by the reason."""
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, (kind, reason) in compared.items():
        if reason:
            reasons[kind, reason].append(path)
    lines = [f"{len(compared)} runs of {folder} and {other}"]
    for kind in KINDS:
        lines.append(f"  {kind:<15}{sum(found == kind for found, _ in compared.values()):>6}")
        for (of, reason), paths in reasons.items():
            if of == kind:
                lines.append(f"    {len(paths)} x {reason}")
                lines += [f"      {path}" for path in paths[:LISTED]]
                lines += [f"      and {len(paths) - LISTED} more"] * (len(paths) > LISTED)
    return "\n".join(lines)


def changes(study: Study) -> list[str]:
    """Return the differences between a study's last call and the present state, one a line."""
    history = calls.read(study)
    if not history:
        return [f"{study.folder}: no call is recorded; code, packages and machine are unknown"]
    last, state, lines = history[-1], repository.state(), []
    if last.get("commit") is None or state.commit is None:
        lines.append(f"commit unknown: {last.get('reason') or state.reason}")
    elif last["commit"] != state.commit:
        lines.append(f"commit {last['commit'][:12]} -> {state.commit[:12]}")
    stored = (last.get("difference") or {}).get("sha256")
    if stored != calls.difference_hash(state):
        lines.append("the uncommitted changes differ")
    lines += _code_changes(study) + _package_changes(study, last)
    now, then = machine.machine(), last.get("machine") or {}
    lines += [
        f"{key}: {then.get(key)} -> {now[key]}"
        for key in ("arch", "cpu", "python")
        if then.get(key) != now[key]
    ]
    if then.get("instructions") != now["instructions"]:
        lines.append("the CPU has other instruction sets")
    return [f"{study.folder}: {line}" for line in lines]


def _code_changes(study: Study) -> list[str]:
    """Return the number of runs with other code than the present."""
    present = {name: provenance.code(spec) for name, spec in study.losses.items()}
    changed = 0
    for run in study.runs:
        with contextlib.suppress(RecordError, KeyError):
            record = read_record(study.run_folder(run), files=False)
            changed += record["code"] != present[run.loss]
    return [f"{changed} of {len(study.runs)} runs were trained with other code"] if changed else []


def _package_changes(study: Study, last: dict[str, Any]) -> list[str]:
    """Return the packages of a call with another version now, or that are removed."""
    then = calls.stored_packages(study, last)
    now = dict(line.partition("==")[::2] for line in calls.packages())
    changed = [
        f"{name} {old} -> {now.get(name)}" for name, old in then.items() if old != now.get(name)
    ]
    more = [f"and {len(changed) - LISTED} more packages"] * (len(changed) > LISTED)
    return changed[:LISTED] + more
