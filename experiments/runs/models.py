"""Models by name: any of segmentation-models-pytorch, with a logit per channel and pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import segmentation_models_pytorch as smp
from torch import nn

from experiments.errors import ConfigError
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.config import Training


def outputs(classes: int) -> int:
    """Return the channels of a model: 1 (sigmoid) for one class, else background and classes.

    >>> outputs(1), outputs(2)
    (1, 3)
    """
    return 1 if classes == 1 else classes + 1


def build(training: Training, channels: int, classes: int = 1) -> nn.Module:
    """Return the model of a study's training settings; ConfigError names the unknown value.

    channels: of an image. classes: foreground classes.
    """
    names = {name for name, model in vars(smp).items() if isinstance(model, type)}
    if training.architecture not in names:
        raise ConfigError(
            f"training.architecture: unknown {training.architecture!r}"
            f"{nearest(training.architecture, names)}; allowed: {', '.join(sorted(names))}"
        )
    try:
        return getattr(smp, training.architecture)(
            training.encoder,
            encoder_weights=training.encoder_weights,
            in_channels=channels,
            classes=outputs(classes),
            **training.model_options,
        )
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        known = list(smp.encoders.get_encoder_names())
        raise ConfigError(
            f"training: {training.architecture} with encoder {training.encoder!r} "
            f"(weights {training.encoder_weights!r}) and model_options {training.model_options} "
            f"cannot be built: {error}. Encoders: {', '.join(known[:8])}, ... or 'tu-' and a "
            "name of timm's"
        ) from None
