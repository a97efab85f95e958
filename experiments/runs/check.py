"""Step `check`: before training, build and call everything that a study names.

It refuses settings that only the libraries can judge: the device, every model, optimizer,
schedule and augmentation, and every loss. A custom loss is called in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import losses
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.layout import CHECKED
from experiments.plan.losses import custom_modules
from experiments.runs import cost, models, optimizers
from experiments.runs.batches import to_target
from experiments.runs.fit import resolve_device
from experiments.runs.forking import describe, shorten
from experiments.runs.workers import Died, call_alone

if TYPE_CHECKING:
    from experiments.plan.config import Training
    from experiments.plan.study import Study

MODEL_FIELDS = {"architecture", "encoder", "encoder_weights", "model_options"}
"""Training settings that make the model."""
LIMIT = 600
"""Seconds for the calls of a custom loss, at most."""
LONGEST = 2000
"""Characters of a problem of a custom loss, at most."""


def run(study: Study) -> None:
    """Check the study, log its cost, and write ``logs/checked``."""
    check(study)
    text = f"{len(study.losses)} losses and {len(study.trainings)} training settings checked\n"
    write_whole(study.file(CHECKED), f"{text}{cost.announce(study)}\n")


def check(study: Study) -> None:
    """Raise ConfigError with all problems of the study."""
    problems = _problems(_checks(study))
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def _problems(checks: Iterable[Callable[[], None]]) -> list[str]:
    problems = []
    for call in checks:
        try:
            call()
        except ValueError as error:
            problems += getattr(error, "problems", [str(error)])
    return problems


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _checks(study: Study) -> Iterator[Callable[[], None]]:
    yield partial(resolve_device, study.device)
    settings = study.trainings
    for training in {_text(t.model_dump(include=MODEL_FIELDS)): t for t in settings}.values():
        for classes in study.class_counts:
            yield partial(check_model, training, study.image_size, classes)
    for training in settings:
        yield partial(check_optimizer, training)
    lists = [t.augment for t in settings if isinstance(t.augment, list)]
    for specs in {_text(specs): specs for specs in lists}.values():
        grey = any(dataset.controlled for dataset in study.datasets.values())
        yield partial(check_augment, specs, study.image_size, (1,) if grey else (1, 3))
    limit = min(study.timeout.step, LIMIT)
    for name, spec in study.losses.items():
        if custom_modules(spec):
            yield partial(check_custom, name, spec, study.class_counts, limit)
        else:
            yield from (partial(check_loss, name, spec, n) for n in study.class_counts)


def check_model(training: Training, side: int, classes: int) -> None:
    """Build the model and call it on two grey images; ConfigError if that fails."""
    model = models.build(training, channels=1, classes=classes)
    images = torch.zeros(min(2, training.batch_size), 1, side, side)
    try:
        with torch.no_grad():
            logits = model(images)
        if logits.shape[2:] != images.shape[2:]:
            raise ValueError(f"its logits have shape {tuple(logits.shape)}")
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"training: {training.architecture} with encoder {training.encoder!r}, batch_size "
            f"{training.batch_size} and model_options {training.model_options} fails on images of "
            f"image_size {side}: {error}"
        ) from None


def check_optimizer(training: Training) -> None:
    """Build the optimizer and the schedule and make one step; ConfigError if that fails."""
    layer = nn.Conv2d(1, 1, 3)
    optimizer = optimizers.build(training, layer.parameters())
    schedule = optimizers.schedule(training, optimizer)
    layer(torch.ones(1, 1, 3, 3)).sum().backward()
    try:
        optimizer.step()
        schedule.step()
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"training.optimizer: {training.optimizer.name} with options "
            f"{training.optimizer.options} fails: {error}"
        ) from None


def check_augment(specs: list[dict[str, Any]], side: int, channels: tuple[int, ...]) -> None:
    """Build and apply a list of transforms; ConfigError has all problems."""
    from experiments.runs import augment  # albumentations takes seconds to import

    augment.check(specs, side, channels)


def check_custom(name: str, spec: dict[str, Any], counts: list[int], limit: float) -> None:
    """Check a loss in a process of its own, for each number of classes; ConfigError if it fails.

    limit: seconds after which it is stopped.
    """
    try:
        problems = call_alone(loss_problems, name, spec, counts, preload=[__name__], limit=limit)
    except Died as died:
        raise ConfigError(f"losses.{name}: the call of {spec} ended by {died}") from None
    if problems:
        raise ConfigError(problems)


def loss_problems(name: str, spec: dict[str, Any], counts: list[int]) -> list[str]:
    """Return the problems of a loss, for each number of classes."""
    problems = _problems(partial(check_loss, name, spec, n) for n in counts)
    return [shorten(problem, LONGEST) for problem in problems]


def check_loss(name: str, spec: dict[str, Any], classes: int) -> None:
    """Call a loss on logits and a target of so many classes; ConfigError if that fails."""
    setting = f"losses.{name}"
    channels = models.outputs(classes)
    pixels = torch.linspace(-1, 1, 2 * channels * 16 * 16).sin()
    logits = pixels.reshape(2, channels, 16, 16).requires_grad_()
    target = to_target(np.arange(2 * 16 * 16).reshape(2, 16, 16) % (classes + 1), classes)
    try:
        value = losses.build(spec)(logits, target)
        if not isinstance(value, torch.Tensor) or value.dim() or not torch.isfinite(value):
            raise ValueError(
                f"{spec} returned {_words(value)}; allowed: a scalar tensor, one finite number"
            )
        value.backward()
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    except Exception as error:
        raise ConfigError(
            f"{setting}: {spec} fails on logits of shape {tuple(logits.shape)} and target of shape "
            f"{tuple(target.shape)}: {describe(error)}"
        ) from error
    if logits.grad is None or not logits.grad.isfinite().all():
        raise ConfigError(f"{setting}: {spec} has no finite gradient at the logits")


def _words(value: Any) -> str:
    """Return a short text for the value of a loss."""
    if isinstance(value, torch.Tensor) and value.dim():
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value)
