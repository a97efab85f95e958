"""Runs of a study, the jobs that train them, and the folders that they use."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.plan.config import Training
from experiments.plan.knobs import Stress
from experiments.plan.labels import label_of
from experiments.plan.seeds import fingerprint
from experiments.plan.training import Setting


@dataclass(frozen=True)
class RunSpec:
    """One model to train: everything that its numbers depend on.

    data: settings of the dataset and the image size. setting: the labels of its training settings;
    they name it and change no number.
    """

    dataset: str
    stress: Stress
    loss: str
    loss_spec: dict[str, Any] = field(hash=False)
    seed: int
    training: Training = field(hash=False)
    data: dict[str, Any] = field(hash=False)
    setting: Setting = field(compare=False)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the optimizer."""
        return self.training.learning_rate

    @property
    def path(self) -> str:
        """The run's folder below the study's folder."""
        setting = f"_{self.setting.name}" if self.setting.name else ""
        return (
            f"runs/{self.dataset}/{self.stress.name}/{self.loss}"
            f"/lr-{label_of(self.learning_rate)}{setting}/seed-{self.seed}"
        )

    @property
    def key(self) -> dict[str, Any]:
        """The axes of a run with its values. Tables and selections derive from it."""
        return {
            "dataset": self.dataset,
            "stress": self.stress.name,
            "loss": self.loss,
            "learning_rate": self.learning_rate,
            **self.setting.labels,
            "seed": self.seed,
        }

    @property
    def cell(self) -> tuple[str, str, int]:
        """Dataset, stress and seed: data, order and initial weights depend on nothing else."""
        return (self.dataset, self.stress.name, self.seed)

    @cached_property
    def description(self) -> dict[str, Any]:
        """The run's configuration as plain data."""
        return {
            "dataset": self.dataset,
            "data": self.data,
            "stress": dict(self.stress),
            "loss": self.loss,
            "loss_spec": self.loss_spec,
            "seed": self.seed,
            "training": self.training.model_dump(),
        }

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the run's configuration."""
        return fingerprint(self.description)


@dataclass(frozen=True)
class Job:
    """Runs that one job of the workflow trains.

    possible: those that it trains if each run gets the seeds of its look.
    """

    name: str
    dataset: str
    runs: tuple[RunSpec, ...]
    possible: tuple[RunSpec, ...]
    look: int

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the configuration of all its possible runs."""
        return fingerprint([run.fingerprint for run in self.possible])


@dataclass(frozen=True)
class Workspace:
    """Where and how the runs of a study are trained: the part of a study that a worker needs.

    config: the study's configuration as its folder holds it. checkpoint: seconds between
    checkpoints.
    """

    folder: str
    device: str
    keep: tuple[str, ...]
    checkpoint: float
    config: str

    def data_folder(self, dataset: str, stress: str, seed: int) -> str:
        """Return the folder of the stressed dataset of a cell."""
        return f"{self.folder}/{cell_folder(dataset, stress, seed)}"

    def run_folder(self, run: RunSpec) -> Path:
        """Return the folder of a run's files."""
        return Path(self.folder, run.path)


def cell_folder(dataset: str, stress: str, seed: int) -> str:
    """Return the stressed folder of a cell, relative to the study's folder."""
    return f"data/{dataset}/{stress}/seed-{seed}"
