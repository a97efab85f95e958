"""Decide whether a run is valid. Training, collecting, the report and `verify` use this.

Loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from experiments.data import prepared
from experiments.layout import PREDICTIONS, WEIGHTS
from experiments.plan.stamps import is_dropped, signature
from experiments.runs import predictions, provenance, records

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
        record = records.read_record(folder, files=False)
        damaged = records.damaged(folder, record)
        found = _compare(workspace, run, record)
    except records.RecordError as error:
        return Validity(State.TRAIN, str(error))
    except (KeyError, TypeError, AttributeError) as error:
        return Validity(State.TRAIN, f"{folder}: the record has no valid {error}")
    if not damaged or found.state in (State.TRAIN, State.FAILED):
        return found
    usable = damaged.isdisjoint((PREDICTIONS, WEIGHTS)) and _readable(folder / PREDICTIONS)
    reason = f"{folder}: damaged or missing: {', '.join(sorted(damaged))}"
    return Validity(State.EVALUATE if usable else State.TRAIN, reason, record)


def _compare(workspace: Workspace, run: RunSpec, record: dict[str, Any]) -> Validity:
    code = provenance.code(run.loss_spec)
    if record["fingerprint"] != run.fingerprint:
        return Validity(State.TRAIN, _difference(record["run"], run.description), record)
    if record["code"]["train"] != code["train"]:
        return Validity(State.TRAIN, "other training code", record)
    if other := _other_versions(record["versions"], provenance.needed_versions(run)):
        return Validity(State.TRAIN, other, record)
    wanted, used = workspace.device, record["device"]
    if wanted != "auto" and (wanted == "cpu") != (used == "cpu"):
        return Validity(State.TRAIN, f"device {used} -> {wanted}", record)
    if record["status"] == "failed":
        return Validity(State.FAILED, record["reason"], record)
    present = content(workspace.data_folder(*run.cell))
    if record["data"] != present:
        words = "other data" if present else "the stressed images changed or are missing"
        return Validity(State.TRAIN, words, record)
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

    If the images were dropped, return the hash in the description. None if the folder cannot be
    read.
    """
    folder = Path(folder)
    try:
        dropped = is_dropped(folder)
        return prepared.content(folder) if dropped else _measured(folder, signature(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _measured(folder: Path, _signature: str | None) -> str:
    return prepared.measure(folder)


def _readable(path: Path) -> bool:
    """Return whether stored predictions exist and were made for the present thresholds."""
    try:
        predictions.load(path.read_bytes())
    except (OSError, ValueError, SafetensorError):
        return False
    return True
