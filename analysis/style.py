"""How figures look: sizes, names, and the same colour for the same loss everywhere."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import patches

WIDTH, COLUMN = 7.2, 3.5
"""Inches: a page's text width, and one of two columns."""

NAMES = {
    "cross_entropy": "Cross-entropy",
    "dice": "Dice",
    "squared_dice": "Squared Dice",
    "article_dice": "Article's formula",
    "dice_ce": "Dice + CE",
    "weighted_cross_entropy": "Weighted CE",
    "label_smoothing": "Label smoothing",
    "focal": "Focal",
    "topk": "TopK CE",
    "generalized_cross_entropy": "Generalized CE",
    "jaccard": "Jaccard",
    "tversky": "Tversky",
    "focal_tversky": "Focal Tversky",
    "generalized_dice": "Generalized Dice",
    "log_cosh_dice": "Log-cosh Dice",
    "noise_robust_dice": "Noise-robust Dice",
    "dice_plus_plus": "Dice++",
    "jdt": "JDT",
    "boundary": "Boundary",
    "hausdorff": "Hausdorff",
    "lovasz": "Lovász",
    "blob": "Blob",
    "inverse_size_dice": "Inverse-size Dice",
    "squared_dice_ce": "Squared Dice + CE",
    "dice_focal": "Dice + focal",
    "dice_topk": "Dice + TopK CE",
    "combo": "Combo",
    "unified_focal": "Unified focal",
    "ce_to_dice": "CE to Dice",
    "dice_boundary": "Dice + boundary",
}
"""The suite's losses as figures and tables call them; one's own is called as it is named."""
# Okabe and Ito's palette, which the colour-blind can tell apart; markers and dashes say it again.
FIXED = {
    "cross_entropy": ("#000000", "o"),
    "dice": ("#D55E00", "s"),
    "squared_dice": ("#E69F00", "^"),
    "article_dice": ("#CC79A7", "v"),
    "dice_ce": ("#0072B2", "D"),
}
SPARE = (("#009E73", "P"), ("#56B4E9", "X"), ("#B8A800", "*"), ("#7F7F7F", "h"), ("#8B4513", "d"))
# Tol's muted palette, for classes in pictures: none of them is a loss's.
MUTED = ("#88CCEE", "#CC6677", "#DDCC77", "#117733", "#AA4499", "#44AA99", "#882255", "#999933")
DASHES = ("-", "--", ":", "-.")
VERDICT_COLOURS = {"supported": "#0072B2", "contradicted": "#D55E00", "undecided": "#7F7F7F"}

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "legend.fontsize": 7.5,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "figure.dpi": 200,
        "savefig.dpi": 300,
        "svg.fonttype": "none",
        "svg.hashsalt": "dicebench",
        "pdf.fonttype": 42,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }
)


def name(loss):
    return NAMES.get(loss, loss)


def looks(losses):
    """loss -> keywords of a line, for all losses of a study; the suite's own never change."""
    others = [loss for loss in losses if loss not in FIXED]
    table = dict(FIXED)
    for i, loss in enumerate(others):
        table[loss] = SPARE[i % len(SPARE)]
    result = {}
    for loss in losses:
        colour, marker = table[loss]
        turn = others.index(loss) // len(SPARE) if loss in others else 0
        result[loss] = {"color": colour, "marker": marker, "linestyle": DASHES[turn % len(DASHES)]}
    return result


def classes(names):
    """A colour for each class."""
    return [MUTED[i % len(MUTED)] for i in range(len(names))]


def class_legend(figure, names):
    """Say below a figure which class has which colour."""
    keys = [
        patches.Patch(color=colour, label=name)
        for colour, name in zip(classes(names), names, strict=True)
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=min(9, len(keys)))


def save(figure, stem):
    """Save as SVG, PDF and PNG, without dates, so that the same figure has the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.savefig(stem.with_suffix(".png"))
    plt.close(figure)
