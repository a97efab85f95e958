"""Step `probe`: measure which knobs the windows of each dataset reach, and print levels to paste.

It trains nothing. The levels of the study's own experiments need not be reachable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from experiments.data import objects
from experiments.data.mosaics import Mosaics
from experiments.data.scenes import Windows, borders, scenes
from experiments.data.source import Source, read_source
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.layout import INSTANCES, MASKS, PROBE, SPLITS
from experiments.plan.knobs import NATURAL, Stress

if TYPE_CHECKING:
    from experiments.plan.study import Dataset, Study

SIDE = 4
"""Windows on each side of the mosaics that are suggested."""
ABSENCE = 0.25
"""Share of images without foreground that is suggested, at most."""


def run(study: Study) -> None:
    """Print what the windows of each dataset reach, and write it as ``probe.yaml``.

    ConfigError if all images of the study are generated: they reach any level.
    """
    datasets = [dataset for dataset in study.datasets.values() if not dataset.controlled]
    if not datasets:
        raise ConfigError(
            "probe: the study has generated images only; allowed: a study with a dataset "
            "(generated images reach any level)"
        )
    lines, fractions, absences = [], {}, {}
    for dataset in datasets:
        source = read_source(study, dataset)
        lines += _measured(study, dataset, source)
        reach = {side: Mosaics(_windows(study, dataset, source), side) for side in range(2, 6)}
        ranges = (f"{k}: {m.smallest:.3g} to {m.fraction:.3g}" for k, m in reach.items())
        lines.append(f"#   fraction, by mosaic: {'; '.join(ranges)}")
        fractions[dataset.name] = _levels(reach[SIDE])
        absences[dataset.name] = _absence(study, dataset, source)
        lines.append(f"#   absence: 0 to {absences[dataset.name]:.3g}")
    lines += [
        f"# Put this in the place of `experiments:`. A mosaic of {SIDE} x {SIDE} windows trains "
        f"{SIDE**2} times as many pixels.",
        "experiments:",
    ]
    text = "\n".join([*lines, *_block(fractions, absences)]) + "\n"
    write_whole(study.file(PROBE), text)
    sys.stdout.write(text)


def _windows(study: Study, dataset: Dataset, source: Source, split: str = "train") -> Windows:
    return Windows(study, dataset, Stress(), source, split)


def _measured(study: Study, dataset: Dataset, source: Source) -> Iterator[str]:
    """Yield comment lines about the training windows, by the knobs that place and scale them."""
    counts = ", ".join(f"{len(source.stems[split])} {split}" for split in SPLITS)
    sides = {source.read(stem)[0].shape[:2] for stem in source.stems["train"]}
    least, most = min(sides), max(sides)
    sizes = f"{least[0]} x {least[1]}" + (f" to {most[0]} x {most[1]}" if most != least else "")
    yield f"# {dataset.name}: {counts} images of {sizes} pixels, windows of {study.image_size}"
    stresses = {
        "no knob (windows around objects)": Stress(),
        "fraction: natural (windows anywhere)": Stress({"fraction": NATURAL}),
        "size: small": Stress({"size": "small"}),
        "size: mixed": Stress({"size": "mixed"}),
    }
    for words, stress in stresses.items():
        masks = [masks for *_, masks in scenes(study, dataset, stress, 0, source)["train"]]
        found = objects.summary(
            [each[MASKS] for each in masks],
            [each.get(INSTANCES) for each in masks],
            borders(study, dataset, stress),
        )
        yield (
            f"#   {words}: foreground {np.mean([each[MASKS].mean() for each in masks]):.3g}, "
            f"{found['objects']:.3g} objects of {found['size_q10']:.0f} to "
            f"{found['size_q90']:.0f} px (median {found['size_q50']:.0f}), {found['cut']:.0%} of "
            f"them cut, {found['near_border']:.0%} of the foreground near a border, "
            f"{np.mean([not each[MASKS].any() for each in masks]):.0%} of the windows empty"
        )


def _levels(mosaics: Mosaics) -> list[float]:
    """Return fractions from the largest to the smallest, a factor of 4 apart."""
    number = SIDE**2 if mosaics.smallest < mosaics.fraction else 1
    steps = [mosaics.fraction / 4**i for i in range(int(np.log2(number) / 2) + 1)]
    return [float(f"{step:.3g}") for step in steps]


def _absence(study: Study, dataset: Dataset, source: Source) -> float:
    """Return the largest share of images without foreground that every split reaches."""
    shares = []
    for split in SPLITS:
        windows = _windows(study, dataset, source, split)
        shares.append(float(np.mean([_can_be_empty(windows, i) for i in range(len(windows))])))
    return min(shares)


def _can_be_empty(windows: Windows, i: int) -> bool:
    if not windows.image(i)[1][MASKS].any():
        return True
    try:
        windows.image(i, empty=True)
    except LookupError:
        return False
    return True


def _block(fractions: dict[str, list[float]], absences: dict[str, float]) -> Iterator[str]:
    """Yield the lines of the suggested experiments."""
    yield from (
        "  imbalance:",
        "    knob: fraction",
        f"    hold: {{mosaic: {SIDE}}}",
        "    values:",
    )
    yield from (f"      {name}: {levels}" for name, levels in fractions.items())
    yield from ("  object_size:", "    levels:", "      full scale: {}")
    yield from ("      half scale: {size: small}", "      side by side: {size: mixed}")
    if max(absences.values()) < ABSENCE:
        return
    yield from ("  absence:", "    knob: absence", "    values:")
    for name, share in absences.items():
        yield f"      {name}: {[0, ABSENCE] if share >= ABSENCE else [0]}"
