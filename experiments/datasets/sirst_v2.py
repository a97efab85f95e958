"""SIRST v2: infrared targets of a few pixels."""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets import About, github
from experiments.datasets.reading import Sample, binary, find, lines, picture

ABOUT = About(
    title="SIRST v2, single-frame infrared small targets (the images with targets)",
    homepage="https://github.com/YimianDai/open-sirst-v2",
    licence="not stated",
    citation="Y. Dai, X. Li, F. Zhou, Y. Qian, Y. Chen, J. Yang. One-stage cascade refinement "
    "networks for infrared small target detection. IEEE TGRS 61:1-17, 2023; Y. Dai, Y. Wu, F. "
    "Zhou, K. Barnard. Asymmetric contextual modulation for infrared small target detection. "
    "WACV 2021",
    files=(github("YimianDai/open-sirst-v2", "a927e5c67a7d2e22c7c96b54703ffe9ae01a1f35"),),
    masks={"masks": "small target (values above 0)"},
    notes="Lists v1fullv2target, in 8-bit grey. The sequences of the images are unknown.",
)


def samples(folder: Path) -> Iterator[Sample]:
    """Yield the images and masks of the unpacked archives."""
    lists = {
        name: find(folder, f"splits/{name}_v1fullv2target.txt")[0]
        for name in ("trainval", "val", "test")
    }
    root = lists["test"].parents[1]
    stems = {name: " ".join(lines(path)).split() for name, path in lists.items()}
    stems["train"] = [stem for stem in stems.pop("trainval") if stem not in set(stems["val"])]
    for split, names in stems.items():
        for stem in names:
            mask = binary(root / "annotations" / "masks" / f"{stem}_pixels0.png", above=0)
            image = picture(root / "mixed" / f"{stem}.png", grey=True)
            yield Sample(stem, image, {"masks": mask}, split=split)
