"""Files and folders that are written whole or not at all. Standard library only.

They are made as a hidden sibling, ``.NAME.HOST.PID.RANDOM``, and moved to their name at the end. A
process that is killed leaves its sibling. The next write of the same name removes it.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""
DISK_ERRORS = (*FULL, errno.EROFS, errno.EACCES)
"""FULL, and the error numbers of a disk that cannot be written."""
OLD = 24 * 3600
"""Seconds after which a temporary of another host is removed."""


def sha256(data: bytes | str) -> str:
    """Return the SHA-256 of bytes or text, in hexadecimal."""
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """Return the time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def pid_space() -> str:
    """Return the number of the PID namespace, "" if the system has none.

    Processes of two containers can have the same host name and PID.
    """
    try:
        return re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    except OSError:
        return ""


def _host() -> str:
    return sha256(f"{socket.gethostname()} {pid_space()}")[:8]


def write_whole(path: str | Path, data: str | bytes) -> None:
    """Write text or bytes to a file, whole or not at all; folders are created."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data if isinstance(data, bytes) else data.encode())


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield the name of a temporary file that replaces `path` at the end.

    After an error it is removed, and `path` is as before. OSError names `path`.
    """
    path = Path(path)
    with _temporary(path) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces the folder `path` at the end.

    After an error it is removed, and `path` is as before. OSError names a file, or `path`.
    """
    path, old = Path(path), []
    with temporary_folder(path) as temporary:
        yield temporary
        while not _renamed(temporary, path):
            old.append(temporary_of(path))
            with suppress(FileNotFoundError):  # another process has just moved it
                os.rename(path, old[-1])
    for folder in old:
        _remove(folder)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield an empty hidden folder next to `path`, which is removed at the end."""
    with _temporary(path) as temporary:
        temporary.mkdir()
        yield temporary


def _renamed(folder: Path, path: Path) -> bool:
    """Rename a folder; return False if another one has the name."""
    try:
        os.rename(folder, path)
    except OSError as error:
        link = error.errno == errno.ENOTDIR and path.is_dir()
        if link or error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary for `path`, which is removed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary = temporary_of(path)
    try:
        with named(path, temporary):
            yield temporary
    finally:
        _remove(temporary)


@contextmanager
def named(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let a disk's error name a file: `path` if it names none, or the temporary for `path`."""
    try:
        yield
    except OSError as error:
        if is_disk_error(error):
            name = str(error.filename or path)
            error.filename = name.replace(str(temporary), str(path)) if temporary else name
            error.filename2 = None
        raise


def is_disk_error(error: BaseException) -> bool:
    """Return whether a disk has no room or cannot be written: the user can mend it."""
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def disk_advice(error: OSError, path: str | Path = "") -> str:
    """Return one line for the user: the file, the error and the remedy.

    path: named if the error names no file.
    """
    remedy = "free space" if error.errno in FULL else "make it accessible"
    return (
        f"dicebench: {error.filename or path}: {error.strerror}; {remedy}, then run the same "
        "command again; finished runs are kept"
    )


def reserve(path: Path) -> None:
    """Give a file room on the disk for all of its bytes; OSError if there is none."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:  # other errors: the file system cannot do it
                if is_disk_error(error):
                    raise


def temporary_of(path: Path) -> Path:
    """Return a new name of a temporary for `path`; no other process of any host has it."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{os.urandom(4).hex()}")


def sweep(path: Path) -> None:
    """Remove the temporaries for `path` that dead processes left."""
    start = f".{path.name}."
    names = [name for name in os.listdir(path.parent) if name.startswith(start)]
    for name in names:
        parts = re.fullmatch(r"([0-9a-f]{8})\.(\d+)\.[0-9a-f]{8}", name.removeprefix(start))
        if not parts:
            continue
        left = path.with_name(name)
        with suppress(FileNotFoundError):
            ours = parts[1] == _host()
            if not is_alive(int(parts[2])) if ours else time.time() - left.stat().st_mtime > OLD:
                _remove(left)


def is_alive(pid: int) -> bool:
    """Return whether this machine has a process with this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def start_time(pid: int) -> str | None:
    """Return the start time of a process; None if there is none, or if it has ended."""
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if words[0] in "ZX" else words[19]
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    state, _, start = done.stdout.partition(" ")
    return None if state[:1] in ("", "Z") else start.strip()


def _remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
