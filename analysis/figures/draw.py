"""Draw the figures of a study: each as SVG, PDF and PNG, with its caption in ``captions.json``."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis.figures import (
    axes,
    cards,
    classes,
    curves,
    examples,
    learned,
    maps,
    mechanism,
    overview,
    ranks,
    rates,
    situations,
    style,
    sweep,
    threshold,
)
from analysis.figures.scope import Planned
from experiments.errors import ConfigError
from experiments.files import temporary_folder, whole_folder, write_whole
from experiments.layout import CAPTIONS, FIGURES
from losses import nearest

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.results import Results

log = logging.getLogger("dicebench")
MAKERS = (
    mechanism,
    maps,
    situations,
    overview,
    ranks,
    rates,
    axes,
    sweep,
    examples,
    learned,
    threshold,
    classes,
    curves,
    cards,
)
"""Modules with a function `figures(results)`; to add a figure, write its module and add it here."""


def run(results: Results, name: str | None = None) -> None:
    """Draw all figures, or the one with this name; raise ConfigError for an unknown name."""
    style.use()
    study = results.study
    folder = study.file(FIGURES)
    figures = {figure.stem: figure for figure in plan(results)}
    if name is None:
        with whole_folder(folder) as part:
            _save(figures, part, {})
    elif name in figures:
        figures = {name: figures[name]}
        path = folder / CAPTIONS
        with temporary_folder(folder / name) as part:
            _save(figures, part, json.loads(path.read_text()) if path.exists() else {})
            for file in part.iterdir():
                os.replace(file, folder / file.name)
    else:
        raise ConfigError(
            f"figure: {name!r} is not allowed{nearest(name, figures)}; allowed: "
            f"{', '.join(figures)}"
        )
    log.info("figures: %d in %s", len(figures), folder)


def _save(figures: Mapping[str, Planned], folder: Path, captions: dict[str, Any]) -> None:
    """Draw figures into a folder and add their captions to the others."""
    for stem, planned in figures.items():
        figure, caption = planned.draw()
        width = min(100, round(100 * figure.get_figwidth() / style.WIDTH))
        style.save(figure, folder / stem)
        entry = {"kind": planned.kind, "caption": caption, "width": width}
        captions[stem] = entry | planned.about
    write_whole(folder / CAPTIONS, json.dumps(captions, indent=1) + "\n")


def plan(results: Results) -> list[Planned]:
    """Return the figures of a study: general ones, then by dataset, experiment and setting."""
    study = results.study
    orders: dict[str, list[Any]] = {
        "dataset": list(study.datasets),
        "experiment": list(study.experiments),
        "setting": [setting.label for setting in study.settings],
    }

    def position(figure: Planned) -> list[int]:
        keys = {"dataset": -1, "experiment": len(study.experiments), "setting": 0}
        return [
            orders[key].index(figure.about[key]) if key in figure.about else default
            for key, default in keys.items()
        ]

    figures = sorted((f for maker in MAKERS for f in maker.figures(results)), key=position)
    return list(_with_own_stems(figures))


def _with_own_stems(figures: Iterable[Planned]) -> Iterator[Planned]:
    """Yield figures with different stems: names of a study can join to equal ones."""
    taken: Counter[str] = Counter()
    for figure in figures:
        taken[figure.stem] += 1
        number = taken[figure.stem]
        yield replace(figure, stem=f"{figure.stem}-{number}") if number > 1 else figure
