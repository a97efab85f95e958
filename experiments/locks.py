"""Locks: one process at a time, across processes, clones and nodes. Standard library only.

A lock is a file that exists while it is held. It names its holder. Two things keep others
away:

- ``flock`` on the file, where the file system has it. The kernel ends it with its holder, so a
  killed process leaves no lock on its machine.
- A lease: the holder touches the file every BEAT seconds. To other machines, and where ``flock``
  is not supported, a file that is not touched for STALE seconds is free. Ages are differences of
  two times of the file system's own clock; the clocks of the nodes do not matter.

A forked child inherits open files, and with them a ``flock``. Each child therefore closes its
copies at once: a lock ends with its holder, and a child never holds one. (Files are closed at an
``exec`` too. Only C code that forks by itself, without ``exec``, would keep the lock.) A second
lock of the same file in the same process is Busy.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from experiments.files import (
    is_alive,
    is_disk_error,
    named,
    pid_space,
    start_time,
    sweep,
    temporary_of,
)

BEAT, STALE = 20, 120
"""Seconds between the touches of a lock file; seconds without one after which it is free."""
POLL, CONFIRM = 0.2, 1.0
"""Seconds between two tries; seconds until a stale lock that was taken over is read again."""
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""Numbers of the errors of a file system without ``flock``."""
HOLDER = ("host", "machine", "space", "pid", "started", "since", "token")
"""Entries of a lock file. machine: its start; space: of its PIDs; token: of this one lock."""

log = logging.getLogger("dicebench")
_open: set[int] = set()
"""The open lock files of this process."""


class Busy(Exception):
    """Another process has the lock. holder: "process 123 on host X since 12:03:00"."""

    def __init__(self, path: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(f"{path} is locked by {holder}; wait for that process or stop it")


@contextmanager
def lock(path: str | Path, *, wait: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold the lock of a file; its folder is made. Busy if another process holds it.

    wait: wait for the lock instead. Yield a function that returns whether the lock is still held:
    a process that was suspended for STALE seconds can lose it to another machine.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    me = _identity()
    logged = False
    while isinstance(held := _attempt(path, me), str):
        if held and not wait:
            raise Busy(path, held)
        if held and not logged:
            log.info("%s: waiting for %s", path, held)
            logged = True
        time.sleep(POLL if held else 0)
    ended = threading.Event()
    beat = threading.Thread(target=_touch, args=(held, ended), daemon=True)
    beat.start()
    try:
        yield lambda: _read(path).get("token") == me["token"]
    finally:
        if os.getpid() == me["pid"]:  # else a forked child leaves the block
            ended.set()
            beat.join()
            with suppress(OSError):
                if _read(path).get("token") == me["token"]:
                    path.unlink()
            _close(held)


def _attempt(path: Path, me: Mapping[str, Any]) -> int | str:
    """Try to get a lock; return the open file, or else the holder, or "" to try again at once."""
    temporary = temporary_of(path)
    with named(path, temporary):
        mine = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    _open.add(mine)
    holder, taken = "", False
    try:
        with named(path, temporary):
            os.write(mine, json.dumps(me).encode())
        _flock(mine)
        try:
            _create(temporary, path)
        except FileExistsError:
            holder = _replace(path, temporary)
        taken = _read(path).get("token") == me["token"]
        return mine if taken else holder
    finally:
        temporary.unlink(missing_ok=True)
        if not taken:
            _close(mine)


def _create(temporary: Path, path: Path) -> None:
    """Give a new lock file its name; FileExistsError if there is one."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if is_disk_error(error):
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o666))  # a file system without hard links
        os.replace(temporary, path)


def _replace(path: Path, temporary: Path) -> str:
    """Replace the lock file of a dead holder; return a living holder, or else ""."""
    try:
        old = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return ""
    _open.add(old)
    try:
        flocked, holder = _flock(old), _read(path)
        if flocked is False:
            return _text(holder)
        status = os.fstat(old)
        with suppress(FileNotFoundError):
            if os.path.samestat(status, path.stat()):
                exact = flocked and holder.get("machine") == _machine()
                age = temporary.stat().st_mtime - status.st_mtime
                if not exact and _is_alive(holder, age):
                    return _text(holder)
                os.replace(temporary, path)
                time.sleep(0 if exact else CONFIRM)  # other machines do the same; the last has it
        return ""
    finally:
        _close(old)


def _is_alive(holder: Mapping[str, Any], age: float) -> bool:
    """Return whether a holder without a ``flock`` here is alive. age: of its file, in seconds."""
    if (holder.get("machine"), holder.get("space")) == (_machine(), pid_space()):
        pid = holder["pid"]
        return is_alive(pid) and start_time(pid) == holder["started"]
    return age < STALE


def _flock(file: int) -> bool | None:
    """Return whether a file is locked now; False: by another one; None: it is not supported."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        raise
    return True


def _identity() -> dict[str, Any]:
    pid, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S")
    process = (socket.gethostname(), _machine(), pid_space(), pid, start_time(pid))
    return dict(zip(HOLDER, (*process, since, os.urandom(16).hex()), strict=True))


def _machine() -> str:
    """Return the number of this start of this machine, or else its name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _read(path: Path) -> dict[str, Any]:
    """Return the holder that a lock file names; {} if there is none or it is not readable."""
    try:
        holder = json.loads(path.read_text())
        return {key: holder[key] for key in HOLDER}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _text(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on host {holder['host']} since {holder['since']}"


def _touch(file: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(file)


def _close(file: int) -> None:
    _open.discard(file)
    with suppress(OSError):
        os.close(file)


def _close_in_child() -> None:
    for file in tuple(_open):
        _close(file)


os.register_at_fork(after_in_child=_close_in_child)
