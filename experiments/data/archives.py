"""Unpack archives that are not trusted: plain files only, in one folder, of limited size."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from experiments.files import is_disk_error, named

MAX_BYTES, MAX_FILES = 20 * 2**30, 500_000
"""Limits of the unpacked files."""

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError)
"""Errors of the libraries for an archive that they cannot unpack."""


def unpack(archive: Path, folder: Path, top: str | None = None) -> None:
    """Unpack a zip or tar file.

    Members are plain files below `folder`, and below `top` in it. ValueError names the first
    member that is not allowed; members before it stay on disk, and the caller removes them.
    """
    files = written = 0
    try:
        for name, is_folder, plain, size, opened in _members(archive):
            path = PurePosixPath(name)
            outside = path.is_absolute() or ".." in path.parts or "\\" in name
            if outside or (top and path.parts[:1] != (top,)) or not (is_folder or plain):
                raise ValueError(
                    f"{archive}: member {name!r} is not allowed; "
                    f"allowed: files and folders below {f'{top}/' if top else 'its own folder'}"
                )
            if is_folder:
                continue
            files, written = files + 1, written + size
            if files > MAX_FILES or written > MAX_BYTES:
                raise ValueError(f"{archive}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with named(target), opened() as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
    except BROKEN as error:
        if is_disk_error(error):
            raise
        raise ValueError(f"{archive}: cannot be unpacked: {error}") from error


def _members(archive: Path) -> Iterator[tuple[str, bool, bool, int, Callable[[], IO[bytes]]]]:
    """Yield name, is a folder, is a plain file, bytes and opener of each member."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as pack:
            for m in pack.infolist():
                plain = stat.S_IFMT(m.external_attr >> 16) in (0, stat.S_IFREG)
                yield m.filename, m.is_dir(), plain, m.file_size, lambda m=m: pack.open(m)
    else:
        with tarfile.open(archive) as pack:
            for m in pack:
                yield m.name, m.isdir(), m.isreg(), m.size, lambda m=m: pack.extractfile(m)
