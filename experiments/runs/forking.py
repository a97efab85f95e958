"""The server that forks workers, and the inside of a worker. Standard library only.

Only `experiments.runs.workers` starts a server. The caller sends commands through `control`: a
number with two files starts a worker, the same number negated kills it. A worker has a socket, for
tasks and messages (lines of JSON), and the server writes the end of each worker to a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import logging
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from typing import NoReturn

from experiments.files import start_time

log = logging.getLogger("dicebench")

DRIVER = "DICEBENCH_DRIVER"
"""Environment variable: process id of the workflow's driver; a step ends after its driver."""
LONGEST, LONGEST_LINE = 500, 10_000
"""Characters of a reason and of a log line, at most."""
NUMBER, LENGTH = struct.Struct("i"), struct.Struct("Q")
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


def shorten(text: str, longest: int = LONGEST) -> str:
    r"""Return at most so many characters of a text, all of which UTF-8 can encode.

    >>> shorten("abcdef", 4), shorten("\ud800")
    ('abc…', '\\ud800')
    """
    text = text[: longest + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= longest else text[: longest - 1] + "…"


class _Link:
    """The socket of this process to its caller."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel, self.tasks = channel, channel.makefile("rb")
        self.lock = threading.Lock()
        self.phase, self.every, self.last = "", 1.0, 0.0

    def send(self, message: dict, flags: int = 0) -> None:
        """Send a message; with MSG_DONTWAIT only if there is room for it."""
        data = json.dumps(message).encode() + b"\n"
        with self.lock, contextlib.suppress(BlockingIOError):
            sent = self.channel.send(data, flags)
            if sent < len(data):  # else the caller may have closed its end
                self.channel.sendall(data[sent:])

    def receive(self) -> bytes:
        """Return the next task; b"" at the end."""
        head = self.tasks.read(LENGTH.size)
        return self.tasks.read(*LENGTH.unpack(head)) if len(head) == LENGTH.size else b""


_link: _Link | None = None


def beat(sign: str | int = "") -> None:
    """Give a sign of life in a worker; elsewhere do nothing.

    sign: a phase from now on ("train": the limit of a step applies; any other: it does not), or
    the number of a step. Between two phases it sends a message once a second at most, and never
    waits.
    """
    if _link is None:
        return
    now = time.monotonic()
    change = isinstance(sign, str) and sign not in ("", _link.phase)
    if change or now - _link.last >= _link.every:
        _link.phase, _link.last = str(sign) if change else _link.phase, now
        with contextlib.suppress(OSError):
            _link.send({"phase": _link.phase}, 0 if change else socket.MSG_DONTWAIT)


class _ToCaller(logging.Handler):
    """Send log lines to the caller, which logs them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _link.send({"log": [record.levelno, shorten(self.format(record), LONGEST_LINE)]})
        except OSError:
            return  # the call has closed the socket
        except Exception:
            self.handleError(record)


def _work(channel: socket.socket) -> None:
    """Do one task after another, until the caller closes the socket."""
    global _link
    _link = _Link(channel)
    logging.basicConfig(handlers=[_ToCaller()], format="%(message)s", force=True)
    logging.captureWarnings(True)
    while data := _link.receive():
        _link.phase, process = "", os.getpid()
        try:
            setup, key, task = pickle.loads(data)
            sys.path[:], folder, level, _link.every, place = setup
            os.environ.update(place)
            os.chdir(folder)
            log.setLevel(level)
            call, args = pickle.loads(task)
            answer = {"value": call(*args)}
            json.dumps(answer)
        except BaseException as error:
            answer = {"died": describe(error)}
            lines = traceback.format_tb(error.__traceback__, -8)
            log.error("%s: %s\n%s", key, answer["died"], "".join(lines).rstrip())
        if os.getpid() != process:
            return  # a copy of this process that the call made and forgot
        with contextlib.suppress(Exception):
            sys.stdout.flush(), sys.stderr.flush()
        _link.send(answer)


def describe(error: BaseException) -> str:
    """Return the type and the text of an error, whatever they are."""
    try:
        return shorten(f"{type(error).__name__}: {error}").removesuffix(": ")
    except BaseException:
        return shorten(f"{type(error).__name__}: its text cannot be made")


def _ignore(*_: object) -> None:
    """Ignore a signal; unlike SIG_IGN, programs that a worker starts do not inherit this."""


def serve(control: int, preload: list[str]) -> NoReturn:
    """Fork workers as `control` asks, until its other end is closed; then kill them all."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, _ignore)
    for module in preload:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # workers share this memory
    wake, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    link = socket.socket(fileno=control)
    with contextlib.suppress(OSError):  # the caller has ended
        link.sendall(b"+")  # ready
    workers: dict[int, tuple[int, int]] = {}
    data = b"+"
    while data:
        ready, _, _ = select.select([link, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _report_dead(workers)
        if link in ready:
            data, files, *_ = socket.recv_fds(link, NUMBER.size, 2)
            if files:
                _fork(*NUMBER.unpack(data), files, workers, [control, wake, end])
            elif data and -NUMBER.unpack(data)[0] in workers:
                _kill(workers[-NUMBER.unpack(data)[0]][0])
    for pid, _ in workers.values():
        _kill(pid)
    for pid, _ in workers.values():
        os.waitpid(pid, 0)
    os._exit(0)


def _fork(
    number: int, files: list[int], workers: dict[int, tuple[int, int]], own: list[int]
) -> None:
    """Start worker `number`; it closes the server's own files and those of other workers."""
    channel, status = files
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.write(status, f"no process could be started: {error}".encode())
        os.close(status)
    else:
        if not pid:
            _begin_worker(channel, [*own, status, *(file for _, file in workers.values())], server)
        with contextlib.suppress(OSError):  # it has done so itself and may be dead
            os.setpgid(pid, pid)
        workers[number] = pid, status
    os.close(channel)


def _begin_worker(channel: int, others: list[int], server: int) -> NoReturn:
    """Turn this copy of the server into a worker."""
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for file in others:
            os.close(file)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        _watch(lambda: os.getppid() == server, lambda: os.killpg(0, signal.SIGKILL))
        faulthandler.enable(all_threads=False)
        _work(socket.socket(fileno=channel))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _report_dead(workers: dict[int, tuple[int, int]]) -> None:
    """Write to the callers how workers ended; kill the processes that those left behind."""
    for number, (pid, status) in list(workers.items()):
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            del workers[number]
            _kill(pid)
            with contextlib.suppress(OSError):  # the caller has closed it
                os.write(status, describe_end(os.waitstatus_to_exitcode(code)).encode())
            os.close(status)


def describe_end(code: int) -> str:
    """Return how a process ended; code: its exit code, or a signal's number negated.

    >>> describe_end(3), describe_end(-11), describe_end(-9)
    ('exit code 3', 'signal 11 (SIGSEGV)', 'signal 9 (SIGKILL; out of memory?)')
    """
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"signal {-code} ({name}{'; out of memory?' if name == 'SIGKILL' else ''})"
    return f"signal {-code}"


def _kill(pid: int) -> None:
    """Kill a process group."""
    with contextlib.suppress(OSError):  # it has ended
        os.killpg(pid, signal.SIGKILL)


def _watch(lives: Callable[[], bool], end: Callable[[], object]) -> None:
    """Call `end` a second, at most, after `lives` has become false; in a thread."""

    def wait() -> None:
        while lives():
            time.sleep(1)
        end()

    threading.Thread(target=wait, daemon=True).start()


@cache
def watch_driver() -> None:
    """End this process, and with it its workers, when the driver named by DRIVER has ended."""
    driver = os.environ.get(DRIVER)
    if driver:
        start = start_time(int(driver))
        _watch(
            lambda: start is not None and start_time(int(driver)) == start, lambda: os._exit(143)
        )
