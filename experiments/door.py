"""The command line of a package: ``python -m PACKAGE STEP FOLDER [NAME]``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import ConfigError
from experiments.files import disk_advice, is_disk_error
from experiments.layout import CONFIG
from experiments.locks import Busy
from experiments.runs.forking import watch_driver

if TYPE_CHECKING:
    from experiments.plan.stamps import Stamps
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

NAMES_A_PART = ("figures",)
"""Steps that a name restricts to a part of their files."""


def step_function(path: str) -> Callable[..., None]:
    """Return the function of a step, given as ``module`` (its `run`) or ``module:function``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name or "run")


def main(
    package: str,
    steps: Mapping[str, str],
    open_folder: Callable[[str], Any],
    stamps: Callable[[Study], Stamps],
) -> None:
    """Run one step on the folder of a study, which holds its ``config.json``.

    steps: name -> module of the step. open_folder: returns the step's first argument. stamps: those
    of the package; a finished step writes its own. A step logs to the terminal and to
    ``FOLDER/logs/STEP.log`` (``FOLDER/logs/STEP/NAME.log``). An invalid setting ends in one line
    and exit status 1.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}")
    parser.add_argument("step", choices=steps)
    parser.add_argument("folder", help="of a study: results/NAME")
    parser.add_argument(
        "name", nargs="?", help="of a dataset, job, figure or other study, for some steps"
    )
    parser.add_argument("--jobs", type=_count, help="number of runs at a time, for `train`")
    args = parser.parse_args()
    step = step_function(steps[args.step])
    options = {k: v for k in ("name", "jobs") if (v := getattr(args, k)) is not None}
    for option in options:
        if option not in inspect.signature(step).parameters:
            parser.error(f"the step {args.step} takes no {option}")
    known = Path(args.folder, CONFIG).is_file()
    part = (args.name or "").strip("/").replace("/", "-")
    path = Path(args.folder, "logs", f"{args.step}/{part}.log" if part else f"{args.step}.log")
    watch_driver()
    with errors_in_one_line(f"the step {args.step}"):
        log_to(path if known else None)
        subject = open_folder(args.folder)
        done = stamps(getattr(subject, "study", subject)).of(args.step, args.name)
        if args.name and args.step in NAMES_A_PART:  # a part changes no step that is not done
            done = [stamp for stamp in done if stamp.void() is None]
        else:
            for stamp in done:
                stamp.remove()
        before = [stamp.upstream() for stamp in done]
        again = step(subject, **options)
        for stamp, after in zip(done, before, strict=True):
            stamp.write(after, again or ())


def _count(word: str) -> int:
    if (number := int(word)) < 1:
        raise ValueError
    return number


def download(words: list[str]) -> None:
    """Fetch public datasets by name, without a study: ``python -m experiments download NAME``."""
    parser = argparse.ArgumentParser(prog="python -m experiments download")
    parser.add_argument("name", nargs="+", help="of a dataset")
    parser.add_argument("--mirror", help="address that holds NAME.zip")
    parser.add_argument("--root", default="data", help="folder of the datasets")
    args = parser.parse_args(words)
    log_to(None)
    with errors_in_one_line("the download"):
        if args.mirror and "://" not in args.mirror:
            raise ConfigError(f"--mirror: {args.mirror!r} is not allowed; allowed: an address")
        step_function("experiments.data.fetch:download")(args.name, args.mirror, args.root)


@contextlib.contextmanager
def errors_in_one_line(work: str) -> Iterator[None]:
    """Exit with status 1 after an error: one line if the user can mend it, else the traceback.

    After Ctrl-C, exit with status 130 without a line: a step's driver prints one.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except (ValueError, Busy) as error:
        for problem in getattr(error, "problems", [error]):
            log.error("dicebench: %s", problem)
        raise SystemExit(1) from None
    except Exception as error:
        if is_disk_error(error):
            log.error("%s", disk_advice(error))
        else:
            log.exception("dicebench: %s failed", work)
        raise SystemExit(1) from None


def log_to(path: Path | None) -> None:
    """Log to the terminal and, if given, to a file."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, "w"))
    logging.raiseExceptions = False  # on a full disk: no traceback for each line of the log
    log.setLevel(logging.INFO)  # and libraries keep to their warnings
    logging.basicConfig(
        level=logging.WARNING,
        handlers=handlers,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.captureWarnings(True)
