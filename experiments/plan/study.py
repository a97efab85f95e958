"""From a configuration to the runs of a study.

A **stress** is a set of knobs that differ from a dataset as it is; a **level** is a stress, and
training fields, at a point of an experiment; a **setting** is a point of the training grid; a
**RunSpec** is one model to train. Levels that have the same cell share their runs.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError
from experiments.layout import CONFIG, RECORD
from experiments.plan import dataset as datasets
from experiments.plan import levels, looks
from experiments.plan import training as grids
from experiments.plan.config import Config, Training
from experiments.plan.dataset import Dataset
from experiments.plan.knobs import Stress
from experiments.plan.labels import label_of
from experiments.plan.levels import Experiment, Level
from experiments.plan.losses import custom_modules, missing_references
from experiments.plan.reading import read
from experiments.plan.runs import Job, RunSpec, Workspace, cell_folder
from experiments.plan.seeds import fingerprint, shortened
from experiments.plan.training import Setting
from experiments.plan.values import LONGEST_FILE
from losses import LOSSES


class Study:
    """A checked configuration and everything that follows from it.

    config: as YAML or JSON gives it. folder: the study's folder, ``results/NAME`` by default;
    the setting `results` names another folder for ``results``.
    Raises ConfigError that lists every invalid setting.
    """

    def __init__(self, config: Mapping[str, Any], folder: str | None = None) -> None:
        self.config = dict(config)
        checked, problems = read(config)
        self.datasets: dict[str, Dataset] = {}
        self.experiments: dict[str, Experiment] = {}
        points = self._resolve(checked, problems)
        self.name, self.losses = checked.study, checked.losses
        self.adaptive = isinstance(checked.seeds, looks.Looks)
        self.looks = looks.by_look(checked.seeds)
        self.seeds = [seed for new in self.looks for seed in new]
        self.references = tuple(checked.reference)
        self.image_size, self.device = checked.image_size, checked.device
        self.mirror = checked.mirror
        self.job_per, self.runs_per_job = checked.job_per, checked.runs_per_job
        self.runs_per_gpu = checked.runs_per_gpu
        self.timeout, self.checkpoint = checked.timeout, checked.checkpoint
        self.keep = tuple(checked.keep)
        self.folder = folder or str(Path(checked.results, self.name).expanduser())
        self.rates = sorted(grids.rates(checked.training))
        labels, self.training = points[0]
        self._grid = list(labels)
        self._reference = labels | {
            f: label_of(getattr(self.training, f))
            for experiment in self.experiments.values()
            for f in levels.TRAINING
            if f in experiment.training_fields and f not in labels
        }
        self.settings = [self._setting(labels, training) for labels, training in points]

    def _resolve(
        self, checked: Config, problems: list[str]
    ) -> list[tuple[dict[str, str], Training]]:
        """Fill datasets and experiments and return the points of the training grid.

        ConfigError lists the given problems and those found here.
        """
        for name, value in (checked.datasets or {}).items():
            try:
                self.datasets[name] = datasets.resolve(name, value, checked.mirror)
            except ConfigError as error:
                problems += error.problems
        incomplete = len(self.datasets) < len(self.config.get("datasets") or ())
        for name, value in (checked.experiments or {}).items():
            if incomplete and isinstance(value.values, dict):
                continue  # its values are checked once every dataset is valid
            try:
                self.experiments[name] = levels.resolve(name, value, self.datasets)
            except ConfigError as error:
                problems += error.problems
        points = []
        try:
            points = grids.points(checked.training, checked.models)
        except ConfigError as error:
            problems += error.problems
        if checked.losses:
            problems += missing_references(checked.reference, checked.losses)
        if problems:
            raise ConfigError(problems)
        return points

    @classmethod
    def open(cls, folder: str | Path) -> "Study":
        """Return the study whose configuration a folder holds as ``config.json``."""
        path = Path(folder, CONFIG)
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such file; allowed: the folder of a study, results/NAME"
            )
        try:
            config = json.loads(path.read_text())
        except ValueError as error:
            raise ConfigError(f"{path}: cannot be read as JSON: {error}") from None
        if not isinstance(config, dict):
            raise ConfigError(f"{path}: {config!r} is not allowed; allowed: a configuration")
        return cls(config, str(folder).rstrip("/"))

    def file(self, name: str) -> Path:
        """Return a file of the study's folder; `experiments.layout` has the names."""
        return Path(self.folder, name)

    @property
    def warnings(self) -> list[str]:
        """Settings that are allowed and may not do the intended thing, each with the reason."""
        found = []
        if len(self.seeds) == 1:
            found.append("seeds: estimates only, no verdicts: one seed has no interval")
        if self.mirror and not any(map(self._is_mirrored, self.datasets.values())):
            found.append("mirror: no dataset of the study uses it")  # an address may hold a secret
        return found

    def _is_mirrored(self, dataset: Dataset) -> bool:
        if self.mirror_address:
            return dataset.fetched
        return dataset.folder == str(Path(self.mirror, dataset.source).expanduser())

    # Training settings

    @property
    def axes(self) -> list[str]:
        """Training fields that differ between runs, without the learning rate."""
        return list(self._reference)

    @property
    def key_columns(self) -> list[str]:
        """The columns that identify a run."""
        return list(self.possible[0].key)

    def _setting(self, labels: dict[str, str], training: Training) -> Setting:
        own = {f: label_of(getattr(training, f)) for f in self._reference if f not in labels}
        labels = {axis: (labels | own)[axis] for axis in self._reference}
        different = [f"{axis}-{v}" for axis, v in labels.items() if v != self._reference[axis]]
        label = grids.words({axis: labels[axis] for axis in self._grid})
        return Setting(training, labels, label, shortened("_".join(different), LONGEST_FILE))

    def settings_of(self, experiment: str) -> list[Setting]:
        """Return the grid for an experiment, without the axes that the experiment itself sets."""
        own = self.experiments[experiment].training_fields
        return [s for s in self.settings if all(s.labels[f] == self._reference[f] for f in own)]

    def at(self, level: Level, setting: Setting) -> Setting:
        """Return a setting with a level's training fields."""
        if not level.training:
            return setting
        labels = setting.labels | {f: label_of(v) for f, v in level.training.items()}
        return self._setting(labels, setting.training.model_copy(update=level.training))

    def where(self, dataset: str, level: Level, setting: Setting) -> dict[str, str]:
        """Return the columns and values that select a level's rows of the study's table."""
        labels = self.at(level, setting).labels
        return {"dataset": dataset, "stress": level.stress.name, **labels}

    @property
    def trainings(self) -> list[Training]:
        """The distinct training settings of the runs."""
        keys = {(run.setting.name, run.learning_rate): run.training for run in self.possible}
        return list(keys.values())

    # Data

    def data_folder(self, dataset: str, stress: str, seed: int) -> str:
        """Return the folder of the stressed dataset of a cell."""
        return self.workspace.data_folder(dataset, stress, seed)

    def cells(self, dataset: str, look: int | None = None) -> list[str]:
        """Return the stressed folders of a dataset, relative to the study's folder.

        look: those of the seeds that are new at this look only.
        """
        return [
            cell_folder(dataset, stress, seed)
            for stress in self.stresses(dataset)
            for seed in self.plan.seeds(dataset, stress, look=look)
        ]

    def stresses(self, dataset: str) -> dict[str, Stress]:
        """Return the stresses of a dataset by name, each once."""
        return {
            level.stress.name: level.stress
            for experiment in self.experiments.values()
            for level in experiment.levels[dataset]
        }

    def side(self, stress: Stress) -> int:
        """Return the side of the images of a stress in pixels."""
        return self.image_size * stress.mosaic

    @property
    def sides(self) -> list[int]:
        """The sides of all stressed images in pixels, in order."""
        stresses = [stress for name in self.datasets for stress in self.stresses(name).values()]
        return sorted(set(map(self.side, stresses)))

    def observers(self, dataset: str) -> list[str]:
        """Return the targets whose masks are training labels in some stress of a dataset."""
        stresses = self.stresses(dataset).values()
        return sorted({stress["observer"] for stress in stresses if "observer" in stress})

    @property
    def fetched(self) -> list[str]:
        """Names of the datasets that are fetched to ``data/``, each once."""
        return sorted({d.source for d in self.datasets.values() if d.fetched})

    @property
    def missing(self) -> list[str]:
        """Names of the datasets that are still to be fetched."""
        return sorted({d.source for d in self.datasets.values() if not d.on_disk})

    @property
    def mirror_address(self) -> str | None:
        """The mirror if it is an address, else None."""
        return self.mirror if datasets.is_url(self.mirror) else None

    @property
    def class_counts(self) -> list[tuple[int, bool]]:
        """The numbers of classes that models are built for, and whether the classes may overlap."""
        return sorted({(len(d.class_names), d.multilabel) for d in self.datasets.values()})

    @property
    def custom_modules(self) -> set[str]:
        """Modules of the custom losses."""
        return set().union(*map(custom_modules, self.losses.values()))

    @property
    def loss_modules(self) -> list[str]:
        """Modules of the suite's losses and of the custom ones."""
        suite = {entry.path.partition(":")[0] for entry in LOSSES.values()}
        return sorted(suite | self.custom_modules)

    # Runs

    @cached_property
    def runs(self) -> list[RunSpec]:
        """Every run that is planned so far, once; the losses of a cell follow each other."""
        return self.plan.runs

    @cached_property
    def plan(self) -> looks.Plan:
        """The runs that are planned so far, by look."""
        return looks.Plan(self.possible, self.looks, self.decisions)

    @cached_property
    def decisions(self) -> list[dict[str, Any]]:
        """The decisions of the looks so far; none if every run has the same seeds."""
        most = len(self.looks) if self.adaptive else 0
        return looks.decisions(self.folder, self.analysis_fingerprint, most)

    def runs_at(
        self, dataset: str, level: Level, setting: Setting, losses: Iterable[str]
    ) -> list[looks.Run]:
        """Return the runs of losses at a level, without seeds and learning rates."""
        name = self.at(level, setting).name
        return [(dataset, level.stress.name, name, loss) for loss in losses]

    @cached_property
    def possible(self) -> list[RunSpec]:
        """Every run that the study can have: all seeds of all looks."""
        runs = {}
        for dataset, settings in self.datasets.items():
            data = settings.description | {"image_size": self.image_size}
            for seed, (stress, setting) in product(self.seeds, self._cells(dataset)):
                for (loss, spec), rate in product(self.losses.items(), self.rates):
                    training = setting.training.model_copy(update={"learning_rate": rate})
                    run = RunSpec(dataset, stress, loss, spec, seed, training, data, setting)
                    if runs.setdefault(run.path, run).fingerprint != run.fingerprint:
                        raise ConfigError(
                            f"two runs have the folder {run.path!r}; allowed: training settings "
                            "with different labels (give them names under 'models')"
                        )
        return list(runs.values())

    def _cells(self, dataset: str) -> list[tuple[Stress, Setting]]:
        """Return the stresses and settings of a dataset's runs, each pair once."""
        cells = {}
        for name, experiment in self.experiments.items():
            for level in experiment.levels[dataset]:
                for setting in self.settings_of(name):
                    at = self.at(level, setting)
                    cells[level.stress.name, at.name] = level.stress, at
        return list(cells.values())

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """The runs by job: those of a dataset, or of one loss or seed of it (`job_per`).

        `runs_per_job` splits each of them further, in the order of the runs. The jobs of all looks
        are known from the start; decisions fill those after the first look.
        """
        groups: dict[tuple[str, str, int], list[RunSpec]] = {}
        for run in self.possible:
            parts = {"dataset": "", "loss": f"_{run.loss}", "seed": f"_seed-{run.seed}"}
            place = run.dataset, parts[self.job_per], self.plan.look[run.seed]
            groups.setdefault(place, []).append(run)
        planned, jobs = set(self.runs), {}
        for (dataset, part, look), runs in groups.items():
            size = self.runs_per_job or len(runs)
            for i in range(0, len(runs), size):
                number = f"_part-{i // size + 1}" if size < len(runs) else ""
                name = looks.named(shortened(f"{dataset}{part}{number}", LONGEST_FILE), look)
                possible = tuple(runs[i : i + size])
                own = tuple(run for run in possible if run in planned)
                job = Job(name, dataset, own, possible, look)
                if jobs.setdefault(job.name, job) is not job:
                    raise ConfigError(
                        f"two jobs have the name {job.name!r}; allowed: names of datasets and "
                        "losses that differ when they are joined by '_'"
                    )
        return jobs

    @cached_property
    def workspace(self) -> Workspace:
        """Where and how the study's runs are trained."""
        return Workspace(self.folder, self.device, self.keep, self.checkpoint, self.json)

    def run_folder(self, run: RunSpec) -> Path:
        """Return the folder of a run's files."""
        return self.workspace.run_folder(run)

    def record(self, run: RunSpec) -> str:
        """Return the path of a run's record."""
        return f"{self.folder}/{run.path}/{RECORD}"

    # Fingerprints: a step runs again when they change

    @property
    def json(self) -> str:
        """The configuration in its own order, which is the order of tables and figures."""
        return json.dumps(self.config, indent=1) + "\n"

    @property
    def check_fingerprint(self) -> str:
        """Fingerprint of the settings that are checked before training."""
        trainings = [training.model_dump() for training in self.trainings]
        return fingerprint([self.losses, trainings, self.device, self.class_counts, self.sides])

    @property
    def analysis_fingerprint(self) -> str:
        """Fingerprint of the settings that the analysis reads."""
        cells = [experiment.levels for experiment in self.experiments.values()]
        losses = list(self.losses), self.references
        names = list(self.experiments), losses, self.looks, self.rates
        return fingerprint([names, [s.label for s in self.settings], repr(cells)])

    def data_fingerprint(self, dataset: str) -> str:
        """Fingerprint of the settings and input files that a stressed dataset is made from."""
        settings = self.datasets[dataset]
        return fingerprint(
            [repr(settings), self.image_size, settings.signature(self.observers(dataset))]
        )
