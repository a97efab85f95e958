"""The process that runs a study's workflow: its lock, its signals, the study's configuration."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import psutil

from experiments import locks
from experiments.files import disk_advice, is_disk_error, write_whole
from experiments.layout import CONFIG, DONE, DRIVER_LOCK, SWEEP_LOCK
from experiments.origin import calls
from experiments.runs.forking import DRIVER
from experiments.terminal import Terminal

if TYPE_CHECKING:
    from experiments.errors import ConfigError
    from experiments.plan.stamps import Stamps
    from experiments.plan.study import Study

STOPPED = "dicebench: stopped. The same command continues; finished runs are kept."
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Driver:
    """The work of Snakemake's process for a study before and during its jobs.

    stamps: of all steps. cores: number of CPU cores that the call may use.
    """

    def __init__(self, study: Study, stamps: Stamps, cores: int | None = None) -> None:
        self.study, self.stamps, self.cores = study, stamps, cores
        self.terminal = Terminal(stamps)
        self.path = study.file(DRIVER_LOCK)
        self._held = contextlib.ExitStack()
        # Jobs end when this process is gone, however it ends.
        os.environ[DRIVER] = str(os.getpid())

    def sweep(self) -> None:
        """Remove the void stamps, unless another process runs the study."""
        if not self.study.file(DONE).is_dir():
            return
        with (
            contextlib.suppress(locks.Busy),
            _in_one_line(self.path),
            contextlib.ExitStack() as held,
        ):
            if os.access(self.study.folder, os.W_OK):  # else no lock can be made, nor is it needed
                # Another call that only sweeps is waited for: its study's lock is soon free.
                held.enter_context(locks.lock(self.study.file(SWEEP_LOCK), wait=True))
                held.enter_context(locks.lock(self.path))
            self.stamps.sweep()

    def start(self, here: bool = True) -> None:
        """Take the study's lock, write its configuration and the call, stop its jobs on a signal.

        here: whether the jobs run on this machine.
        While another process runs the study, wait. Then start this call again: its plan is out of
        date.
        """
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._stop)
        self.terminal.started, self.terminal.here = True, here
        atexit.register(self._held.close)
        with _in_one_line(self.path):
            try:
                self._held.enter_context(locks.lock(self.path))
            except locks.Busy as busy:
                self._wait(busy.holder)
            for warning in self.study.warnings:
                print(f"dicebench: warning: {warning}", file=sys.stderr)
            write_whole(self.study.file(CONFIG), self.study.json)
            calls.write(self.study, sys.argv, self.cores)

    def _wait(self, holder: str) -> NoReturn:
        print(f"dicebench: {holder} runs this study; waiting for its end", file=sys.stderr)
        with locks.lock(self.path, wait=True):
            sys.stdout.flush(), sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """End all jobs; a second signal kills them. Snakemake alone would wait for them."""
        for other in SIGNALS:
            signal.signal(other, _kill)
        for job in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                job.terminate()
        self.terminal.stopped = True
        print(STOPPED, file=sys.stderr)
        raise KeyboardInterrupt


def find_packages(project: str) -> None:
    """Let this process and its jobs find the project's packages, and custom losses.

    project: the folder of the Snakefile. Custom losses are in the working folder, or where
    PYTHONPATH says. The project comes first, whatever packages the working folder has.
    """
    first = [os.path.abspath(project), os.getcwd()]
    others = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = dict.fromkeys([*first, *sys.path])
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*first, *others]))
    os.environ["PYTHONSAFEPATH"] = "1"  # else the working folder would come first
    programs = os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join(programs)  # `python` is the one that runs this


def refuse(error: ConfigError) -> NoReturn:
    """End the call with a line for each invalid setting."""
    raise SystemExit("\n".join(f"dicebench: {problem}" for problem in error.problems))


@contextlib.contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Let a signal, a disk without room or one that cannot be written end the call in one line.

    path: named if the disk's error names no file.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise SystemExit(disk_advice(error, path)) from None


def _kill(number: int, frame: FrameType | None) -> NoReturn:
    for job in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            job.kill()
    os._exit(128 + number)
