"""Step `check`: before training, build and call everything that a study names.

It refuses settings that only the libraries can judge: the device, every model, optimizer,
schedule and augmentation, and every loss. A custom loss is called in a process of its own. Each
loss is called on a CPU, and on a GPU if the study uses one here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import losses
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.layout import CHECKED
from experiments.plan.losses import custom_modules
from experiments.runs import cost, devices, gpus, models, optimizers
from experiments.runs.batches import to_target
from experiments.runs.forking import describe, shorten
from experiments.runs.workers import Died, call_alone

if TYPE_CHECKING:
    from experiments.plan.config import Training
    from experiments.plan.study import Study

log = logging.getLogger("dicebench")

MODEL_FIELDS = {"architecture", "encoder", "encoder_weights", "model_options"}
"""Training settings that make the model."""
LIMIT = 600
"""Seconds for the calls of a custom loss, at most."""
ON_TWO_DEVICES = re.compile("same device|not on the expected device")
"""Words of torch's errors about tensors of different devices."""
LONGEST = 2000
"""Characters of a problem of a custom loss, at most."""


def run(study: Study) -> None:
    """Check the study, log its cost, and write ``logs/checked``."""
    check(study)
    text = f"{len(study.losses)} losses and {len(study.trainings)} training settings checked\n"
    write_whole(study.file(CHECKED), f"{text}{cost.announce(study)}\n")


def check(study: Study) -> None:
    """Raise ConfigError with all problems of the study."""
    device, problems = None, []
    if study.device == "cpu" or not in_job_without_gpu():
        try:
            device = devices.resolve(study.device)
        except ConfigError as error:
            problems += error.problems
    problems += _problems(_checks(study, device))
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def in_job_without_gpu() -> bool:
    """Return whether this is a job of Slurm without a GPU: then the runs may use another device."""
    allotted = any(os.environ.get(name) for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS"))
    return "SLURM_JOB_ID" in os.environ and not allotted


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


def _checks(study: Study, device: str | None) -> Iterator[Callable[[], None]]:
    """Yield the checks of a study; device: of its runs, None if it is not known here."""
    yield partial(gpus.refuse_precision, device, study.trainings)
    settings = study.trainings
    for training in {_text(t.model_dump(include=MODEL_FIELDS)): t for t in settings}.values():
        for classes, multilabel in study.class_counts:
            yield partial(check_model, training, study.image_size, classes, multilabel)
    for training in settings:
        yield partial(check_optimizer, training)
    lists = [t.augment for t in settings if isinstance(t.augment, list)]
    for specs in {_text(specs): specs for specs in lists}.values():
        grey = any(dataset.controlled for dataset in study.datasets.values())
        yield partial(check_augment, specs, study.image_size, (1,) if grey else (1, 3))
    for name in study.losses:
        yield partial(check_everywhere, study, name, device)


def check_model(training: Training, side: int, classes: int, multilabel: bool = False) -> None:
    """Build the model and call it on two grey images; ConfigError if that fails."""
    model = models.build(training, 1, classes, multilabel)
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


def check_everywhere(study: Study, name: str, device: str | None) -> None:
    """Check a loss on the CPU, on the GPU of the runs, and for tensors that stay on the CPU.

    device: of the runs, None if it is not known here. ConfigError if the loss fails.
    """
    spec, counts = study.losses[name], study.class_counts
    call = partial(_call, min(study.timeout.step, LIMIT) if custom_modules(spec) else None)
    kinds = ["cpu", "cuda"] if device == "cuda" else ["cpu"]
    try:
        problems = call(loss_problems, name, spec, counts, kinds)
    except Died as died:
        raise ConfigError(f"losses.{name}: the call of {spec} ended by {died}") from None
    if problems:
        raise ConfigError(problems)
    if device == "cuda" or study.device == "cpu":
        return
    with contextlib.suppress(Died):  # without a GPU that is no reason to refuse it
        if found := call(stranded, spec, counts):
            problem = f"losses.{name}: a tensor of {spec} stays on the CPU, so it fails on a GPU"
            if study.device == "cuda":
                raise ConfigError(f"{problem}: {found}")
            log.warning("%s: %s", problem, found)


def _call(limit: float | None, call: Callable[..., Any], *args: Any) -> Any:
    """Call a function; with a limit in a process of its own, which is stopped after that time."""
    return call_alone(call, *args, preload=[__name__], limit=limit) if limit else call(*args)


def loss_problems(
    name: str, spec: dict[str, Any], counts: list[tuple[int, bool]], kinds: list[str]
) -> list:
    """Return the problems of a loss, for each of `Study.class_counts` and kind of device."""
    calls = (partial(check_loss, name, spec, *n, device=kind) for kind in kinds for n in counts)
    return [shorten(problem, LONGEST) for problem in _problems(calls)]


def stranded(spec: dict[str, Any], counts: list[tuple[int, bool]]) -> str | None:
    """Return the error of a loss with a tensor that does not follow the device of the logits.

    The loss is called with tensors of the device "meta", which have no values. A loss that reads
    values fails there before, so None does not mean that there is no such tensor.
    """
    for classes, multilabel in counts:
        try:
            loss = losses.build(spec, multilabel=multilabel).to("meta")
            loss(*_inputs(classes, multilabel, "meta"))
        except Exception as error:
            if ON_TWO_DEVICES.search(text := describe(error)):
                return text
    return None


def _inputs(classes: int, multilabel: bool, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and a target of so many classes."""
    channels = models.outputs(classes, multilabel)
    pixels = torch.linspace(-1, 1, 2 * channels * 16 * 16).sin().to(device)
    numbers = torch.arange(2 * 16 * 16).reshape(2, 16, 16)
    masks = numbers % (classes + 1)
    if multilabel:
        masks = numbers[..., None] % torch.arange(2, classes + 2) == 0
    target = to_target(masks, classes)
    return pixels.reshape(2, channels, 16, 16).requires_grad_(), target.to(device)


def check_loss(
    name: str,
    spec: dict[str, Any],
    classes: int,
    multilabel: bool = False,
    *,
    device: str = "cpu",
) -> None:
    """Call a loss on logits and a target of so many classes; ConfigError if that fails."""
    setting = f"losses.{name}"
    logits, target = _inputs(classes, multilabel, device)
    try:
        value = losses.build(spec, multilabel=multilabel).to(device)(logits, target)
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
            f"{tuple(target.shape)}{' on a GPU' * (device == 'cuda')}: {describe(error)}"
        ) from error
    if logits.grad is None or not logits.grad.isfinite().all():
        raise ConfigError(f"{setting}: {spec} has no finite gradient at the logits")


def _words(value: Any) -> str:
    """Return a short text for the value of a loss."""
    if isinstance(value, torch.Tensor) and value.dim():
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value)
