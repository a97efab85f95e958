"""A loss added to a finished study, for `snakemake card --config loss=my_module:MyLoss`.

The loss gets a study of its own, ``STUDY-my_loss``, which takes over the finished runs, data and
steps of the other study. So that study keeps its report, its references and its families of
verdicts, and each added loss keeps its card. Files are hard links, or copies on another disk: every
file of a study is replaced as a whole, never changed, so a link is safe.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import locks
from experiments.errors import ConfigError
from experiments.files import whole_folder, write_whole
from experiments.layout import DONE, DRIVER_LOCK, RECORD, REPORT, SWEEP_LOCK
from experiments.plan.config import Training
from experiments.plan.study import Study
from losses import LOSSES

if TYPE_CHECKING:
    from experiments.plan.stamps import Stamps

ADDED = "card.json"
"""File of the study of an added loss: `name`, `study` (the other one), `left_out` experiments."""
COMPARED = ("cross_entropy", "dice")
"""Losses of the study that an added loss is compared with, besides its references."""
WORDS = {"true": True, "false": False, "null": None}
"""Values that a command line gives as texts."""
ALLOWED = (
    "allowed: my_module:MyLoss, a loss of the suite, or either with options, such as "
    """'{"use": "my_module:MyLoss", "option": 1}'"""
)


def with_loss(base: Study, value: Any) -> tuple[Study, str]:
    """Return the study of a loss that is added to another study, and the name of the loss.

    value: as ``--config loss=...`` gives it. Experiments that set training fields, such as the
    number of steps, are left out: they repeat a stress, and the card has to be ready in minutes.
    ConfigError if the value names no loss, or the other study has the loss.
    """
    name, spec = named(value)
    if name in base.losses:
        raise ConfigError(
            f"loss: {name!r} is a loss of the study {base.name!r}; its card is {link(base, name)}"
        )
    references = [*base.references, *(loss for loss in COMPARED if loss in base.losses)]
    experiments = dict(base.config["experiments"])
    for left_out in without(base):
        del experiments[left_out]
    config = base.config | {
        "study": f"{base.name}-{name}",
        "losses": {**base.config["losses"], name: spec},
        "reference": list(dict.fromkeys(references)),
        "experiments": experiments,
    }
    return Study(config), name


def without(base: Study) -> list[str]:
    """Return the experiments that the study of an added loss leaves out; never all of them."""
    found = [n for n, one in base.experiments.items() if one.knob in Training.model_fields]
    return found if len(found) < len(base.experiments) else []


def named(value: Any) -> tuple[str, dict[str, Any]]:
    """Return name and specification of a loss.

    The name is that of the class or function in lower case, with underscores.

    >>> named("my_module:MyDice2Loss")
    ('my_dice2_loss', {'use': 'my_module:MyDice2Loss'})
    >>> named({"use": "focal", "gamma": "1"})
    ('focal', {'use': 'focal', 'gamma': '1'})
    """
    spec = {"use": value} if isinstance(value, str) else value
    use = spec.get("use") if isinstance(spec, Mapping) else None
    if not isinstance(use, str):
        raise ConfigError(f"loss: {value!r} is not allowed; {ALLOWED}")
    last = use.rpartition(":")[2]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", last).lower()
    if use != name and name in LOSSES:
        name = f"my_{name}"
    options = {k: WORDS.get(v, v) if isinstance(v, str) else v for k, v in spec.items()}
    return name, options


def link(study: Study, name: str) -> str:
    """Return the address of a loss's card."""
    return f"{study.file(REPORT).absolute()}#loss-{name}"


def adopt(base: Study, study: Study, stamps: Stamps, name: str) -> None:
    """Take over what another study has finished, unless another process runs the study.

    stamps: of the study. name: of the added loss.
    """
    study.file(DONE).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(locks.Busy), contextlib.ExitStack() as held:
        held.enter_context(locks.lock(study.file(SWEEP_LOCK), wait=True))
        held.enter_context(locks.lock(study.file(DRIVER_LOCK)))
        about = {"name": name, "study": base.name, "left_out": without(base)}
        write_whole(study.file(ADDED), json.dumps(about) + "\n")
        for stamp in stamps.all():
            _adopt_step(base, study, stamp.path, stamp.made)
        runs = [run.path for run in study.runs if run.loss != name]
        for path in runs:
            if _written(base.file(path)) > _written(study.file(path)):
                _link(base.file(path), study.file(path))
        if missing := sum(not _written(study.file(path)) for path in runs):
            print(
                f"dicebench: warning: {missing} of {len(runs)} runs are not in {base.folder}; they "
                f"are trained in {study.folder}",
                file=sys.stderr,
            )


def _adopt_step(base: Study, study: Study, stamp: Path, made: tuple[Path, ...]) -> None:
    """Take over a step with the same settings, code, versions and inputs: its files and stamp."""
    source = base.file(DONE) / stamp.name
    own = [path.relative_to(study.folder) for path in made if path.is_relative_to(study.folder)]
    if stamp.exists() or not source.is_file() or not all(base.file(p).exists() for p in own):
        return
    for path in own:
        _link(base.file(path), study.file(path))
    shutil.copy2(source, stamp)


def _written(folder: Path) -> str:
    """Return the time of a run's record; empty if there is none."""
    try:
        return json.loads((folder / RECORD).read_text())["written"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _link(source: Path, target: Path) -> None:
    """Make `target` a file or folder with the files of `source`, except hidden ones."""
    if source.is_dir():
        with whole_folder(target) as part:
            shutil.copytree(
                source,
                part,
                ignore=shutil.ignore_patterns(".*"),
                copy_function=_link_file,
                dirs_exist_ok=True,
            )
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
