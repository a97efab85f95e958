"""The claims, one file each: the docstring is the claim, CLAIM tells how it is measured.

A file of this package is a claim: to add one, add a file with a docstring and a CLAIM. A published
finding is a claim with a `source`: it finds its levels by their knobs, in any experiment. Levels,
signs and smallest differences were fixed before the reference study was run; BUDGET and LOOKS are
its training steps and its numbers of seeds.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from experiments.plan.study import Experiment, Level

BUDGET = 480
"""Training steps of the reference study."""
LOOKS = (3, 6, 12)
"""Numbers of seeds after which the reference study decides."""


@dataclass(frozen=True)
class Panel:
    """One panel of a mechanism's figure: a quantity against its x, one line per loss.

    ylim: range of the y axis, widened to include all values. line: a grey line at a value of an
    axis, ("x", 0.0) or ("y", 1.0).
    """

    quantity: str
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    ylim: tuple[float, float] | None = None
    line: tuple[str, float] | None = None


@dataclass(frozen=True)
class Mechanism:
    """How a claim is measured without training, on constructed predictions.

    The estimate is `sign` times the `quantity` (of `experiments.runs.mechanism`) of the loss at
    the x that is nearest to `x`; minus that of the reference loss if `against`. The claim is that
    the estimate is at least `smallest`. condition: the constructed case, in words. says: the
    estimate in words. panels, caption: the figure; a function makes the caption of the measured
    table.
    """

    quantity: str
    x: float
    unit: str
    condition: str
    smallest: float
    says: str
    sign: int = 1
    against: bool = True
    panels: tuple[Panel, ...] = ()
    caption: str | Callable[[pd.DataFrame], str] = ""


@dataclass(frozen=True)
class Plain:
    """The results of a claim as sentences, with {loss}, {against}, and {size}: |estimate|.

    holds: the effect is as the claim says. reverse: it has the other sign, or there is a shortfall
    or difference that matters where the claim says that there is none. neither: it is too small
    for the claim, and not the reverse.
    """

    holds: str
    reverse: str
    neither: str = ""


@dataclass(frozen=True)
class Claim:
    """How a claim becomes a number.

    On trained models the estimate is sign * sum over levels of weight * mean(metric of the loss -
    metric of a reference loss of the study). The claim is that the estimate is at least `smallest`.

    experiment: name of the experiment; None: the first one with levels that answer. weights:
    function of the levels that returns [(weight, level)], empty if the levels cannot answer. also:
    second metric in the experiment's figure. plain: the results in plain words. against_tuned: the
    reference loss is always at its tuned threshold. about: the loss that the claim is about.
    against: the one loss that it is compared with, at `threshold` only; empty: none, the metric is
    that of the loss alone; None: every loss of the study is compared with each of its references,
    at 0.5 and tuned. equivalent: the claim is that the estimate is within -smallest and +smallest.
    source: the publication of a finding; published: its figures. primary: the claim belongs to the
    primary families: verdicts on the loss that it is about, at threshold 0.5 and the fixed learning
    rate, on generated images and pooled over real datasets. figure: figure module that is shown
    instead of the experiment's figures. order: place among the claims. needs: the content that a
    test image has to have for a value of the metric. words: the file's docstring.
    """

    title: str
    order: int
    smallest: float | None = None
    unit: str = ""
    says: str = ""
    plain: Plain | None = None
    experiment: str | None = None
    metric: str = "dice"
    also: str = "area_ratio"
    weights: Callable[[Sequence[Level]], list[tuple[float, Level]]] | None = None
    sign: int = 1
    against_tuned: bool = False
    about: str = "dice"
    against: str | None = None
    threshold: str = "0.5"
    equivalent: bool = False
    source: str = ""
    published: str = ""
    primary: bool = False
    figure: str | None = None
    mechanism: Mechanism | None = None
    needs: str = "foreground"
    words: str = ""

    @property
    def brief(self) -> bool:
        """Whether the claim is a row of the table of published findings, without a page."""
        return bool(self.source) and self.mechanism is None

    def within(self, experiments: Mapping[str, Experiment]) -> Claim | None:
        """Return the claim with the experiment that answers it, None if there is none."""
        names = [self.experiment] if self.experiment else experiments
        present = [name for name in names if name in experiments] if self.weights else []
        if self.source:  # without levels that answer, the article's claims say so
            present = [n for n in present if any(map(self.weights, experiments[n].levels.values()))]
        return replace(self, experiment=present[0]) if present else None


def load() -> dict[str, Claim]:
    """Return all claims by file name, in their order.

    >>> list(load())[:2]
    ['imbalance', 'boundary']
    """
    claims = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        claims[file.name] = replace(module.CLAIM, words=module.__doc__.strip())
    return dict(sorted(claims.items(), key=lambda item: item[1].order))


def ends(levels: Sequence[Level]) -> tuple[Level, Level] | None:
    """Return the levels with the least and the greatest value, None if fewer than two have one."""
    numeric = sorted((level for level in levels if level.value is not None), key=lambda v: v.value)
    return (numeric[0], numeric[-1]) if len(numeric) > 1 else None


def hardest(levels: Sequence[Level], *, least: bool) -> list[tuple[float, Level]]:
    """Return the level with the least or the greatest value, with weight 1.

    Empty if fewer than two levels have a value.
    """
    pair = ends(levels)
    return [(1, pair[0 if least else 1])] if pair else []


def evenly(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return every level with the same weight.

    >>> evenly(["a", "b"])
    [(0.5, 'a'), (0.5, 'b')]
    """
    return [(1 / len(levels), level) for level in levels]


def clean(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level of the dataset as it is, with the study's training settings."""
    return [(1, level) for level in levels if not level.stress and not level.training][:1]


def most(levels: Sequence[Level], knob: str) -> list[tuple[float, Level]]:
    """Return the level with the greatest value of a knob, empty if none sets it."""
    having = [level for level in levels if level.stress.get(knob)]
    return [(1, max(having, key=lambda level: level.stress[knob]))] if having else []


def shares(levels: Sequence[Level]) -> list[Level]:
    """Return the levels with a foreground fraction, the least first; empty if all have the same."""
    found = [level for level in levels if level.stress.share is not None]
    found.sort(key=lambda level: level.stress.share)
    return found if found and found[0].stress.share < found[-1].stress.share else []


def rarest(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level with the least foreground fraction of several."""
    return [(1, level) for level in shares(levels)[:1]]


def mixed(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the levels with large objects among small ones, evenly weighted."""
    return evenly([level for level in levels if level.stress.get("size") == "mixed"])


def jittered(levels: Sequence[Level]) -> list[tuple[float, Level]]:
    """Return the level with the most jitter of the labels' boundaries."""
    return most(levels, "jitter")
