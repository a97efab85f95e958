"""Models by name: any of segmentation-models-pytorch, with a logit per channel and pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import segmentation_models_pytorch as smp
from torch import nn

from experiments.errors import ConfigError
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.config import Training


def outputs(classes: int, multilabel: bool = False) -> int:
    """Return the channels of a model: a softmax over background and classes, or sigmoids.

    One class is one sigmoid. With `multilabel`, so is each of several.

    >>> outputs(1), outputs(2), outputs(2, multilabel=True)
    (1, 3, 2)
    """
    return classes if classes == 1 or multilabel else classes + 1


def build(
    training: Training, channels: int, classes: int = 1, multilabel: bool = False
) -> nn.Module:
    """Return the model of a study's training settings; ConfigError names the unknown value.

    channels: of an image. classes: foreground classes. multilabel: they may overlap.
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
            classes=outputs(classes, multilabel),
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
