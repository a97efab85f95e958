"""Models by name: any of segmentation-models-pytorch's, with a logit for each channel and pixel."""

import json

import segmentation_models_pytorch as smp

from losses import nearest


def outputs(classes):
    """Channels that tell so many classes: one is a sigmoid's, several a softmax's with background.

    The background is channel 0, the k-th class channel k.
    """
    return 1 if classes == 1 else classes + 1


def build(training, channels, classes=1):
    """The model of a study's `training` settings; ValueError names what is unknown.

    channels: of an image; classes: that are told from background.
    """
    names = {name for name in vars(smp) if name[0].isupper()}
    if training.architecture not in names:
        raise ValueError(
            f"training.architecture: unknown {training.architecture!r}"
            f"{nearest(training.architecture, names)}; allowed: {', '.join(sorted(names))}"
        )
    options = json.loads(training.model_options)
    try:
        return getattr(smp, training.architecture)(
            training.encoder,
            encoder_weights=training.encoder_weights,
            in_channels=channels,
            classes=outputs(classes),
            **options,
        )
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        known = list(smp.encoders.get_encoder_names())
        raise ValueError(
            f"training: {training.architecture} with encoder {training.encoder!r} "
            f"(weights {training.encoder_weights!r}) and model_options {options} cannot be "
            f"built: {error}. Encoders: {', '.join(known[:8])}, ... or 'tu-' and a name of timm's"
        ) from None
