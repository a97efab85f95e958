"""Run functions in processes of their own, forked from a clean server.

The server (`experiments.runs.forking`) imports the modules that the functions use, and nothing
else. It forks itself for each worker, so a worker starts in a fraction of a second and without
traces of earlier calls. Whatever a function does, its caller gets an outcome: a worker sends JSON,
and the server reports how a worker ended. Workers end with their caller, however it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import logging
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.runs.forking import LENGTH, NUMBER, beat, shorten, watch_driver

__all__ = ["Died", "Outcome", "Pool", "Task", "beat", "call_alone", "watch_driver"]

log = logging.getLogger("dicebench")

LARGEST = 1 << 24
"""Bytes of a message, at most."""
SILENCE = 60.0
"""Seconds without a sign of life before a warning is logged."""
TICK = 0.25
"""Seconds between two checks of the time limits."""
SERVER_ENDED = "the workers' server ended"
"""Reason of all calls that were running in its workers."""
PAUSE = 10.0
"""Longer gaps between two checks count for no limit: the machine was suspended."""

_START = """
import json, sys
control, sys.path[:], *preload = json.loads(sys.argv[1])
from experiments.runs.forking import serve
serve(control, preload)
"""


class Died(RuntimeError):
    """The end of a call without a value; its text is the reason."""


@dataclass(frozen=True)
class Task:
    """A call in a worker.

    key: its name. call: a function of a module; returns plain JSON data. alone: in a process of
    its own, which ends with it; otherwise in one that also runs other calls.
    """

    key: str
    call: Callable[..., Any]
    args: tuple = ()
    alone: bool = False


@dataclass(frozen=True)
class Outcome:
    """The value of a call, or the reason for its end without one: "signal 11 (SIGSEGV)"."""

    key: str
    value: Any = None
    died: str | None = None


class Pool:
    """Calls in at most `slots` workers at a time.

    preload: modules that the server imports. step_limit: seconds between two calls of `beat` in
    phase "train"; run_limit: seconds of a whole call. Over a limit, a worker is killed. places:
    environment variables of each slot, such as the GPU to use; they replace `slots`. A worker keeps
    its place until it ends, and a place with variables has one worker at a time. On SIGTERM the
    caller ends with exit status 143; any exception kills all workers.
    """

    def __init__(
        self,
        slots: int,
        preload: Sequence[str] = (),
        step_limit: float | None = None,
        run_limit: float | None = None,
        places: Sequence[dict[str, str]] = (),
    ) -> None:
        self._free, self._preload = list(places) or [{}] * slots, tuple(preload)
        self._limits = step_limit, run_limit
        self._queue: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._ended: deque[Outcome] = deque()
        self._handler: Any = None

    def __enter__(self) -> Pool:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, _terminate)
        _server(self._preload)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.task:
                worker.server.stop()
            worker.close()
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def submit(self, task: Task) -> None:
        """Queue a task; it starts while the pool is iterated."""
        self._queue.append(task)

    def __iter__(self) -> Iterator[Outcome]:
        """Yield the outcomes as the tasks end, until none is left."""
        self._looked = time.monotonic()
        while self._ended or self._queue or any(worker.task for worker in self._workers):
            if self._ended:
                yield self._ended.popleft()
            else:
                self._start()
                self._wait()

    def _start(self) -> None:
        while self._queue and self._free:
            task = self._queue.popleft()
            place = max(self._free, key=self._free.count)  # of the GPU with the fewest calls
            self._free.remove(place)
            idle = next((w for w in self._workers if not w.task and w.place == place), None)
            if idle and task.alone:
                if place:  # the GPU needs the memory of the idle worker
                    self._close(idle)
                idle = None
            if not idle:
                idle = _Worker(_server(self._preload), place)
                self._workers.append(idle)
            idle.begin(task, self._limits[0])
        if all(task.alone for task in self._queue):
            for worker in [w for w in self._workers if not w.task]:
                self._close(worker)

    def _close(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.close()

    def _wait(self) -> None:
        """Take the messages that arrive within TICK, and the outcomes; then apply the limits."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.status, selectors.EVENT_READ, worker)
                if worker.channel.fileno() >= 0:
                    selector.register(worker.channel, selectors.EVENT_READ, worker)
            ready = {key.fd: key.data for key, _ in selector.select(TICK)}
        for worker in dict.fromkeys(ready.values()):
            if worker.status in ready:
                outcome = self._remove(worker)
            else:
                worker.read()
                outcome = worker.outcome
                if outcome and (outcome.died or worker.task.alone):
                    worker.kill()  # with its threads and processes; then its status is ready
                    continue
            if outcome:
                self._ended.append(outcome)
                self._free.append(worker.place)
                worker.task = worker.outcome = None
        now = time.monotonic()
        paused, self._looked = now - self._looked, now
        for worker in self._workers:
            worker.check(*self._limits, paused if paused > PAUSE else 0)

    def _remove(self, worker: _Worker) -> Outcome | None:
        """Forget a dead worker; return the outcome of its task, if it had one."""
        while worker.read():
            pass
        reason = os.read(worker.status, 1000).decode()
        if not reason:
            reason = SERVER_ENDED
            worker.server.stop()
        self._close(worker)
        return worker.outcome or (worker.task and Outcome(worker.task.key, died=reason))


class _Worker:
    """The caller's side of a worker."""

    def __init__(self, server: _Server, place: dict[str, str]) -> None:
        self.server, self.number, self.place = server, next(_numbers), place
        self.task: Task | None = None
        self.outcome: Outcome | None = None
        self.buffer = bytearray()
        self.channel, channel = socket.socketpair()
        self.status, status = os.pipe()
        try:
            server.fork(self.number, channel.fileno(), status)
        finally:
            channel.close()
            os.close(status)

    def begin(self, task: Task, step_limit: float | None) -> None:
        """Send a task."""
        every = min(1.0, (step_limit or 4) / 4)
        setup = sys.path, os.getcwd(), log.getEffectiveLevel(), every, self.place
        data = pickle.dumps((setup, task.key, pickle.dumps((task.call, task.args))))
        self.task, self.phase, self.warned = task, "", False
        self.began = self.seen = time.monotonic()
        with contextlib.suppress(OSError):  # a worker that is dead says so by its status
            self.channel.sendall(LENGTH.pack(len(data)) + data)

    def read(self) -> bool:
        """Take a part of its messages; return whether there may be more."""
        try:
            data = self.channel.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.channel.close()
        for part in data.splitlines(keepends=True):
            self.buffer += part
            if len(self.buffer) > LARGEST or part.endswith(b"\n"):
                self._take(self.buffer[: LARGEST + 1])
                self.buffer.clear()
        return bool(data) and not self.outcome

    def _take(self, line: bytearray) -> None:
        if self.outcome or not self.task:
            return
        try:
            message = json.loads(line) if len(line) <= LARGEST else None
        except (ValueError, RecursionError):
            message = None
        match message:
            case {"phase": str(phase)}:
                self.phase, self.seen = phase, time.monotonic()
            case {"log": [int(level), str(text)]}:
                log.log(level, "%s", text)
            case {"value": value}:
                self.outcome = Outcome(self.task.key, value)
            case {"died": str(reason)}:
                self.outcome = Outcome(self.task.key, died=shorten(reason))
            case _:
                self.outcome = Outcome(self.task.key, died="a message that cannot be read")

    def check(self, step_limit: float | None, run_limit: float | None, paused: float) -> None:
        """Kill the worker if it is over a limit; log a long silence. paused: seconds to ignore."""
        if not self.task or self.outcome:
            return
        self.seen, self.began = self.seen + paused, self.began + paused
        now, reason = time.monotonic(), None
        if step_limit and self.phase == "train" and now - self.seen > step_limit:
            reason = f"timeout: no step for {step_limit:g} s"
        if run_limit and now - self.began > run_limit:
            reason = f"timeout: not finished after {run_limit:g} s"
        if reason:
            self.outcome = Outcome(self.task.key, died=reason)
            self.kill()
        elif now - self.seen > SILENCE and not self.warned:
            self.warned = True
            log.warning("%s: no sign of life for %.0f s", self.task.key, SILENCE)

    def kill(self) -> None:
        """Let the server kill its process group."""
        with contextlib.suppress(OSError):  # the server and with it the worker is dead
            self.server.control.sendall(NUMBER.pack(-self.number))

    def close(self) -> None:
        """Kill it and forget it."""
        self.kill()
        self.channel.close()
        os.close(self.status)


def _terminate(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def call_alone(
    call: Callable[..., Any], *args: Any, preload: Sequence[str] = (), limit: float | None = None
) -> Any:
    """Return the value of a call in a process of its own; raises Died if there is none."""
    with Pool(1, preload, run_limit=limit) as pool:
        pool.submit(Task(call.__name__, call, args, alone=True))
        (outcome,) = pool
    if outcome.died is not None:
        raise Died(outcome.died)
    return outcome.value


_numbers = itertools.count(1)
_servers: dict[tuple[str, ...], _Server] = {}


def _server(preload: tuple[str, ...]) -> _Server:
    """Return the running server with these modules; start it if there is none."""
    server = _servers.get(preload)
    if server is None or server.process.poll() is not None:
        watch_driver()
        server = _servers[preload] = _Server(preload)
        atexit.register(server.stop)
    return server


class _Server:
    """The caller's side of the server. The server ends when `control` is closed."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        self.control, end = socket.socketpair()
        self.ready = False
        with end:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps([end.fileno(), sys.path, *preload])],
                stdin=subprocess.DEVNULL,
                pass_fds=[end.fileno()],
                start_new_session=True,  # Ctrl-C is for the caller
            )

    def fork(self, number: int, channel: int, status: int) -> None:
        """Start a worker with its two files."""
        self.ready = self.ready or bool(self.control.recv(1))
        if not self.ready:
            raise RuntimeError("the workers' server cannot start; its error is above")
        with contextlib.suppress(OSError):  # it has ended; so the status has
            socket.send_fds(self.control, [NUMBER.pack(number)], [channel, status])

    def stop(self) -> None:
        """End the server and all its workers."""
        self.control.close()
        if not self.ready:  # it still imports, and has no workers
            self.process.kill()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
