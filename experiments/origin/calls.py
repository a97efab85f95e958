"""Calls of a study, one line each in ``origin/calls.jsonl``. Loads no heavy library.

A line names the files next to it that it depends on: the uncommitted difference, the installed
packages and the source of the custom losses. Each of them is stored once, under its hash.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.files import now, sha256, write_whole
from experiments.layout import CALLS, ORIGIN
from experiments.origin import machine, repository
from experiments.plan import versions
from experiments.plan.losses import custom_modules
from experiments.plan.sources import closure

if TYPE_CHECKING:
    from experiments.plan.study import Study

PATCH_BYTES = 10**7
"""Largest difference that is stored."""
SUITE = ("dicebench", "losses", "experiments", "analysis")
NAMES = ("Name", "Version")


def write(study: Study, command: Sequence[str], cores: int | None = None) -> None:
    """Add a call to a study's origin.

    command: as typed, ``sys.argv``; the folder of the program and passwords in addresses are left
    out. cores: number of CPU cores that the call may use.
    """
    folder = study.file(ORIGIN)
    call = {
        "time": now(),
        "command": _command(command),
        "cores": cores,
        "config": sha256(study.json.encode()),
        **_code(folder),
        "packages": _store(folder, "packages", ".txt", "\n".join([*packages(), ""]).encode()),
        "losses": _losses(study, folder),
        "machine": machine.machine(),
        "environment": machine.variables(),
    }
    path = study.file(CALLS)
    broken = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * broken + json.dumps(call) + "\n")


def read(study: Study) -> list[dict[str, Any]]:
    """Return the calls of a study, the oldest first; a line that was cut off is left out."""
    try:
        lines = study.file(CALLS).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [call for line in lines if isinstance(call := _parsed(line), dict)]


def stored_packages(study: Study, call: dict[str, Any]) -> dict[str, str]:
    """Return name -> version of the packages of a call; empty if their list is missing."""
    path = study.file(ORIGIN) / str(call.get("packages"))
    lines = path.read_text().splitlines() if path.is_file() else []
    return dict(line.partition("==")[::2] for line in lines)


def difference_hash(state: repository.State) -> str | None:
    """Return the SHA-256 of the uncommitted difference; None if there is none."""
    return sha256(state.difference) if state.difference else None


def packages() -> list[str]:
    """Return every installed package with its version, as ``name==version``."""
    lines: dict[str, str] = {}
    for package in metadata.distributions():
        text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
        # `package.metadata` parses the whole text, which takes 20 times as long.
        name, version = (re.search(rf"^{k}: *(.+)$", text, re.MULTILINE) for k in NAMES)
        if name and version:  # the first one on the path is imported
            line = f"{name[1]}=={version[1]}{_from_source(package)}"
            lines.setdefault(name[1].lower(), line)
    return [line for _, line in sorted(lines.items())]


def _from_source(package: metadata.Distribution) -> str:
    """Return a comment for a package with a version that does not identify its content."""
    content = _parsed(package.read_text("direct_url.json") or "{}") or {}
    if commit := content.get("vcs_info", {}).get("commit_id"):
        return f"  # commit {commit}"
    return "  # editable" if content.get("dir_info", {}).get("editable") else ""


def _code(folder: Path) -> dict[str, Any]:
    """Return the entries of a call about the code; store the uncommitted difference."""
    state = repository.state()
    difference = None
    if state.difference:
        small = len(state.difference) <= PATCH_BYTES
        difference = {
            "sha256": difference_hash(state),
            "bytes": len(state.difference),
            "file": _store(folder, "diff", ".patch", state.difference) if small else None,
            "untracked files left out": state.left_out,
        }
    clean = None if state.difference is None else not state.difference and not state.left_out
    return {
        "commit": state.commit,
        "clean": clean,
        "difference": difference,
        "reason": state.reason,
    }


def _losses(study: Study, folder: Path) -> dict[str, Any] | None:
    """Store the source of the custom losses; return its folder, the modules and packages."""
    modules = {name: sorted(custom_modules(spec)) for name, spec in study.losses.items()}
    modules = {
        name: own
        for name, used in modules.items()
        if (own := [module for module in used if module.partition(".")[0] not in SUITE])
    }
    if not modules:
        return None
    custom = set().union(*modules.values())
    files = {
        _place(name, path): path.read_bytes()
        for name, path in closure(*custom).items()
        if name.partition(".")[0] not in SUITE
    }
    digest = _digest(files)
    for name, data in files.items():
        if not (target := folder / "losses" / digest / name).exists():
            write_whole(target, data)
    return {
        "modules": modules,
        "folder": f"losses/{digest}" if files else None,
        "files": sorted(files),
        "packages": versions.distributions(custom),
    }


def _place(module: str, path: Path) -> str:
    """Return the path of a module's file below the folder that Python imports it from.

    >>> _place("pack.part", Path("anywhere/pack/part.py"))
    'pack/part.py'
    """
    stem = module.replace(".", "/")
    return f"{stem}/__init__.py" if path.name == "__init__.py" else f"{stem}.py"


def _command(words: Sequence[str]) -> str:
    """Return a command as it is typed.

    >>> _command(["/home/me/bin/snakemake", "--config", "mirror=https://me:secret@host/data"])
    'snakemake --config mirror=https://host/data'
    """
    program, *rest = words
    path = Path(program)
    own = ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]
    return re.sub(r"://[^/@\s]+@", "://", shlex.join([*own, *rest]))


def _store(folder: Path, stem: str, suffix: str, data: bytes) -> str:
    """Write data under its hash, unless it is there; return the name of the file."""
    name = f"{stem}-{sha256(data)[:12]}{suffix}"
    if not (folder / name).exists():
        write_whole(folder / name, data)
    return name


def _digest(files: Mapping[str, bytes]) -> str:
    hashes = {name: sha256(data) for name, data in sorted(files.items())}
    return sha256(json.dumps(hashes).encode())[:12]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
