"""Optimizers of torch.optim by name, and schedules of the learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from experiments.errors import ConfigError
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.config import Training

SETTING = "training.optimizer"
UNSUITABLE = {
    "LBFGS": "it calls the loss several times per step",
    "SparseAdam": "it takes sparse gradients only",
}
SCHEDULES = {
    "constant": lambda optimizer, steps, power: lr_scheduler.ConstantLR(optimizer, factor=1),
    "cosine": lambda optimizer, steps, power: lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "polynomial": lambda optimizer, steps, power: lr_scheduler.PolynomialLR(
        optimizer, steps, power
    ),
}


def names() -> list[str]:
    """Return the names of the optimizers that can train a model here.

    >>> "AdamW" in names(), "LBFGS" in names()
    (True, False)
    """
    return sorted(
        name
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls)
        and issubclass(cls, Optimizer)
        and cls is not Optimizer
        and name not in UNSUITABLE
    )


def build(
    training: Training, parameters: Iterable[nn.Parameter], *, recorded: bool = False
) -> Optimizer:
    """Return the optimizer of the training settings; its fused form if it has one.

    recorded: its step is to be recorded and replayed on a GPU. The learning rate is then a tensor,
    so that a replay sees its changes. ConfigError names the unknown name or option, and the
    allowed ones.
    """
    name, options = training.optimizer.name, dict(training.optimizer.options)
    if name in UNSUITABLE:
        raise ConfigError(
            f"{SETTING}: {name!r} is not allowed: {UNSUITABLE[name]}; allowed: {', '.join(names())}"
        )
    if name not in names():
        raise ConfigError(
            f"{SETTING}: unknown optimizer {name!r}{nearest(name, names())}; "
            f"allowed: {', '.join(names())}"
        )
    cls = getattr(torch.optim, name)
    allowed = [p for p in inspect.signature(cls).parameters if p not in ("params", "lr")]
    problems = [
        f"{SETTING}.{option}: not allowed; allowed: training.learning_rate"
        if option == "lr"
        else f"{SETTING}: {name} has no option {option!r}{nearest(option, allowed)}; "
        f"allowed: {', '.join(allowed)}"
        for option in options
        if option not in allowed
    ]
    if problems:
        raise ConfigError(problems)
    if "fused" in allowed and not {"foreach", "differentiable"} & options.keys():
        options.setdefault("fused", True)
    parameters, rate = list(parameters), training.learning_rate
    if recorded and "capturable" in allowed:
        options.setdefault("capturable", True)
        rate = torch.tensor(rate, device=parameters[0].device)
    try:
        return cls(parameters, lr=rate, **options)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{SETTING}: {name} with learning rate {training.learning_rate:g} and options "
            f"{training.optimizer.options}: {error}"
        ) from None


def can_record(optimizer: Optimizer) -> bool:
    """Return whether a step of the optimizer can be recorded and replayed."""
    return bool(optimizer.defaults.get("capturable"))


def schedule(training: Training, optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """Return the schedule of the learning rate; it makes one step after each training step."""
    settings = training.schedule
    return SCHEDULES[settings.name](optimizer, training.steps, settings.power)
