"""The terminal of a call: which of Snakemake's lines it shows, and the last lines.

The steps report their own errors. So of Snakemake's lines, only warnings and other errors are
shown. Its own log file, in ``.snakemake/log``, has all of them.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.layout import few
from experiments.origin import archive

if TYPE_CHECKING:
    from experiments.plan.stamps import Stamps

NOTHING = "Nothing to be done"
"""Start of Snakemake's line about a call without jobs. Such a call has no other end."""
FAILED_STEP = re.compile(r"python -m (experiments|analysis) .* exit status 1\.")
"""Snakemake's error about a step that failed, and reported its error."""
FAILED_CALL = ("Exiting because a job execution failed", "At least one job did not complete")
"""Starts of Snakemake's errors about a call in which a step failed."""
MARK = " dicebench: "
"""Text before an error in the log of a step."""
REPORT = {"all": "report", "drop": "report", "card": "report"}
"""Target -> the step whose file is the result, where it is another one."""


class Terminal(logging.Filter):
    """A filter of Snakemake's lines, and the last lines of a call.

    stamps: those of all steps. started: whether jobs may run. here: whether they run on this
    machine, so that they show their own lines. stopped: whether a signal ended the call, so that
    nothing more is shown.
    """

    def __init__(self, stamps: Stamps) -> None:
        super().__init__()
        self.stamps, self.started, self.here, self.stopped = stamps, False, True, False

    def attach(self, logger: logging.Logger) -> None:
        """Filter the lines of Snakemake's logger that go to the terminal; not for a dry run."""
        for handler in logger.handlers:
            dry = any(getattr(other, "dryrun", False) for other in handler.filters)
            if handler.name == "DefaultStreamHandler" and not dry:
                handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is shown."""
        text = str(record.msg)
        if text.startswith(NOTHING) and not self.started:
            record.msg = "\n".join([text, *self.result(["all"])])
            return True
        if self.stopped:
            return False
        if record.levelno < logging.WARNING:
            return not self.here if self.started else not getattr(record, "event", None)
        failed = FAILED_STEP.search(text) or any(words in text for words in FAILED_CALL)
        return not (self.started and failed)

    def succeed(self, targets: Iterable[str]) -> None:
        """Print the runs that failed, and the result of a call as the last line."""
        if failed := [run for stamp in self.stamps.train.values() for run in stamp.again()]:
            print(
                f"dicebench: {len(failed)} run{'s' * (len(failed) > 1)} failed: {few(failed)}; the "
                "same command tries again",
                file=sys.stderr,
            )
        targets = list(targets)
        ends = self.result(targets) or [f"dicebench: done: {few(targets)}"]
        print(*ends, sep="\n", file=sys.stderr)

    def result(self, targets: Iterable[str]) -> list[str]:
        """Return a line with the path of the result of a call; no line if it has none."""
        steps = dict.fromkeys(REPORT.get(target, target) for target in targets)
        stamps = [(step, stamp) for step in steps for stamp in self.stamps.of(step)]
        made = [(step, s.made[0]) for step, s in stamps if s.made and s.path.exists()]
        made += [(step, archive.path(self.stamps.study)) for step in steps if step == "archive"]
        return [f"dicebench: {step}: {path.absolute()}" for step, path in made[-1:]]

    def fail(self, jobs: Iterable[Any]) -> None:
        """Print the steps that failed and their logs as the last line.

        jobs: those of Snakemake. The errors of jobs on other machines are read from their logs.
        """
        if self.stopped:
            return
        steps = {}
        for job in jobs:
            for part in getattr(job, "jobs", [job]):
                steps[part.rule.name] = Path(*part.log[:1]).absolute()
        for path in () if self.here else steps.values():
            for line in _errors(path):
                print(line, file=sys.stderr)
        words = (f"{name} (log: {path})" for name, path in steps.items())
        text = few(words) or "a step"
        print(f"dicebench: failed: {text}", file=sys.stderr)


def _errors(log: Path) -> list[str]:
    """Return the errors in a step's log, without the times."""
    try:
        lines = log.read_text().splitlines()
    except OSError:
        return []
    return [line[line.index(MARK) + 1 :] for line in lines if MARK in line]
