"""The suite's losses by name: a row each. To add a loss, write its class and add its row.

>>> LOSSES["dice"]
Entry(path='losses.overlap:DiceLoss', label='Dice')
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """A loss of the suite."""

    path: str
    """Import path, ``module:Class``."""
    label: str
    """Name in figures and tables."""


LOSSES: dict[str, Entry] = {
    "cross_entropy": Entry("losses.likelihood:CrossEntropyLoss", "Cross-entropy"),
    "weighted_cross_entropy": Entry("losses.likelihood:WeightedCrossEntropyLoss", "Weighted CE"),
    "label_smoothing": Entry("losses.likelihood:LabelSmoothingLoss", "Label smoothing"),
    "focal": Entry("losses.likelihood:FocalLoss", "Focal"),
    "topk": Entry("losses.likelihood:TopKLoss", "TopK CE"),
    "generalized_cross_entropy": Entry(
        "losses.likelihood:GeneralizedCrossEntropyLoss", "Generalized CE"
    ),
    "dice": Entry("losses.overlap:DiceLoss", "Dice"),
    "squared_dice": Entry("losses.overlap:SquaredDiceLoss", "Squared Dice"),
    "article_dice": Entry("losses.overlap:ArticleDiceLoss", "Article's formula"),
    "jaccard": Entry("losses.overlap:JaccardLoss", "Jaccard"),
    "tversky": Entry("losses.overlap:TverskyLoss", "Tversky"),
    "focal_tversky": Entry("losses.overlap:FocalTverskyLoss", "Focal Tversky"),
    "generalized_dice": Entry("losses.overlap:GeneralizedDiceLoss", "Generalized Dice"),
    "log_cosh_dice": Entry("losses.overlap:LogCoshDiceLoss", "Log-cosh Dice"),
    "noise_robust_dice": Entry("losses.overlap:NoiseRobustDiceLoss", "Noise-robust Dice"),
    "dice_plus_plus": Entry("losses.overlap:DicePlusPlusLoss", "Dice++"),
    "jdt": Entry("losses.overlap:JDTLoss", "JDT"),
    "boundary": Entry("losses.boundary:BoundaryLoss", "Boundary"),
    "hausdorff": Entry("losses.boundary:HausdorffLoss", "Hausdorff"),
    "lovasz": Entry("losses.boundary:LovaszLoss", "Lovász"),
    "blob": Entry("losses.objects:BlobLoss", "Blob"),
    "inverse_size_dice": Entry("losses.objects:InverseSizeDiceLoss", "Inverse-size Dice"),
    "dice_ce": Entry("losses.hybrid:DiceCELoss", "Dice + CE"),
    "squared_dice_ce": Entry("losses.hybrid:SquaredDiceCELoss", "Squared Dice + CE"),
    "dice_focal": Entry("losses.hybrid:DiceFocalLoss", "Dice + focal"),
    "dice_topk": Entry("losses.hybrid:DiceTopKLoss", "Dice + TopK CE"),
    "combo": Entry("losses.hybrid:ComboLoss", "Combo"),
    "unified_focal": Entry("losses.hybrid:UnifiedFocalLoss", "Unified focal"),
    "ce_to_dice": Entry("losses.hybrid:ScheduledLoss", "CE to Dice"),
    "dice_boundary": Entry("losses.hybrid:DiceBoundaryLoss", "Dice + boundary"),
    "ce_l1": Entry("losses.size:CrossEntropyL1Loss", "CE + L1 size"),
    "ce_kl": Entry("losses.size:CrossEntropyKLLoss", "CE + KL size"),
}
"""Name in a configuration -> import path and label."""

if __package__ != "losses":  # installed, as dicebench.losses
    LOSSES = {
        name: Entry(path.replace("losses", __package__, 1), label)
        for name, (path, label) in LOSSES.items()
    }
