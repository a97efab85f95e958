"""From a configuration to the runs that it asks for. Standard library only.

A **stress** is a set of knobs that differ from a dataset as it is; a **level** is a stress with
its place on an experiment's axis; a **RunSpec** is one model to be trained. Levels of different
experiments that come to the same stress share their runs.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from experiments import config as check
from experiments.config import ConfigError
from experiments.datasets import DATASETS
from losses import LOSSES, nearest

KNOBS = {
    "size": ("large", "objects: large; small; mixed (both); the foreground fraction is held"),
    "fraction": (None, "share of foreground pixels; null: round objects; natural: anywhere"),
    "absence": (0.0, "share of images without any foreground"),
    "left_out": (0.0, "share of objects that are neither learned nor counted, of any image"),
    "rough": (0.0, "generated objects' outlines: sd of fine waves, as a share of the radius"),
    "overlap": (0.0, "share of generated objects that are laid across another one"),
    "blur": (0.0, "sigma in pixels of a Gaussian blur of every image"),
    "image_noise": (0.0, "sd of the noise added to every image; white is 1"),
    "observer": (None, "target whose masks are the training labels; null is the dataset's own"),
    "missed": (0.0, "share of true objects that the training labels lack"),
    "invented": (0.0, "false objects in the training labels, per true one"),
    "overdraw": (0.0, "pixels by which training labels are drawn too large (< 0: too small)"),
    "shift": (0.0, "pixels by which a training mask as a whole is moved, in any direction"),
    "jitter": (0.0, "sd in pixels of the displacement of the training labels' boundary"),
    "flips": (0.0, "share of training labels' pixels that are flipped"),
    "flips_background": (0.0, "share of training labels' background that is called foreground"),
    "flips_foreground": (0.0, "share of training labels' foreground that is called background"),
}
"""Knob -> (value that leaves a dataset as it is, meaning)."""

GENERATED_ONLY = ("rough", "overlap")
LABEL_KNOBS = {
    "observer",
    "missed",
    "invented",
    "overdraw",
    "shift",
    "jitter",
    "flips",
    "flips_background",
    "flips_foreground",
}
"""The knobs that change training labels."""
RANGES = {
    "fraction": {"low": 0, "high": 0.5, "above": True},
    "absence": {"low": 0, "high": 1, "below": True},
    "left_out": {"low": 0, "high": 1, "below": True},
    "rough": {"low": 0, "high": 0.5},
    "overlap": {"low": 0, "high": 1},
    "blur": {"low": 0},
    "image_noise": {"low": 0, "high": 1},
    "missed": {"low": 0, "high": 1, "below": True},
    "invented": {"low": 0},
    "overdraw": {"low": -32, "high": 32},
    "shift": {"low": 0},
    "jitter": {"low": 0},
    "flips": {"low": 0, "high": 0.5, "below": True},
    "flips_background": {"low": 0, "high": 1, "below": True},
    "flips_foreground": {"low": 0, "high": 1, "below": True},
}
"""What a knob that is a number may be."""

NATURAL = "natural"
"""The fraction of windows that lie anywhere in an image: what the dataset's images have."""
SIZES = ("large", "small", "mixed")
SPLITS = ("train", "val", "test")
DEVICES = ("auto", "cpu", "cuda")
GROUPS = ("dataset", "loss", "seed")
CONTROLLED = "controlled"
FOREGROUND = "foreground"
"""What the one class of a dataset is called whose configuration names none."""
CONTROLLED_FRACTION = 0.06
OUTPUTS = ("runs.csv", "stresses.csv", "verdicts.csv", "report.html")


def fingerprint(value):
    """The first 16 digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stable_seed(*parts):
    """A 63-bit seed that depends on its parts alone, on every machine and in every process."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Training:
    """How every model of a study is trained: the same for each loss."""

    steps: int = 200
    batch_size: int = 4
    learning_rate: float = 1e-3
    architecture: str = "Unet"
    encoder: str = "tu-test_resnet"
    encoder_weights: str | None = None
    model_options: str = "{}"
    augment: bool = True
    mixed_precision: bool = False

    @classmethod
    def read(cls, value):
        place = "training"
        value = dict(value)
        for key in ("steps", "batch_size"):
            if key in value:
                check.number(value[key], f"{place}.{key}", 1, whole=True)
        if "learning_rate" in value:
            check.number(value["learning_rate"], f"{place}.learning_rate", 0, above=True)
        for key in ("architecture", "encoder"):
            if key in value:
                check.text(value[key], f"{place}.{key}")
        if value.get("encoder_weights") is not None:
            check.text(value["encoder_weights"], f"{place}.encoder_weights")
        for key in ("augment", "mixed_precision"):
            if key in value:
                check.choice(value[key], f"{place}.{key}", (True, False))
        options = check.mapping(value.get("model_options", {}), f"{place}.model_options")
        value["model_options"] = json.dumps(options, sort_keys=True)
        return cls(**value)


LABELS = "labels"
"""The folder of class ids in the prepared layout; in a stressed one, of those that are learned."""
INSTANCES = "instances"
"""The folder of object ids in the prepared layout."""
IDS = (INSTANCES, LABELS)
"""Folders of images that hold ids, 0 for none, where others hold 0 and 255."""
MASKS, CLEAN, IGNORED = "masks", "masks_clean", "ignored"
"""Folders of a stressed dataset: training labels, the true ones, what does not count."""


def masks_of(target):
    """The folder of a target's masks in the prepared layout; MASKS is the first one's."""
    return f"{MASKS}_{target}" if target and target != MASKS else MASKS


@dataclass(frozen=True)
class Dataset:
    """A dataset of a study: controlled images made by the suite, or a prepared folder.

    target: whose masks are the foreground; classes: what is learned instead, each a name with its
    class ids in ``labels/`` or with a target, which lies on those before it; ignore: the id whose
    pixels are neither learned from nor counted.
    """

    name: str
    source: str
    folder: str | None = None
    target: str | None = None
    classes: tuple = ()
    ignore: int | None = None
    train: int = 96
    val: int = 32
    test: int = 64
    fetched: bool = False

    @property
    def controlled(self):
        return self.source == CONTROLLED

    @property
    def class_names(self):
        """What a model of this dataset tells from background, and from each other."""
        return tuple(name for name, _ in self.classes) or (FOREGROUND,)

    @property
    def masks(self):
        """The folder of what is foreground, or of the first class."""
        return self.layers[0]

    @property
    def layers(self):
        """The folders of all that is learned."""
        told = [what for _, what in self.classes] or [self.target]
        return [LABELS if isinstance(what, tuple) else masks_of(what) for what in told]

    @property
    def has_instances(self):
        """Whether objects that touch are told apart: ids belong to the masks without a target."""
        folder = Path(self.folder or "", INSTANCES)
        told = self.controlled or self.classes or self.masks != MASKS
        return not told and folder.is_dir()

    @classmethod
    def read(cls, name, value, mirror):
        place = f"datasets.{name}"
        check.name(name, place)
        value = check.mapping(
            {} if value is None else value,
            place,
            ("source", "folder", "target", "classes", "ignore", *SPLITS),
        )
        for split in SPLITS:
            if split in value:
                check.number(value[split], f"{place}.{split}", 1, whole=True)
        for key in ("source", "folder", "target"):
            if value.get(key) is not None:
                check.text(value[key], f"{place}.{key}")
        source = value.get("source", name)
        classes = cls._classes(value["classes"], f"{place}.classes") if "classes" in value else ()
        value = value | {"source": source, "classes": classes}
        dataset = cls(name, **value)
        if dataset.controlled:
            for key in ("folder", "target", "classes", "ignore"):
                if value.get(key) not in (None, ()):
                    check.refuse(f"{place}.{key}", value[key], "nothing, for controlled images")
            return dataset
        if not dataset.folder:
            folder, fetched = check.located(source, mirror, place)
            dataset = replace(dataset, folder=folder, fetched=fetched)
        if not classes:
            dataset.check_target(dataset.target, f"{place}.target" if dataset.target else place)
        elif dataset.target:
            check.refuse(f"{place}.target", dataset.target, "nothing beside 'classes'")
        for _, what in classes:
            if isinstance(what, str):
                dataset.check_target(what, f"{place}.classes")
            elif dataset.at_hand:
                check.prepared_folder(Path(dataset.folder), LABELS, f"{place}.classes")
        if dataset.ignore is not None:
            check.number(dataset.ignore, f"{place}.ignore", 0, 255, whole=True)
            if dataset.at_hand:
                check.prepared_folder(Path(dataset.folder), LABELS, f"{place}.ignore")
        return dataset

    @staticmethod
    def _classes(value, place):
        """((name, class ids or target), ...) of a mapping, or of a list of ids: one class."""
        named = isinstance(value, dict)
        if named and not value:
            check.refuse(place, value, "class ids, or names with an id, ids or a target each")
        classes, taken = {}, set()
        for name, what in (value if named else {FOREGROUND: value}).items():
            where = f"{place}.{check.name(name, place)}" if named else place
            if named and isinstance(what, str):
                own = {what}
            else:
                what = [what] if named and isinstance(what, int) else check.unique(what, where)
                what = tuple(check.number(v, where, 0, 255, whole=True) for v in what)
                own = set(what)
            if taken & own:
                check.refuse(where, value[name], "what no other class has")
            taken |= own
            classes[name] = what
        return tuple(classes.items())

    @property
    def at_hand(self):
        """Whether its images are there already."""
        return not self.fetched or os.path.exists(f"{self.folder}/dataset.json")

    def check_target(self, target, place):
        """Refuse a target that the dataset, as far as it is at hand or known, does not have."""
        if self.controlled:
            check.refuse(place, target, "nothing, for controlled images")
        if self.at_hand:
            check.prepared_folder(Path(self.folder), masks_of(target), place)
        elif target and target != MASKS and self.source in DATASETS:
            check.choice(target, place, DATASETS[self.source] or ("no target",))


def read_stress(knobs, place, dataset):
    """The knobs that differ from the dataset as it is, sorted: ((knob, value), ...)."""
    check.mapping(knobs, place, KNOBS)
    for knob, value in knobs.items():
        if knob == "size":
            check.choice(value, f"{place}.size", SIZES)
        elif knob == "observer":
            if value is not None:
                dataset.check_target(value, f"{place}.observer")
        elif knob == "fraction" and (
            value is None or (value == NATURAL and not dataset.controlled)
        ):
            continue
        else:
            check.number(value, f"{place}.{knob}", **RANGES[knob])
    own = {knob: neutral for knob, (neutral, _) in KNOBS.items()}
    if dataset.controlled:
        own["fraction"] = CONTROLLED_FRACTION
    own["observer"] = dataset.target
    stress = tuple(sorted((k, v) for k, v in knobs.items() if v is not None and v != own[k]))
    turned = dict(stress)
    for knob in GENERATED_ONLY:
        if knob in turned and not dataset.controlled:
            check.refuse(f"{place}.{knob}", turned[knob], "0 for a dataset's images")
    if len(dataset.class_names) > 1:
        for knob in sorted(LABEL_KNOBS & set(turned)):
            check.refuse(f"{place}.{knob}", turned[knob], "nothing, for labels of several classes")
    for knob in ("flips_background", "flips_foreground"):
        if knob in turned and "flips" in turned:
            check.refuse(f"{place}.{knob}", turned[knob], "0 beside 'flips', which flips both")
    return stress


def stress_name(stress):
    """The stress as it stands in paths and tables: ``none``, ``flips-0.3``, ..."""
    return "_".join(f"{knob}-{value}" for knob, value in stress) or "none"


@dataclass(frozen=True)
class Level:
    """A point of an experiment: its label, its place on the axis where that is a number."""

    label: str
    value: float | None
    stress: tuple


@dataclass(frozen=True)
class RunSpec:
    """One model to be trained. Everything that its numbers depend on, and nothing else."""

    dataset: str
    stress: tuple
    loss: str
    loss_spec: str
    seed: int
    learning_rate: float
    training: Training

    @property
    def path(self):
        """Where the run lives below the study's folder: the only place that spells it."""
        return (
            f"runs/{self.dataset}/{stress_name(self.stress)}/{self.loss}"
            f"/lr-{self.learning_rate:g}/seed-{self.seed}"
        )

    @property
    def cell(self):
        """What seeds, data and initial weights depend on: never on the loss."""
        return (self.dataset, stress_name(self.stress), self.seed)

    @property
    def fingerprint(self):
        return fingerprint(asdict(self))


@dataclass(frozen=True)
class Chunk:
    """Runs that one job trains."""

    name: str
    runs: tuple

    @property
    def fingerprint(self):
        return fingerprint([run.fingerprint for run in self.runs])


class Study:
    """A checked configuration and all that follows from it."""

    def __init__(self, config):
        settings = ("study", "datasets", "losses", "experiments", "seeds", "image_size", "training")
        check.mapping(
            config,
            "",
            (*settings, "mirror", "device", "job_per"),
            required=("study", "datasets", "losses", "experiments", "seeds"),
        )
        self.config = {key: config[key] for key in config}
        self.name = check.name(config["study"], "study")
        self.device = check.choice(config.get("device", "auto"), "device", DEVICES)
        self.job_per = check.choice(config.get("job_per", "dataset"), "job_per", GROUPS)
        self.mirror = config.get("mirror")
        if self.mirror is not None:
            check.text(self.mirror, "mirror")
        self.image_size = check.number(config.get("image_size", 64), "image_size", 16, whole=True)
        if self.image_size % 8:
            check.refuse("image_size", self.image_size, "a multiple of 8")
        settings = (*Training.__dataclass_fields__, "learning_rates")
        training = dict(check.mapping(config.get("training", {}), "training", settings))
        rates = training.pop("learning_rates", None)
        self.training = Training.read(training)
        self.rates = self._rates(rates, float(self.training.learning_rate))
        self.seeds = check.unique(config["seeds"], "seeds")
        for seed in self.seeds:
            check.number(seed, "seeds", 0, whole=True)
        self.losses = {
            check.name(name, f"losses.{name}"): self._loss(name, spec)
            for name, spec in self._some(config["losses"], "losses").items()
        }
        self.loss_files = sorted(
            {
                file
                for spec in self.losses.values()
                if (file := check.local_source(spec.get("use", "")))
            }
        )
        self.datasets = {
            name: Dataset.read(name, value, self.mirror)
            for name, value in self._some(config["datasets"], "datasets").items()
        }
        self.experiments = {
            check.name(name, f"experiments.{name}"): self._experiment(name, value)
            for name, value in self._some(config["experiments"], "experiments").items()
        }

    @classmethod
    def read(cls, text):
        """The study of a configuration given as JSON, as a workflow's jobs get it."""
        return cls(json.loads(text))

    @staticmethod
    def _rates(rates, fixed):
        """The learning rates that every loss is trained with, the fixed one among them."""
        place = "training.learning_rates"
        rates = [fixed] if rates is None else check.unique(rates, place)
        for rate in rates:
            check.number(rate, place, 0, above=True)
        if fixed not in rates:
            check.refuse(place, rates, f"a list with learning_rate, {fixed:g}, in it")
        return [float(rate) for rate in sorted(rates)]

    @staticmethod
    def _some(value, place):
        if not check.mapping(value, place):
            check.refuse(place, value, "at least one entry")
        return value

    @staticmethod
    def _loss(name, spec):
        place = f"losses.{name}"
        spec = check.mapping({} if spec is None else spec, place)
        if "sum" in spec:
            check.mapping(spec, place, ("sum",))
            for part, weight in Study._some(spec["sum"], f"{place}.sum").items():
                check.choice(part, f"{place}.sum", LOSSES)
                if isinstance(weight, dict):  # the component's options beside its weight
                    check.mapping(weight, f"{place}.sum.{part}", required=("weight",))
                    weight = weight["weight"]
                check.number(weight, f"{place}.sum.{part}", 0)
            return spec
        use = spec.get("use", name)
        if use not in LOSSES and ":" not in str(use):
            raise ConfigError(
                f"{place}: unknown loss {use!r}{nearest(use, LOSSES)}; allowed: "
                f"{', '.join(LOSSES)}, or 'use: \"package.module:Class\"'"
            )
        return {"use": use, **spec}

    def _experiment(self, name, value):
        """Dataset -> levels. Numeric: `knob`, `values`, `hold`. By name: `levels`."""
        place = f"experiments.{name}"
        check.mapping(value, place, ("knob", "values", "hold", "levels"))
        if ("levels" in value) == ("knob" in value):
            raise ConfigError(
                f"{place}: give either 'levels' (label: knobs) or 'knob' with 'values', "
                f"got {', '.join(map(str, value)) or 'nothing'}"
            )
        return {
            dataset.name: self._levels(value, place, dataset) for dataset in self.datasets.values()
        }

    def _levels(self, value, place, dataset):
        if "levels" in value:
            check.mapping(value, place, ("levels",))
            levels = [
                Level(
                    str(label), None, read_stress(knobs or {}, f"{place}.levels.{label}", dataset)
                )
                for label, knobs in self._some(value["levels"], f"{place}.levels").items()
            ]
        else:
            knob = check.choice(value["knob"], f"{place}.knob", RANGES)
            hold = check.mapping(value.get("hold", {}), f"{place}.hold", KNOBS)
            values = value.get("values")
            if isinstance(values, dict):  # each dataset its own, where they cannot reach the same
                check.mapping(values, f"{place}.values", self.datasets, required=self.datasets)
                values = values[dataset.name]
            check.unique(values, f"{place}.values")
            for v in values:
                check.number(v, f"{place}.values", **RANGES[knob])
            levels = [
                Level(f"{v:g}", v, read_stress({**hold, knob: v}, f"{place}.values", dataset))
                for v in values
            ]
        stresses = [level.stress for level in levels]
        for level in levels:
            if stresses.count(level.stress) > 1:
                raise ConfigError(
                    f"{place}: two levels come to the same cell, "
                    f"{stress_name(level.stress)!r} of {dataset.name!r}"
                )
        return levels

    @property
    def folder(self):
        return f"results/{self.name}"

    def data_folder(self, dataset, stress, seed):
        """The stressed, prepared dataset that the runs of a cell train on."""
        return f"{self.folder}/data/{dataset}/{stress}/seed-{seed}"

    def stresses(self, dataset):
        """Every stress of a dataset, each once: name -> stress."""
        return {
            stress_name(level.stress): level.stress
            for experiment in self.experiments.values()
            for level in experiment[dataset]
        }

    def observers(self, dataset):
        """Targets whose masks are training labels in some stress of a dataset."""
        stresses = map(dict, self.stresses(dataset.name).values())
        return sorted({knobs["observer"] for knobs in stresses if "observer" in knobs})

    @cached_property
    def runs(self):
        """Every run of the study, each once; the losses of a cell follow each other."""
        return [
            RunSpec(
                dataset,
                stress,
                loss,
                json.dumps(spec, sort_keys=True),
                seed,
                rate,
                self.training,
            )
            for dataset in self.datasets
            for seed in self.seeds
            for stress in self.stresses(dataset).values()
            for loss, spec in self.losses.items()
            for rate in self.rates
        ]

    @cached_property
    def chunks(self):
        """The runs by job: of a dataset, and of a loss or seed of it where `job_per` says so."""
        groups = {}
        for run in self.runs:
            key = (run.dataset,)
            if self.job_per == "loss":
                key += (run.loss,)
            elif self.job_per == "seed":
                key += (f"seed-{run.seed}",)
            groups.setdefault("_".join(key), []).append(run)
        return {name: Chunk(name, tuple(runs)) for name, runs in groups.items()}

    def record(self, run):
        return f"{self.folder}/{run.path}/run.json"

    @property
    def outputs(self):
        """The files that a study ends in; each record, so that a missing one is made again."""
        ends = [f"{self.folder}/{name}" for name in OUTPUTS]
        return ends + [self.record(run) for run in self.runs]

    @property
    def json(self):
        """The configuration in its own order, which is that of tables and figures."""
        return json.dumps(self.config)

    @property
    def checked(self):
        """What the check before training depends on."""
        return fingerprint([self.losses, asdict(self.training), self.device, self.class_counts])

    @property
    def class_counts(self):
        """How many classes the datasets have that models are made for."""
        return sorted({len(dataset.class_names) for dataset in self.datasets.values()})

    @property
    def asked(self):
        """What the analysis depends on beside the table: experiments, their levels, the losses."""
        return fingerprint([self.config["experiments"], list(self.losses), self.seeds, self.rates])

    def prepared(self, dataset):
        """What a dataset is prepared to: a description per stress and seed."""
        return [
            f"{self.data_folder(dataset.name, stress, seed)}/dataset.json"
            for stress in self.stresses(dataset.name)
            for seed in self.seeds
        ]

    def data_fingerprint(self, dataset):
        return fingerprint([asdict(dataset), self.image_size])

    @property
    def fetched(self):
        """Datasets that are fetched to data/, each once, by the name they have there."""
        return sorted({d.source for d in self.datasets.values() if d.fetched})

    @property
    def fetch_options(self):
        """Where datasets are fetched from: a mirror's address, or each from its own."""
        return ["--mirror", self.mirror] if check.is_url(self.mirror) else []

    def source_files(self, dataset):
        """What a dataset is prepared from, as far as a workflow needs to know."""
        if dataset.controlled:
            return []
        described = f"{dataset.folder}/dataset.json"
        if dataset.fetched:
            return [described]
        folders = {"images", *dataset.layers, *map(masks_of, self.observers(dataset))}
        folders |= {LABELS} if dataset.ignore is not None else set()
        folders |= {INSTANCES} if dataset.has_instances else set()
        files = [f"{dataset.folder}/{f}" for f in sorted(folders)]
        return files + [described] * os.path.exists(described)
