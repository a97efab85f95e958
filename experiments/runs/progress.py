"""The progress of training: a bar on a terminal, lines elsewhere. It counts a study's models."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from experiments.runs import worker

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")


class Progress:
    """Number of the study's runs that are done, and the time left at the present pace.

    pending: paths of the runs that are still to be done by this process.
    """

    def __init__(self, study: Study, pending: Collection[str]) -> None:
        others = [run for run in study.runs if run.path not in pending]
        self.total = len(study.runs)
        self.done = sum(Path(study.record(run)).exists() for run in others)
        self.began = self._last = time.monotonic()
        self.finished = 0
        self.waiting: set[str] = set()
        self._update = lambda: None

    @property
    def left(self) -> float | None:
        """Seconds until the last run of the study ends; None before the first one ends."""
        if not self.finished:
            return None
        pace = (self._last - self.began) / self.finished
        return max(0.0, pace * (self.total - self.done) - (time.monotonic() - self._last))

    def finish(self, run: RunSpec, result: dict[str, Any]) -> None:
        """Count a run and log its result; a run that failed is logged as a warning."""
        self.done, self.finished = self.done + 1, self.finished + 1
        self._last = time.monotonic()
        curve = result.get("curve") or [{}]
        last = curve[-1]
        scores = (
            f", loss {last['loss']:.4f}, validation Dice {last['val_dice']:.3f}" if last else ""
        )
        log.log(
            logging.INFO if result["status"] == "ok" else logging.WARNING,
            "[%*d/%d] %s: %s%s, %.1f s; about %s left",
            len(str(self.total)),
            self.done,
            self.total,
            worker.title(run),
            result["status"],
            f" ({result['reason']})" if result.get("reason") else scores,
            sum(result["seconds"].values()),
            duration(self.left),
            extra={"counted": True},
        )
        self._update()

    def wait(self, run: RunSpec, holder: str) -> None:
        """Log once that another process trains a run."""
        if run.path not in self.waiting:
            self.waiting.add(run.path)
            log.info("%s is trained by %s; waiting", worker.title(run), holder)

    @contextlib.contextmanager
    def bar(self) -> Iterator[None]:
        """Draw a bar below the lines, if stderr is a terminal, in place of a line for each run.

        The bar is removed at the end: the next job of the study draws it again.
        """
        console = Console(stderr=True)
        if not console.is_terminal or console.is_dumb_terminal or not self.total:
            yield
            return
        columns = TextColumn("models"), BarColumn(), MofNCompleteColumn(), _Left(self)
        bar = Bar(*columns, console=console, transient=True, refresh_per_second=2)
        task = bar.add_task("", total=self.total, completed=self.done)
        self._update = lambda: bar.update(task, completed=self.done)
        terminals = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
        with bar, contextlib.ExitStack() as after:
            console.show_cursor(True)  # a killed process could not show it again
            for handler in terminals:
                after.callback(handler.setStream, handler.setStream(sys.stderr))
                handler.addFilter(_uncounted)
                after.callback(handler.removeFilter, _uncounted)
            yield
        self._update = lambda: None


def _uncounted(record: logging.LogRecord) -> bool:
    """Return whether the bar does not tell a line: warnings, and lines about no run's end."""
    return record.levelno > logging.INFO or not hasattr(record, "counted")


class _Left(ProgressColumn):
    """The time left."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> Text:
        """Return the time left as text."""
        left = self.progress.left
        return Text("" if left is None else f"about {duration(left)} left")


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(61), duration(600), duration(20000)
    ('61 s', '10 min', '5.6 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
