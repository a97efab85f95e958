"""Compare the suite's losses with the same losses of other libraries.

    python -m benchmarks.agreement

Prints the greatest difference of values and of gradients (of the logits) over three random logits
and labels, in float64 unless the library computes in float32. The tests require 1e-10, or 2e-6 in
float32. Writes OUT/agreement.md (default docs/benchmarks).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kornia.losses as kornia
import monai.losses as monai
import segmentation_models_pytorch.losses as smp
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from losses import build

warnings.filterwarnings("ignore")

S = 1e-5
"""MONAI's smoothing of numerator and denominator."""

Call = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Loss of logits, labels (class indices) and those one-hot."""


def with_activation(make: Callable, **options) -> Call:
    """Return the call of a MONAI loss, with the activation that fits the channels."""

    def call(x: Tensor, y: Tensor, hot: Tensor) -> Tensor:
        activation = {"sigmoid": True} if x.shape[1] == 1 else {"softmax": True}
        return make(**activation, **options)(x, hot)

    return call


def monai_dice(**options) -> Call:
    """Return the call of MONAI's Dice loss."""
    return with_activation(monai.DiceLoss, **options)


def by_index(loss: Callable[[Tensor, Tensor], Tensor]) -> Call:
    """Return the call of a loss of an index target, or of (N, 1, *space) with one channel."""
    return lambda x, y, hot: loss(x, hot if x.shape[1] == 1 else y)


def smp_loss(make: Callable, **options) -> Call:
    """Return the call of a loss of segmentation_models_pytorch."""

    def call(x: Tensor, y: Tensor, hot: Tensor) -> Tensor:
        mode = "binary" if x.shape[1] == 1 else "multiclass"
        return make(mode, **options)(x, hot if mode == "binary" else y)

    return call


# (name of the agreement, our configuration, theirs, channels)
BOTH, ONE, MORE = (1, 3), (1,), (3,)
AGREEMENTS = [
    ("monai Dice", {"use": "dice", "smooth": S}, monai_dice(), BOTH),
    (
        "monai Dice batch",
        {"use": "dice", "smooth": S, "per": "batch"},
        monai_dice(batch=True),
        BOTH,
    ),
    (
        "monai Dice without background",
        {"use": "dice", "smooth": S, "background": False},
        monai_dice(include_background=False),
        MORE,
    ),
    (
        "monai squared Dice",
        {"use": "squared_dice", "smooth": S},
        monai_dice(squared_pred=True),
        BOTH,
    ),
    ("monai Jaccard", {"use": "jaccard", "smooth": S / 2}, monai_dice(jaccard=True), BOTH),
    (
        "monai Dice smoothed below",
        {"use": "dice", "smooth": S, "smooth_in": "denominator"},
        monai_dice(smooth_nr=0),
        BOTH,
    ),
    (
        "monai Tversky",
        {"use": "tversky", "alpha": 0.3, "beta": 0.7, "smooth": S},
        with_activation(monai.TverskyLoss, alpha=0.3, beta=0.7),
        BOTH,
    ),
    ("monai focal", "focal", lambda x, y, hot: monai.FocalLoss()(x, hot), ONE),
    (
        "monai focal softmax, of all elements",
        "focal",
        lambda x, y, hot: x.shape[1] * monai.FocalLoss(use_softmax=True)(x, hot),
        MORE,
    ),
    (
        "monai Dice + CE",
        {"sum": {"dice": {"weight": 1, "smooth": S}, "cross_entropy": 1}},
        with_activation(monai.DiceCELoss),
        BOTH,
    ),
    (
        "monai squared Dice + CE",
        {"sum": {"squared_dice": {"weight": 1, "smooth": S}, "cross_entropy": 0.5}},
        with_activation(monai.DiceCELoss, squared_pred=True, lambda_ce=0.5),
        BOTH,
    ),
    (
        "monai Dice + focal",
        {"sum": {"dice": {"weight": 1, "smooth": S}, "focal": 1}},
        with_activation(monai.DiceFocalLoss),
        ONE,
    ),
    ("monai boundary", "boundary", with_activation(monai.BoundaryLoss), BOTH),
    ("monai Hausdorff", "hausdorff", with_activation(monai.HausdorffDTLoss), ONE),
    (
        "monai Hausdorff without background",
        {"use": "hausdorff", "background": False},
        with_activation(monai.HausdorffDTLoss),
        MORE,
    ),
    ("smp Dice", {"use": "dice", "per": "batch"}, smp_loss(smp.DiceLoss, smooth=0.0), BOTH),
    (
        "smp Dice smooth s is 2 s here",
        {"use": "dice", "per": "batch", "smooth": 2.0},
        smp_loss(smp.DiceLoss, smooth=1.0),
        BOTH,
    ),
    ("smp Jaccard", {"use": "jaccard", "per": "batch"}, smp_loss(smp.JaccardLoss), BOTH),
    (
        "smp Tversky",
        {"use": "tversky", "per": "batch", "alpha": 0.3, "beta": 0.7},
        smp_loss(smp.TverskyLoss, alpha=0.3, beta=0.7),
        BOTH,
    ),
    ("smp focal", "focal", smp_loss(smp.FocalLoss), ONE),
    (
        "smp focal alpha",
        {"use": "focal", "alpha": 0.25, "gamma": 3.0},
        smp_loss(smp.FocalLoss, alpha=0.25, gamma=3.0),
        ONE,
    ),
    ("smp Lovasz", "lovasz", smp_loss(smp.LovaszLoss), BOTH),
    (
        "smp Lovasz per image",
        {"use": "lovasz", "per": "image"},
        smp_loss(smp.LovaszLoss, per_image=True),
        BOTH,
    ),
    ("smp BCE", "cross_entropy", lambda x, y, hot: smp.SoftBCEWithLogitsLoss()(x, hot), ONE),
    ("torch CE", "cross_entropy", by_index(F.cross_entropy), MORE),
    ("torch BCE", "cross_entropy", by_index(F.binary_cross_entropy_with_logits), ONE),
    (
        "torch CE weights",
        {"use": "weighted_cross_entropy", "class_weights": [1, 2, 5]},
        by_index(torch.nn.CrossEntropyLoss(torch.tensor([1, 2, 5.0], dtype=torch.float64))),
        MORE,
    ),
    (
        "torch CE label smoothing",
        {"use": "label_smoothing", "smoothing": 0.2},
        by_index(torch.nn.CrossEntropyLoss(label_smoothing=0.2)),
        MORE,
    ),
    (
        "torch CE of probabilities",
        "cross_entropy",
        lambda x, y, hot: F.cross_entropy(x, hot),
        MORE,
    ),
    (
        "kornia Dice macro",
        "dice",
        lambda x, y, hot: kornia.dice_loss(x, y, average="macro", eps=0.0),
        MORE,
    ),
    (
        "kornia focal, of all elements",
        {"use": "focal", "alpha": 0.25},
        lambda x, y, hot: 3 * kornia.focal_loss(x, y, 0.25, 2.0, "mean"),
        MORE,
    ),
    (
        "kornia binary focal",
        {"use": "focal", "alpha": 0.25},
        lambda x, y, hot: kornia.binary_focal_loss_with_logits(x, hot, 0.25, 2.0, "mean"),
        ONE,
    ),
    (
        "kornia Lovasz hinge",
        {"use": "lovasz", "per": "image"},
        lambda x, y, hot: kornia.lovasz_hinge_loss(x, y),
        ONE,
    ),
    (
        "kornia Lovasz softmax",
        {"use": "lovasz", "per": "image"},
        lambda x, y, hot: kornia.lovasz_softmax_loss(x, y),
        MORE,
    ),
]
FLOAT32 = {
    *("monai focal", "monai focal softmax, of all elements", "monai Dice + focal"),
    *("monai boundary", "smp Lovasz", "smp Lovasz per image"),
}
"""Computed in float32, fully or in part, for any logits: the bound is 2e-6."""

CASES = [(n, ours, theirs, c) for n, ours, theirs, channels in AGREEMENTS for c in channels]

DIFFERENCES = (
    "MONAI's generalized Dice gives an absent class the greatest weight.",
    "MONAI's Dice of an empty mask is 1 with almost no gradient; smp's is 0 for any prediction; "
    "ours grows with the predicted area (option `empty`).",
    "smp's Dice of an absent class is 0 in the mean over classes.",
    "MONAI's focal loss of several classes is a sigmoid per class by default, smp's always.",
    "Kornia's Dice pools the classes by default (micro).",
    "smp's SoftBCEWithLogitsLoss divides by the ignored pixels too.",
    "MONAI's Dice of float16 tensors overflows at 512x512.",
)
"""Losses of the same name that differ; each has a test."""


def case(
    channels: int, seed: int, dtype: torch.dtype
) -> tuple[Float[Tensor, "2 c 6 7"], Int[Tensor, "2 6 7"], Float[Tensor, "2 c 6 7"]]:
    """Return random logits, labels, and the labels one-hot."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, channels, 6, 7, generator=generator, dtype=dtype)
    index = torch.randint(max(2, channels), (2, 6, 7), generator=generator)
    one_hot = F.one_hot(index).movedim(-1, 1) if channels > 1 else index.unsqueeze(1)
    return logits, index, one_hot.to(dtype)


def difference(
    ours: str | dict[str, Any],
    theirs: Call,
    channels: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> float:
    """Return the greatest difference of values and of gradients."""
    logits, index, hot = case(channels, seed, dtype)
    results = []
    for call in (lambda x: build(ours)(x, index), lambda x: theirs(x, index, hot)):
        x = logits.clone().requires_grad_()
        value = call(x)
        value.backward()
        results.append((value.detach(), x.grad))
    (a, da), (b, db) = results
    return max((a - b).abs().item(), (da - db).abs().max().item())


def main() -> None:
    """Print the table and write it into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    out = parser.parse_args().out
    packages = ("torch", "monai", "segmentation-models-pytorch", "kornia")
    lines = [
        ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages) + ".",
        "",
        "The greatest difference of values and of gradients over three random inputs, with one",
        "and three channels if both are defined.",
        "",
        "| theirs | ours | channels | type | greatest difference |",
        "|---|---|---|---|---|",
    ]
    for name, ours, theirs, channels in AGREEMENTS:
        dtype = torch.float32 if name in FLOAT32 else torch.float64
        worst = max(difference(ours, theirs, c, seed, dtype) for c in channels for seed in range(3))
        spec = ours if isinstance(ours, str) else json.dumps(ours)
        shown = " and ".join(map(str, channels))
        lines.append(f"| {name} | `{spec}` | {shown} | {str(dtype)[6:]} | {worst:.0e} |")
    lines += ["", "Same name, different loss:", "", *(f"- {text}" for text in DIFFERENCES)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "agreement.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
