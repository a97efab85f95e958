"""The project's files that a module is made of: its imports, direct or not.

Standard library and names of losses only. No module is imported: the files are parsed.
"""

import ast
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from losses import LOSSES
from losses.building import SUM

PROJECT = Path(__file__).parents[2]
"""Folder of the project's packages: the repository, or the installed package `dicebench`."""
LIBRARIES = tuple(
    str(Path(sysconfig.get_paths()[kind]))
    for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)


def sources(*modules: str) -> list[str]:
    """Return the paths of the project's files that modules import, their own included.

    A module that is not part of the project (standard library, installed) has no files.
    """
    return sorted(os.path.relpath(path) for path in closure(*modules).values())


def closure(*modules: str) -> dict[str, Path]:
    """Return name -> file of the project's modules that modules import, themselves included.

    `dicebench.losses` counts as `losses`, and the version of `dicebench` not at all.
    """
    files: dict[str, Path] = {}
    waiting = [part for module in modules for part in _with_packages(_own_name(module))]
    while waiting:
        name = waiting.pop()
        if name in files or (path := locate(name)) is None:
            continue
        files[name] = path
        waiting += [
            part
            for module in _imports(path, name, path.stat().st_mtime_ns)
            for part in _with_packages(module)
        ]
    return files


def libraries(*modules: str) -> set[str]:
    """Return the top-level names of the installed packages that the files of modules import."""
    names = {
        name.partition(".")[0]
        for module, path in closure(*modules).items()
        for name in _imports(path, module, path.stat().st_mtime_ns)
    }
    return {name for name in names - set(sys.stdlib_module_names) if locate(name) is None}


def locate(module: str) -> Path | None:
    """Return the file of a module of the project, or None for any other name."""
    top, *below = module.split(".")
    folder = _top_folder(top)
    if folder is None:
        return None
    path = Path(folder, *below)
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _top_folder(top: str) -> Path | None:
    """Return the path of a top-level module of the project, without its suffix."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    if spec.origin is None:  # a folder without __init__.py
        folders = list(spec.submodule_search_locations or [])
        path = Path(folders[0]) if folders else None
    else:
        origin = Path(spec.origin)
        path = origin.parent if origin.name == "__init__.py" else origin.with_suffix("")
    if path is None or path.parent == PROJECT:
        return path
    if str(path).startswith(LIBRARIES):
        return None
    return None if {"site-packages", "dist-packages"} & {*path.parts} else path


def _with_packages(module: str) -> list[str]:
    """Return a module and the packages that Python imports before it."""
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


@cache
def _imports(path: Path, module: str, changed: int) -> tuple[str, ...]:
    """Return the modules that a file may import; `changed` (its time) renews the cache."""
    try:
        tree = ast.parse(path.read_text(), str(path))
    except (SyntaxError, ValueError):
        return ()  # Python reports it when the module is imported
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
            if _own_name(base) == "losses":
                names += [name for alias in node.names for name in _on_first_use(alias.name)]
        elif isinstance(node, ast.Attribute) and node.attr == "iter_modules":
            # A package that discovers its modules imports them all.
            names += [f"{package}.{file.stem}" for file in path.parent.glob("*.py")]
    return tuple(_own_name(name) for name in names if name != "dicebench")


def _own_name(module: str) -> str:
    """Return the name of a module in the repository: ``losses`` for ``dicebench.losses``."""
    return module.removeprefix("dicebench.")


def _on_first_use(name: str) -> set[str]:
    """Return the modules that the package `losses` imports when a name of it is used.

    >>> _on_first_use("DiceLoss"), len(_on_first_use("build")) > 5
    ({'losses.overlap'}, True)
    """
    paths = [path.split(":") for path in (*(entry.path for entry in LOSSES.values()), SUM)]
    return {module for module, loss in paths if name in (loss, "build")}


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a file, without those that only type checkers read."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _statements(child)
