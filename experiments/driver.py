"""The process that runs a study's workflow: its lock, its signals, the study's configuration."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from experiments import locks
from experiments.files import write_whole
from experiments.layout import CONFIG, DONE, DRIVER_LOCK
from experiments.origin import calls

if TYPE_CHECKING:
    from experiments.plan.stamps import Stamps
    from experiments.plan.study import Study

STOPPED = "dicebench: stopped. The same command goes on where it stopped; finished runs are kept."


class Driver:
    """The work of Snakemake's process for a study before and during its jobs.

    cores: number of CPU cores that the call may use.
    """

    def __init__(self, study: Study, cores: int | None = None) -> None:
        self.study, self.cores = study, cores
        self._held = contextlib.ExitStack()
        # Jobs end when this process is gone, however it ends.
        os.environ["DICEBENCH_DRIVER"] = str(os.getpid())

    def sweep(self, stamps: Stamps) -> None:
        """Remove the void stamps, unless another process runs the study."""
        if self.study.file(DONE).is_dir():
            with contextlib.suppress(locks.Busy), locks.lock(self.study.file(DRIVER_LOCK)):
                stamps.sweep()

    def start(self) -> None:
        """Take the study's lock, write its configuration and the call, stop its jobs on a signal.

        Waits while another process runs the study.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        atexit.register(self._held.close)
        self._held.enter_context(locks.lock(self.study.file(DRIVER_LOCK), wait=True))
        write_whole(self.study.file(CONFIG), self.study.json)
        calls.write(self.study, sys.argv, self.cores)


def _stop(number: int, frame: FrameType | None) -> None:
    """End all jobs. Snakemake alone would wait for them after SIGTERM."""
    for job in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            job.terminate()
    print(STOPPED, file=sys.stderr)
    raise KeyboardInterrupt
