"""Step `drop`: remove the stressed images of a finished study, unless `keep` names the data.

The description of each stressed folder stays, with the content hash that records are compared
with. It is marked before any image is removed, so a folder with some of its images never counts as
whole. After an interruption the next call removes the rest.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import write_whole
from experiments.layout import DESCRIPTION

if TYPE_CHECKING:
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")


def run(study: Study) -> None:
    """Drop the images of all stressed folders, also of those that the study no longer plans."""
    if "data" in study.keep:
        log.info("nothing is dropped: 'keep' names the data")
        return
    cells = [
        cell
        for data in _folders([study.file("data")])
        for dataset in _folders(data.iterdir())
        for stress in _folders(dataset.iterdir())
        for cell in _folders(stress.glob("seed-*"))
    ]
    freed = sum(map(drop, cells))
    log.info("%.1f MB freed: images of %d stressed folders", freed / 1e6, len(cells))


def drop(folder: Path) -> int:
    """Remove all of a stressed folder but its description; return the bytes freed on disk.

    A folder without a readable description stays as it is.
    """
    path = folder / DESCRIPTION
    try:
        info = json.loads(path.read_text())
        info["content"]
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("%s stays as it is: it has no readable %s", folder, DESCRIPTION)
        return 0
    if not info.get("dropped"):
        write_whole(path, json.dumps(info | {"dropped": True}, indent=1, sort_keys=True) + "\n")
    freed = 0
    for entry in sorted(folder.iterdir()):
        if entry.name == DESCRIPTION:
            continue
        link = entry.is_symlink()
        freed += sum(
            p.lstat().st_blocks * 512 for p in (entry, *(() if link else entry.rglob("*")))
        )
        if entry.is_dir() and not link:
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return freed


def _folders(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders among paths; a symbolic link is not followed."""
    for path in sorted(paths):
        if path.is_symlink():
            log.warning("%s stays as it is: it is a symbolic link", path)
        elif path.is_dir():
            yield path
