"""Stamps: Snakemake's knowledge of the steps that are done.

A step writes its stamp last: ``done/STEP-HASH.json`` in the study's folder. HASH is a fingerprint
of the settings, code, package versions and input files of the step. If one of them changes, the
name changes. So neither file times nor Snakemake's memory can make a step count as done.

A stamp holds fingerprints of the step's files, the hashes of the stamps that the step
depends on, and the runs that are to be tried again. It is void if any of these changed.
`Stamps.sweep` removes void stamps, at the start of a call.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import layout
from experiments.errors import ConfigError
from experiments.files import file_sha256, sha256, write_whole
from experiments.plan import looks, versions
from experiments.plan.seeds import fingerprint
from experiments.plan.sources import closure, libraries
from experiments.steps import STEPS

if TYPE_CHECKING:
    from experiments.plan.study import Study


READS_LOSSES = ("check", "train", "mechanism")
"""Steps whose code includes that of the losses."""


@dataclass(frozen=True)
class Stamp:
    """The stamp of a step.

    made: files and folders that the step makes. after: stamps of the steps that it depends on.
    """

    path: Path
    made: tuple[Path, ...]
    after: tuple[Stamp, ...]

    @property
    def inputs(self) -> list[str]:
        """The paths of the stamps of the steps that it depends on."""
        return [str(stamp.path) for stamp in self.after]

    def write(self, after: dict[str, str | None], again: Iterable[str] = ()) -> None:
        """Write the stamp, and remove the stamps of other hashes.

        after: `upstream` before the step began. again: runs that the next call tries again.
        """
        content = {
            "files": {self._name(path): signature(path) for path in self.made},
            "after": after,
            "again": list(again),
        }
        self.remove()
        write_whole(self.path, json.dumps(content, indent=0) + "\n")

    def _name(self, path: Path) -> str:
        """Return a path relative to the study's folder."""
        return os.path.relpath(path, self.path.parents[1])

    def upstream(self) -> dict[str, str | None]:
        """Return the hashes of the stamps that it depends on; None for a missing one."""
        return {stamp.path.name: _hash(stamp.path) for stamp in self.after}

    def remove(self) -> None:
        """Remove the step's stamps of any hash."""
        stem = self.path.stem.rpartition("-")[0]
        for path in self.path.parent.glob(f"{stem}-*.json"):
            if path.stem.rpartition("-")[0] == stem:
                path.unlink(missing_ok=True)

    def again(self) -> list[str]:
        """Return the runs that failed and are tried again; none if there is no stamp."""
        try:
            return json.loads(self.path.read_text())["again"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def void(self) -> str | None:
        """Return the reason why the stamp does not count, or None if it does.

        The stamps that it depends on are not examined further.
        """
        try:
            content = json.loads(self.path.read_text())
            files, after, again = content["files"], content["after"], content["again"]
        except FileNotFoundError:
            return "not done with the present settings, code, data and versions"
        except (ValueError, KeyError, TypeError):
            return f"{self.path} is damaged"
        if again:
            return f"{len(again)} runs failed and are tried again"
        if after != self.upstream() or None in after.values():
            return "a step that it depends on ran again, or is not done"
        if files.keys() != {self._name(path) for path in self.made}:
            return "its list of files changed"
        changed = [
            path
            for path in self.made
            if (now := signature(path)) is None
            or (files[self._name(path)] != now and not is_dropped(path))
        ]
        return f"{changed[0]} changed or is missing" if changed else None


def signature(path: Path) -> str | None:
    """Return a fingerprint of a file's content, or of the sizes and times of a folder's files.

    Hidden files are ignored. None if there is no such path.
    """
    if not path.is_dir():
        return _hash(path)
    entries = list(_entries(path))
    text = ";".join(sorted(f"{name}:{s.st_size}:{s.st_mtime_ns}" for name, s in entries))
    return sha256(text)[:16]


def _entries(folder: Path | str, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _entries(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry.stat()


def is_dropped(folder: Path) -> bool:
    """Return whether the images of a stressed folder were dropped; its description stays."""
    try:
        return json.loads((folder / layout.DESCRIPTION).read_text()).get("dropped", False)
    except (OSError, ValueError, AttributeError):
        return False


def _hash(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except FileNotFoundError:
        return None


def code_hash(*modules: str) -> str:
    """Return a fingerprint of the content of the project's files that modules import."""
    return fingerprint({name: _code_sha256(path) for name, path in closure(*modules).items()})


_code_sha256 = cache(file_sha256)


class Stamps:
    """The stamps of the steps from a configuration to the study's table.

    `analysis.stamps` adds those of the analysis.
    """

    package = "experiments"
    steps = STEPS

    def __init__(self, study: Study) -> None:
        self.study = study

    def all(self) -> list[Stamp]:
        """Return every stamp; a stamp follows those that it depends on."""
        fetched = [self.terms, *self.fetch.values()] if self.study.fetched else []
        prepared, trained = self.prepare.values(), self.train.values()
        dropped = [] if "data" in self.study.keep else [self.drop]
        single = self.mechanism, self.collect, self.controls
        return [self.check, *fetched, *prepared, *trained, *single, *dropped]

    def of(self, step: str, name: str | None = None) -> list[Stamp]:
        """Return the stamps of a step; name: of one dataset or job, for steps that have many."""
        stamps = getattr(self, step, [])
        if isinstance(stamps, dict):
            stamps = [stamp for key, stamp in stamps.items() if name in (None, key)]
        return [stamps] if isinstance(stamps, Stamp) else stamps

    def gate(self, stamp: Stamp) -> list[str]:
        """Return the stamp of the check if a step is still to be done: the check comes first.

        The step does not depend on it: after another check it is still done.
        """
        return [] if stamp.path.exists() else [str(self.check.path)]

    def refuse_files(self, words: Iterable[str]) -> None:
        """Raise ConfigError if a word of the command line is a file that a step makes.

        Snakemake would take an existing file as done, whatever it was made with.
        """
        folder = Path(os.path.abspath(self.study.folder))
        for word in words:
            path = Path(os.path.abspath(word))
            if folder not in (path, *path.parents) or path == folder / layout.CONFIG:
                continue
            made = [s for s in self.all() if {*map(Path.absolute, s.made)} & {path, *path.parents}]
            step = made[0].path.stem.partition("-")[0] if made else "report"
            raise ConfigError(
                f"target: {word!r} is not allowed; allowed: names of steps, such as {step!r}"
            )

    def sweep(self) -> None:
        """Remove the stamps that are void, so that Snakemake runs their steps again.

        A dataset whose stressed images were dropped is prepared again if a step needs them.
        """
        stamps = self.all()
        for stamp in stamps:
            if not stamp.path.exists():
                continue
            if stamp.void():
                stamp.path.unlink(missing_ok=True)
            elif stamp.path.stat().st_mtime > time.time():
                os.utime(stamp.path)  # Snakemake refuses an output that is older than its input
        prepared = set(self.prepare.values())
        needed = {
            before
            for stamp in stamps
            if not stamp.path.exists()
            for before in prepared.intersection(stamp.after)
            if before.path.exists() and any(map(is_dropped, before.made))
        }
        for stamp in needed:
            stamp.path.unlink(missing_ok=True)

    def _stamp(
        self,
        step: str,
        settings: Any,
        made: Sequence[str | Path],
        after: Iterable[Stamp] = (),
        name: str = "",
    ) -> Stamp:
        """Return a stamp; made: names are relative to the study's folder, paths are as they are."""
        study, after = self.study, tuple(after)
        upstream = [stamp.path.name for stamp in after]
        digest = fingerprint([settings, self.code(step), upstream])[:16]
        path = study.file(layout.DONE) / f"{step}{'-' * bool(name)}{name}-{digest}.json"
        files = [file if isinstance(file, Path) else study.file(file) for file in made]
        return Stamp(path, tuple(files), after)

    def code(self, step: str) -> str:
        """Return a fingerprint of a step's code and of the versions of all packages."""
        module = self.steps[step].partition(":")[0]
        custom = self.study.custom_modules if step in READS_LOSSES else set()
        custom = custom | libraries(*custom)
        suite = self.study.loss_modules if step in READS_LOSSES else []
        return fingerprint(
            [
                code_hash(f"{self.package}.__main__", module, *suite),
                versions.versions(*versions.PACKAGES) | versions.distributions(custom),
            ]
        )

    @cached_property
    def check(self) -> Stamp:
        """The check of everything that a study names."""
        return self._stamp("check", self.study.check_fingerprint, [layout.CHECKED])

    @cached_property
    def terms(self) -> Stamp:
        """The licences of all datasets that are fetched: they are printed first."""
        return self._stamp("terms", self.study.fetched, [])

    @cached_property
    def fetch(self) -> dict[str, Stamp]:
        """The datasets that are fetched, by source."""
        return {
            source: self._stamp(
                "fetch",
                self.study.mirror_address,
                [Path("data", source, layout.DESCRIPTION)],
                [self.terms],
                source,
            )
            for source in self.study.fetched
        }

    @cached_property
    def prepare(self) -> dict[str, Stamp]:
        """The stressed folders, by dataset and look."""
        study = self.study
        return {
            looks.named(name, look): self._stamp(
                "prepare",
                study.data_fingerprint(name),
                study.cells(name, look),
                [*([self.fetch[dataset.source]] if dataset.fetched else []), *self._chosen(look)],
                looks.named(name, look),
            )
            for look in range(1, len(study.looks) + 1)
            for name, dataset in study.datasets.items()
        }

    def _chosen(self, look: int) -> list[Stamp]:
        """Return the decision that chooses the runs of a look, as a stamp; none chooses the first.

        What the look makes is known only after the decision. So its stamp is void after any other.
        """
        return [Stamp(self.study.file(looks.file(look - 1)), (), ())] if look > 1 else []

    @cached_property
    def train(self) -> dict[str, Stamp]:
        """The runs, by job."""
        keep = [word for word in self.study.keep if word != "data"]
        return {
            name: self._stamp(
                "train",
                [job.fingerprint, keep, self.study.device],
                [run.path for run in job.runs],
                [
                    self.check,
                    self.prepare[looks.named(job.dataset, job.look)],
                    *self._chosen(job.look),
                ],
                name,
            )
            for name, job in self.study.jobs.items()
        }

    @cached_property
    def mechanism(self) -> Stamp:
        """The measures of losses without training."""
        made = [layout.MECHANISM, layout.MAPS]
        return self._stamp("mechanism", self.study.check_fingerprint, made, [self.check])

    @cached_property
    def collect(self) -> Stamp:
        """The study's table."""
        made = [layout.RUNS, layout.RECORDS, layout.IMAGE_SOURCES, layout.SOURCES_FILE]
        return self._stamp("collect", self.study.key_columns, made, self.train.values())

    @cached_property
    def controls(self) -> Stamp:
        """The predictions that no model made."""
        made, after = [layout.CONTROLS], self.prepare.values()
        return self._stamp("controls", self.study.key_columns, made, after)

    @cached_property
    def drop(self) -> Stamp:
        """The stressed folders without their images, after a finished study."""
        made = [cell for dataset in self.study.datasets for cell in self.study.cells(dataset)]
        return self._stamp("drop", self.study.keep, made)
