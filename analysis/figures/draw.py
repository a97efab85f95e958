"""Draw the figures of a study: each as SVG, PDF and PNG, with its caption in ``captions.json``."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from analysis.figures import (
    axes,
    classes,
    curves,
    examples,
    learned,
    maps,
    mechanism,
    overview,
    ranks,
    rates,
    style,
    sweep,
    threshold,
)
from analysis.figures.scope import Planned
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.layout import CAPTIONS, FIGURES
from losses import nearest

if TYPE_CHECKING:
    from analysis.results import Results

log = logging.getLogger("dicebench")
MAKERS = (
    mechanism,
    maps,
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
)
"""Modules with a function `figures(results)`; to add a figure, write its module and add it here."""


def run(results: Results, name: str | None = None) -> None:
    """Draw all figures, or the one with this name; raise ConfigError for an unknown name."""
    style.use()
    study = results.study
    folder = study.file(FIGURES)
    path = folder / CAPTIONS
    figures = {figure.stem: figure for figure in plan(results)}
    captions = {}
    if name is not None:
        if name not in figures:
            raise ConfigError(
                f"figure: {name!r} is not allowed{nearest(name, figures)}; allowed: "
                f"{', '.join(figures)}"
            )
        captions = json.loads(path.read_text()) if path.exists() else {}
        figures = {name: figures[name]}
    for stem, planned in figures.items():
        figure, caption = planned.draw()
        width = min(100, round(100 * figure.get_figwidth() / style.WIDTH))
        style.save(figure, folder / stem)
        entry = {"kind": planned.kind, "caption": caption, "width": width}
        captions[stem] = entry | planned.about
    write_whole(path, json.dumps(captions, indent=1) + "\n")
    log.info("figures: %d in %s", len(figures), folder)


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

    return sorted((f for maker in MAKERS for f in maker.figures(results)), key=position)
