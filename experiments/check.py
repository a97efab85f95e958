"""Refuse before training what only libraries can tell: `python -m experiments.check CONFIG OUT`.

Every loss is built and called on a small batch, the model is built, the device is looked for.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import losses
from experiments import models
from experiments.plan import Study
from experiments.train import resolve_device, to_target


def check(study):
    """ValueError names the setting, the value and what is allowed."""
    resolve_device(study.device)
    for classes in study.class_counts:
        models.build(study.training, channels=1, classes=classes)
        check_losses(study, classes)


def check_losses(study, classes):
    """Call every loss on logits and a target of so many classes."""
    channels = models.outputs(classes)
    pixels = torch.linspace(-1, 1, 2 * channels * 16 * 16).sin()
    masks = np.arange(2 * 16 * 16).reshape(2, 16, 16) % (classes + 1)
    for name, spec in study.losses.items():
        logits = pixels.reshape(2, channels, 16, 16).requires_grad_()
        target = to_target(masks, classes)
        try:
            value = losses.build(spec)(logits, target)
        except ValueError as error:
            raise ValueError(f"losses.{name}: {error}") from None
        except Exception as error:
            raise ValueError(
                f"losses.{name}: {spec} fails on logits of shape {tuple(logits.shape)} and target "
                f"of shape {tuple(target.shape)}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(value, torch.Tensor) or value.dim() or not torch.isfinite(value):
            raise ValueError(
                f"losses.{name}: {spec} returned {value}; a loss returns one finite number"
            )
        value.backward()
        if logits.grad is None or not logits.grad.isfinite().all():
            raise ValueError(f"losses.{name}: {spec} has no finite gradient at the logits")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    study = Study.read(args.config)
    try:
        check(study)
    except ValueError as error:
        raise SystemExit(f"dicebench: {error}") from None
    args.output.write_text(f"{len(study.losses)} losses and the model were built and called\n")


if __name__ == "__main__":
    main()
