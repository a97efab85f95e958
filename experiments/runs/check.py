"""Step `check`: before training, build and call everything that a study names.

It refuses settings that only the libraries can judge: the device, every model, optimizer,
schedule and augmentation, and every loss. A custom loss is called in a process of its own. Each
loss is called on a CPU, and on a GPU if the study uses one here.

A step of training is checked in two parts, because the gradient at the weights is the product of
two: each loss has a gradient at logits of the study's shapes, and each model passes gradients at
its logits on to its weights. So the time grows with models plus losses, not with their pairs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from segmentation_models_pytorch.base.modules import Activation
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

MODEL_FIELDS = {"architecture", "encoder", "encoder_weights", "model_options", "batch_size"}
"""Training settings that make the model, or that it may fail on."""
LARGEST = 2**18
"""Logits in a call of a loss, at most, as long as there are two images."""
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
            for side in sorted({study.sides[0], study.sides[-1]}):
                yield partial(check_model, training, side, classes, multilabel)
    for training in settings:
        yield partial(check_optimizer, training)
    lists = [t.augment for t in settings if isinstance(t.augment, list)]
    for specs in {_text(specs): specs for specs in lists}.values():
        grey = any(dataset.controlled for dataset in study.datasets.values())
        for side in study.sides:
            yield partial(check_augment, specs, side, (1,) if grey else (1, 3))
    for name in study.losses:
        yield partial(check_everywhere, study, name, device)


def check_model(training: Training, side: int, classes: int, multilabel: bool = False) -> None:
    """Build the model and make a training step on two grey images; ConfigError if that fails."""
    try:
        model = models.build(training, 1, classes, multilabel)
    except ConfigError as error:  # without the library's list, which has hundreds of names
        raise ConfigError(re.sub(r", supported encoders: \[.*?\]", "", str(error))) from None
    images = torch.linspace(-1, 1, min(2, training.batch_size) * side**2).mul(99).sin()
    images = images.reshape(-1, 1, side, side)
    try:
        logits = model(images)
        _refuse_outputs(model, logits, (len(images), models.outputs(classes), side, side))
        (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
        grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
        if not all(grad.isfinite().all() for grad in grads):
            raise ValueError("the gradient at its weights is not finite")
        if not any(grad.any() for grad in grads):
            raise ValueError("the gradient at its weights is 0")
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"training: {training.architecture} with encoder {training.encoder!r}, batch_size "
            f"{training.batch_size} and model_options {training.model_options} fails on images of "
            f"image_size {side}: {error}"
        ) from None


def _refuse_outputs(model: nn.Module, logits: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a model returns logits of this shape, and nothing else."""
    if not isinstance(logits, torch.Tensor):
        raise ValueError(
            f"it returns a {type(logits).__name__}; allowed: one tensor of logits, so no aux_params"
        )
    for part in model.segmentation_head.modules():
        if isinstance(part, Activation) and not isinstance(part.activation, nn.Identity):
            raise ValueError(
                f"it ends in {type(part.activation).__name__}; allowed: no activation, because "
                "losses take logits"
            )
    if logits.shape != shape:
        raise ValueError(f"its logits have shape {tuple(logits.shape)}; allowed: {shape}")


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
        problems = call(loss_problems, name, spec, shapes(study), kinds)
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


class Shape(NamedTuple):
    """Numbers that set the shapes of logits and target: `side` in pixels."""

    classes: int
    multilabel: bool = False
    batch_size: int = 2
    side: int = 16

    @property
    def channels(self) -> int:
        """Channels of the logits."""
        return models.outputs(self.classes, self.multilabel)


def shapes(study: Study) -> list[Shape]:
    """Return the shapes that losses are called with: all classes, the extremes of the sizes."""
    batch_sizes = {training.batch_size for training in study.trainings}
    ends = itertools.product(*({min(v), max(v)} for v in (batch_sizes, study.sides)))
    return [Shape(*n, *end) for n, end in itertools.product(study.class_counts, sorted(ends))]


def loss_problems(
    name: str, spec: dict[str, Any], shapes: list[Shape], kinds: list[str]
) -> list[str]:
    """Return the problems of a loss, for each shape and kind of device."""
    calls = (partial(check_loss, name, spec, shape, kind) for kind in kinds for shape in shapes)
    return [shorten(problem, LONGEST) for problem in _problems(calls)]


def stranded(spec: dict[str, Any], counts: list[tuple[int, bool]]) -> str | None:
    """Return the error of a loss with a tensor that does not follow the device of the logits.

    The loss is called with tensors of the device "meta", which have no values. A loss that reads
    values fails there before, so None does not mean that there is no such tensor.
    """
    for classes, multilabel in counts:
        try:
            loss = losses.build(spec, multilabel=multilabel).to("meta")
            loss(*_inputs(Shape(classes, multilabel), "meta"))
        except Exception as error:
            if ON_TWO_DEVICES.search(text := describe(error)):
                return text
    return None


def _inputs(shape: Shape, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and a target; of two images at least, LARGEST elements at most."""
    classes, channels, side = shape.classes, shape.channels, shape.side
    n = min(shape.batch_size, max(2, LARGEST // (channels * side**2)))
    pixels = torch.linspace(-1, 1, n * channels * side**2).mul(9).sin().to(device)
    numbers = torch.arange(n * side**2).reshape(n, side, side)
    masks = numbers % (classes + 1)
    if shape.multilabel:
        masks = numbers[..., None] % torch.arange(2, classes + 2) == 0
    target = to_target(masks, classes)
    return pixels.reshape(n, channels, side, side).requires_grad_(), target.to(device)


def check_loss(
    name: str,
    spec: dict[str, Any],
    shape: Shape,
    device: str = "cpu",
) -> None:
    """Call a loss on logits and a target of a shape; ConfigError if that fails."""
    setting = f"losses.{name}"
    logits, target = _inputs(shape, device)
    try:
        loss = losses.build(spec, multilabel=shape.multilabel).to(device)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    except Exception as error:
        raise ConfigError(f"{setting}: {spec} cannot be built: {describe(error)}") from error
    try:
        value = loss(logits.clone(), target)  # a loss may change its input in place
        usable = isinstance(value, torch.Tensor) and not value.dim() and torch.isfinite(value)
        if usable:
            value.backward()
    except Exception as error:
        raise ConfigError(
            f"{setting}: {spec} fails on logits of shape {tuple(logits.shape)} and target of shape "
            f"{tuple(target.shape)}{' on a GPU' * (device == 'cuda')}: {describe(error)}"
        ) from error
    if not usable:
        raise ConfigError(
            f"{setting}: {spec} returned {_words(value)}; allowed: a scalar tensor, one finite "
            "number"
        )
    if logits.grad is None or not logits.grad.isfinite().all():
        raise ConfigError(f"{setting}: {spec} has no finite gradient at the logits")
    if not logits.grad.any():
        hint = ", such as one without a softmax, which is 1 for a single channel"
        raise ConfigError(
            f"{setting}: {spec} has the value {value.item() + 0.0:g} and no gradient: it is 0 at "
            f"all logits of shape {tuple(logits.shape)}; allowed: a loss that depends on the "
            f"logits{hint * (logits.shape[1] == 1)}"
        )


def _words(value: Any) -> str:
    """Return a short text for the value of a loss."""
    if isinstance(value, torch.Tensor) and value.dim():
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value)
