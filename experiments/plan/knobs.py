"""The knobs of a stress: one row each. Standard library only.

To add a knob, add its row here and its function in `experiments.data.stress` (labels and images)
or `experiments.data.controlled` (generated images).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.plan.seeds import shortened

LONGEST = 180
"""Bytes of the name of a stress, which is a folder's name too."""
NATURAL = "natural"
"""Fraction of windows that are placed anywhere in an image, as the dataset has it."""
CONTROLLED_FRACTION = 0.06
"""Foreground fraction of generated images without a stress."""


@dataclass(frozen=True)
class Knob:
    """One property of a dataset that a stress can set.

    neutral: the value that changes nothing. acts_on: "objects" (images and masks), "images" or
    "labels" (training labels only). axis: axis label of a numeric knob. low, high: its range,
    with open ends if `open_low`, `open_high`. choices: the allowed words. log: whether the
    axis is logarithmic. whole: whole numbers only. generated_only: a knob of generated images
    only. windows_only: a knob of windows of a dataset's images; it leaves generated ones alone.
    """

    neutral: Any
    acts_on: str
    doc: str
    axis: str | None = None
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    log: bool = False
    whole: bool = False
    generated_only: bool = False
    windows_only: bool = False


KNOBS = {
    "size": Knob(
        "large",
        "objects",
        "objects `large`, `small` or `mixed`, at the same foreground fraction",
        choices=("large", "small", "mixed"),
    ),
    "fraction": Knob(
        None,
        "objects",
        "share of foreground pixels; of a dataset's images in mosaics. `natural`: windows "
        "anywhere in a dataset's images",
        "Foreground fraction",
        0,
        1,
        open_low=True,
        open_high=True,
        choices=(NATURAL,),
        log=True,
    ),
    "mosaic": Knob(
        1,
        "objects",
        "windows on each side of an image: `fraction` sets how many of them show objects",
        "Windows on each side of an image",
        1,
        16,
        whole=True,
        windows_only=True,
    ),
    "absence": Knob(
        0.0,
        "objects",
        "share of images without any foreground",
        "Share of images that are empty",
        0,
        1,
        open_high=True,
    ),
    "left_out": Knob(
        0.0,
        "objects",
        "share of objects whose pixels are ignored in training and in scores",
        "Share of objects left out",
        0,
        1,
        open_high=True,
    ),
    "rough": Knob(
        0.0,
        "objects",
        "fine waves of the outlines: sd as a share of the radius",
        "Waves of outlines, sd / radius",
        0,
        0.5,
        generated_only=True,
    ),
    "overlap": Knob(
        0.0,
        "objects",
        "share of objects that are placed across another one",
        "Share of objects across another",
        0,
        1,
        generated_only=True,
    ),
    "blur": Knob(0.0, "images", "sigma (px) of a Gaussian blur", "Image blur, sigma (px)", 0, 256),
    "image_noise": Knob(
        0.0, "images", "sd of added noise (white is 1)", "Image noise, sd (white is 1)", 0, 1
    ),
    "observer": Knob(
        None, "labels", "target whose masks are the training labels, such as a second observer's"
    ),
    "missed": Knob(
        0.0,
        "labels",
        "share of objects without a label",
        "Share of objects not labelled",
        0,
        1,
        open_high=True,
    ),
    "invented": Knob(
        0.0, "labels", "false objects per true one", "False objects per true one", 0, 1000
    ),
    "overdraw": Knob(
        0.0,
        "labels",
        "px that labels are drawn too large (< 0: too small)",
        "Labels drawn too large by (px)",
        -32,
        32,
    ),
    "shift": Knob(
        0.0, "labels", "px that a mask as a whole is moved", "Shift of training masks (px)", 0, 1024
    ),
    "jitter": Knob(0.0, "labels", "sd (px) of the boundary", "Label jitter, sd (px)", 0, 1024),
    "flips": Knob(
        0.0,
        "labels",
        "share of pixels with a flipped label",
        "Share of training labels flipped",
        0,
        0.5,
        open_high=True,
    ),
    "flips_background": Knob(
        0.0,
        "labels",
        "share of background pixels with a flipped label",
        "Share of background flipped",
        0,
        1,
        open_high=True,
    ),
    "flips_foreground": Knob(
        0.0,
        "labels",
        "share of foreground pixels with a flipped label",
        "Share of foreground flipped",
        0,
        1,
        open_high=True,
    ),
}
"""Name -> knob. The README's table, the checks and the axis labels derive from it."""

LABEL_KNOBS = frozenset(name for name, knob in KNOBS.items() if knob.acts_on == "labels")
"""Knobs that change training labels."""


class Stress(Mapping[str, Any]):
    """An immutable set of knobs, sorted by name; without any knob the dataset as it is.

    >>> Stress({"size": "small", "fraction": 0.3}).name
    'fraction-0.3_size-small'
    >>> Stress().name
    'none'
    """

    def __init__(self, knobs: Mapping[str, Any] | None = None) -> None:
        self._knobs = dict(sorted((knobs or {}).items()))

    def __getitem__(self, knob: str) -> Any:
        return self._knobs[knob]

    def __iter__(self) -> Iterator[str]:
        return iter(self._knobs)

    def __len__(self) -> int:
        return len(self._knobs)

    def __hash__(self) -> int:
        return hash(tuple(self._knobs.items()))

    def __repr__(self) -> str:
        return f"Stress({self._knobs})"

    @property
    def name(self) -> str:
        """Name in paths and tables: ``none``, ``flips-0.3``, ..."""
        text = "_".join(f"{knob}-{value}" for knob, value in self._knobs.items())
        return shortened(text, LONGEST) or "none"

    @property
    def share(self) -> float | None:
        """The foreground fraction that is set as a number."""
        fraction = self._knobs.get("fraction")
        return None if fraction == NATURAL else fraction

    @property
    def mosaic(self) -> int:
        """Windows on each side of an image."""
        return self._knobs.get("mosaic", KNOBS["mosaic"].neutral)
