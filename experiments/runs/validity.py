"""Whether a run is valid: the one answer that training, collecting and the report use.

Loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data import prepared
from experiments.layout import PREDICTIONS, WEIGHTS
from experiments.plan.stamps import is_dropped, signature
from experiments.runs import predictions, provenance
from experiments.runs.records import RecordError, read_record

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec, Workspace

KEPT = {"predictions": PREDICTIONS, "weights": WEIGHTS}
"""Words of the setting `keep`, and their files of a run."""


class State(Enum):
    """State of a run. All but VALID are work to do."""

    VALID = "valid"
    FAILED = "failed"
    """A whole record of the present configuration says that the run failed."""
    EVALUATE = "evaluate"
    """Stored predictions can be evaluated without training."""
    TRAIN = "train"


@dataclass(frozen=True)
class Validity:
    """State of a run, the reason unless it is valid, and its record if it can be read."""

    state: State
    reason: str = ""
    record: dict[str, Any] | None = None


def validity(workspace: Workspace, run: RunSpec) -> Validity:
    """Return whether a run is valid.

    It is if its record and files are whole, and if configuration, code, package versions and data
    are the present ones. The data are read and hashed.
    """
    folder = workspace.run_folder(run)
    try:
        record = read_record(folder)
    except RecordError as error:
        return Validity(State.TRAIN, str(error))
    try:
        return _compare(workspace, run, record)
    except (KeyError, TypeError, AttributeError) as error:
        return Validity(State.TRAIN, f"{folder}: the record lacks {error}")


def _compare(workspace: Workspace, run: RunSpec, record: dict[str, Any]) -> Validity:
    code = provenance.code(run.loss_spec)
    if record["fingerprint"] != run.fingerprint:
        return Validity(State.TRAIN, _difference(record["run"], run.description), record)
    if record["code"]["train"] != code["train"]:
        return Validity(State.TRAIN, "other training code", record)
    if other := _other_versions(record["versions"], provenance.needed_versions(run)):
        return Validity(State.TRAIN, other, record)
    if record["status"] == "failed":
        return Validity(State.FAILED, record["reason"], record)
    if record["data"] != content(workspace.data_folder(*run.cell)):
        return Validity(State.TRAIN, "other data", record)
    if record["status"] == "diverged":  # there is nothing to evaluate or to keep
        return Validity(State.VALID, record=record)
    if missing := [
        word for word in KEPT.keys() & workspace.keep if KEPT[word] not in record["files"]
    ]:
        return Validity(State.TRAIN, f"{', '.join(missing)} not kept", record)
    if record["code"]["evaluate"] == code["evaluate"]:
        return Validity(State.VALID, record=record)
    state = State.EVALUATE if _readable(workspace.run_folder(run) / PREDICTIONS) else State.TRAIN
    return Validity(state, "other evaluation code", record)


def _difference(old: dict[str, Any], new: dict[str, Any], setting: str = "") -> str:
    """Return the settings that differ, as "training.steps 150 -> 151"."""
    parts = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            parts += [_difference(a, b, f"{setting}{key}.")] if a != b else []
        elif a != b:
            parts.append(f"{setting}{key} {a!r} -> {b!r}")
    return ", ".join(parts)


def _other_versions(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {old.get(name)} -> {v}" for name, v in new.items() if old.get(name) != v
    )


def content(folder: str | Path) -> str | None:
    """Return the content hash of a stressed folder, computed from its files.

    Of a folder whose images were dropped the hash in its description counts. None if the folder
    cannot be read.
    """
    folder = Path(folder)
    try:
        return (
            prepared.content(folder) if is_dropped(folder) else _measured(folder, signature(folder))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _measured(folder: Path, _signature: str | None) -> str:
    return prepared.measure(folder)


def _readable(path: Path) -> bool:
    """Return whether stored predictions exist and were made for the present thresholds."""
    try:
        predictions.load(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True
