"""Where a run's numbers come from: code, commit, versions and machine. Loads no torch."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.files import file_sha256
from experiments.origin.repository import git, release
from experiments.plan import versions
from experiments.plan.dataset import stat
from experiments.plan.losses import custom_modules
from experiments.plan.seeds import fingerprint
from experiments.plan.sources import closure, libraries
from losses import building

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec


def code(loss_spec: dict[str, Any]) -> dict[str, str]:
    """Return fingerprints of the source that a run's numbers come from, as it is on disk now.

    train: everything that training imports, and the loss with its parts. evaluate: everything
    that evaluation imports. A custom loss counts with the project's modules that it imports.
    """
    losses = sorted(building.modules(loss_spec))
    return {
        "train": _hash("experiments.runs.fit", *losses),
        "evaluate": _hash("experiments.runs.evaluate"),
    }


_hashes: dict[tuple[str, ...], tuple[dict[Path, list[int]], str]] = {}
"""Modules and the Python path -> the files imported, their sizes and times, their fingerprint."""


def _hash(*modules: str) -> str:
    """Return a fingerprint of the files that modules import.

    Without the table of the losses' names: a run's loss counts with its module.
    """
    key = (*modules, *sys.path)
    files, digest = _hashes.get(key, ({}, ""))
    if not files or not _unchanged(files):
        found = closure(*modules)
        found.pop("losses.registry", None)
        files = {path: stat(path) for path in found.values()}
        digest = fingerprint({name: file_sha256(path) for name, path in found.items()})
        _hashes[key] = files, digest
    return digest


def _unchanged(files: dict[Path, list[int]]) -> bool:
    try:
        return all(stat(path) == before for path, before in files.items())
    except FileNotFoundError:
        return False


def needed_versions(run: RunSpec) -> dict[str, str | None]:
    """Return the present versions of the packages that a run's numbers depend on."""
    packages = [*versions.TRAINING, *versions.EVALUATION]
    if isinstance(run.training.augment, list):
        packages += versions.AUGMENTATION
    installed = {name: versions.version(name) for name in packages}
    return installed | _versions_of(frozenset(custom_modules(run.loss_spec)))


@cache
def _versions_of(modules: frozenset[str]) -> dict[str, str | None]:
    """Return the versions of the packages of modules, and of those that the modules import."""
    return versions.distributions(modules | libraries(*modules))


def begin(run: RunSpec) -> dict[str, Any]:
    """Return the entries of a run's record that are known before the training."""
    source = origin()
    return source | {
        "fingerprint": run.fingerprint,
        "run": run.description,
        "code": code(run.loss_spec),
        "versions": source["versions"] | needed_versions(run),
    }


@cache
def origin() -> dict[str, Any]:
    """Return the commit, or the release of an installed package, and the versions of a record."""
    status = git("status", "--porcelain")
    return {
        "commit": git("rev-parse", "HEAD"),
        "release": release(),
        "dirty": None if status is None else bool(status),
        "versions": versions.versions(*versions.PACKAGES),
    }
