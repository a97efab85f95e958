"""Step `archive`: pack a finished study as one file, ``results/STUDY.zip``, an RO-Crate.

The archive has the study's folder without its stressed images, logs and stamps, and the source
code. Its bytes depend on the files alone.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dicebench
from experiments.errors import ConfigError
from experiments.files import whole_file
from experiments.layout import DONE, ORIGIN, RECORDS, REPORT, RUNS, SOURCES_FILE
from experiments.origin import calls, crate, datasets
from experiments.origin.repository import PROJECT

if TYPE_CHECKING:
    from experiments.plan.study import Study

LEFT_OUT = ("data", "logs", DONE)
"""Folders of a study that an archive does not have."""
CODE = ("losses", "experiments", "analysis", "profiles")
SETUP = ("Snakefile", "Makefile", "requirements.txt", "requirements-uv.txt", "README.md")
"""Folders and files of the project that are packed in ``workflow/``."""
EPOCH = (1980, 1, 1, 0, 0, 0)
TEXT = """# dicebench study {name}

- `report.html`: verdicts, figures and tables. It opens without a network.
- `config.json`: the configuration. `runs/`: the records. `origin/`: calls, code and packages.
- `workflow/`: the source code. `ro-crate-metadata.json`: the description of this archive.

To repeat the study with Python 3.11 or newer and `make`, type in `workflow/`:

    make .venv/figures.ok
    . .venv/bin/activate
    PYTHONPATH={losses} snakemake --cores all --configfile ../config.json

Public datasets are fetched again. Put folders of your own where `config.json` names them. Not in
this archive: {left_out}.
"""

log = logging.getLogger("dicebench")


def path(study: Study) -> Path:
    """Return the path of a study's archive."""
    return Path(f"{study.folder}.zip")


def run(study: Study) -> None:
    """Write the archive; ConfigError if the study is not finished."""
    for name in (RUNS, RECORDS, REPORT):
        if not study.file(name).is_file():
            raise ConfigError(
                f"{study.file(name)}: there is no such file; finish the study first: "
                "snakemake --cores N"
            )
    if not study.file(SOURCES_FILE).is_file():
        datasets.write(study)
    target = path(study)
    files = dict(sorted([*_results(study), *_code()]))
    records = json.loads(study.file(RECORDS).read_text())
    texts = {
        crate.METADATA: crate.describe(study, [*files, crate.README], records),
        crate.README: _readme(study),
    }
    with whole_file(target) as temporary:
        _pack(temporary, files, texts)
    log.info(
        "%s: %.1f MB, %d files; left out: %s",
        *(target, target.stat().st_size / 1e6, len(files) + len(texts), ", ".join(LEFT_OUT)),
    )


def _readme(study: Study) -> str:
    losses = (calls.read(study) or [{}])[-1].get("losses") or {}
    folder = f"../{ORIGIN}/{losses['folder']}" if losses.get("folder") else "."
    return TEXT.format(name=study.name, losses=folder, left_out=", ".join(LEFT_OUT))


def _results(study: Study) -> Iterator[tuple[str, Path]]:
    """Yield name and path of the study's files, without hidden ones and runs of older settings."""
    root = Path(study.folder)
    runs = {study.run_folder(run) for run in study.runs}
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if name.parts[0] in LEFT_OUT or (name.parts[0] == "runs" and path.parent not in runs):
            continue
        yield name.as_posix(), path


def _code() -> Iterator[tuple[str, Path]]:
    """Yield name and path of the project's source files."""
    for path in Path(dicebench.__file__).parent.glob("*.py"):  # an installed package has all in it
        yield f"{crate.WORKFLOW}/dicebench/{path.name}", path
    for path in [p for part in CODE for p in (PROJECT / part).rglob("*")]:
        name = path.relative_to(PROJECT)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
            yield f"{crate.WORKFLOW}/{name.as_posix()}", path
    for name in SETUP:
        if (PROJECT / name).is_file():
            yield f"{crate.WORKFLOW}/{name}", PROJECT / name
    if (PROJECT / crate.LICENCE).is_file():
        yield crate.LICENCE, PROJECT / crate.LICENCE


def _pack(target: Path, files: dict[str, Path], texts: dict[str, str]) -> None:
    folders = sorted({name.partition("/")[0] + "/" for name in files if "/" in name})
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in folders:  # the description names them
            archive.writestr(_entry(name), "")
        for name, text in texts.items():
            archive.writestr(_entry(name), text)
        for name, path in files.items():
            with path.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as to:
                shutil.copyfileobj(source, to)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o40755 << 16 | 16 if name.endswith("/") else 0o644 << 16
    return entry
