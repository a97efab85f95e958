"""Situations that a loss is recommended for, and the levels of a study that show them.

A level shows the situation of the knobs that its stress sets. It shows none if it sets knobs of
several, or another knob. `size`, `fraction` and `mosaic` may accompany the knobs of a situation,
except for `size: mixed`, which is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from experiments.plan.knobs import NATURAL, Stress
from experiments.plan.labels import label_of

if TYPE_CHECKING:
    from experiments.plan.study import Level, Setting, Study

AS_IS, RARE, MIXED, FLIPPED = "as is", "rare foreground", "small beside large", "flipped labels"
KNOBS = {
    AS_IS: (),
    RARE: (),
    MIXED: (),
    "blurred or misdrawn boundaries": ("blur", "jitter", "overdraw"),
    FLIPPED: ("flips",),
    "label errors": (
        *("flips_background", "flips_foreground", "missed", "invented", "shift", "observer"),
    ),
    "absent foreground": ("absence",),
}
"""Situation -> its knobs, in the order of tables. The first three follow from size and fraction."""
PHRASES = {"flips": "{}", "missed": "{} of objects missing", "absence": "{} of windows empty"}
"""Knob -> words for its share in a situation."""
COMPANIONS = {"size", "fraction", "mosaic"}
RARE_BELOW = 0.015
"""Foreground fraction below which foreground is rare on any dataset."""


def situation_of(stress: Stress) -> str | None:
    """Return the situation of a stress, or None.

    A numeric fraction alone is a candidate for rare foreground; `cells` decides. Windows anywhere
    in a dataset's images (`fraction: natural`) show the dataset as it is.

    >>> situation_of(Stress({"blur": 2})), situation_of(Stress({"blur": 2, "flips": 0.1}))
    ('blurred or misdrawn boundaries', None)
    """
    if set(stress) <= {"fraction"} and stress.get("fraction", NATURAL) == NATURAL:
        return AS_IS
    own = set(stress) - COMPANIONS
    found = [name for name, knobs in KNOBS.items() if own & set(knobs)]
    if stress.get("size") == "mixed":
        found.append(MIXED)
    elif not own and stress.share is not None:
        found.append(RARE)
    known = {knob for name in found for knob in KNOBS[name]}
    return found[0] if len(found) == 1 and own <= known else None


def cells(study: Study, dataset: str, setting: Setting) -> dict[str, list[dict[str, Any]]]:
    """Return situation -> the columns that select each of its cells (`Study.where`), each once.

    As is: without a stress; windows anywhere only on a dataset without such a level. Rare
    foreground: levels below 1.5%, and the smallest fraction of each experiment that varies it.
    Flipped labels: the largest share. Situations without a cell are left out.
    """
    found: dict[str, dict[Stress, dict[str, Any]]] = {name: {} for name in KNOBS}
    smallest = set()
    for name in study.experiments:
        if setting not in study.settings_of(name):
            continue
        levels = list(_levels(study, name, dataset, setting))
        shares = {x.stress.share for x in levels if situation_of(x.stress) == RARE}
        smallest |= {min(shares)} if len(shares) > 1 else set()
        for level in levels:
            cells = found.get(situation_of(level.stress), {})
            if level.stress not in cells or not level.training:
                cells[level.stress] = study.where(dataset, level, setting)
    if Stress() in found[AS_IS]:
        found[AS_IS] = {Stress(): found[AS_IS][Stress()]}
    found[RARE] = {
        stress: at
        for stress, at in found[RARE].items()
        if stress.share < RARE_BELOW or stress.share in smallest
    }
    most = max((stress["flips"] for stress in found[FLIPPED]), default=None)
    found[FLIPPED] = {s: at for s, at in found[FLIPPED].items() if s["flips"] == most}
    return {name: list(at.values()) for name, at in found.items() if at}


def _levels(study: Study, experiment: str, dataset: str, setting: Setting) -> Iterator[Level]:
    """Yield the levels of an experiment at a setting.

    A training field that differs between the levels must have the setting's value. One that all
    levels set alike belongs to the experiment.
    """
    levels = study.experiments[experiment].levels[dataset]
    for level in levels:
        varied = {f: v for f, v in level.training.items() if any(_other(x, f, v) for x in levels)}
        if all(label_of(v) == setting.labels[f] for f, v in varied.items()):
            yield level


def _other(level: Level, field: str, value: Any) -> bool:
    return level.training.get(field) != value


def words(study: Study, situation: str, datasets: Sequence[str]) -> str:
    """Return the levels of a situation on some datasets in words, at the reference setting.

    Rare foreground: its fractions; as is: the place of the windows of real images. Others: the
    share of their knob, if they have one knob and it is in PHRASES; else empty.
    """
    found = [
        study.stresses(name)[where["stress"]]
        for name in datasets
        for where in cells(study, name, study.settings[0]).get(situation, ())
    ]
    if situation == AS_IS and not any(study.datasets[name].controlled for name in datasets):
        return "windows anywhere" if all(found) else "windows around objects"
    if situation == RARE:
        return f"{_span([stress.share for stress in found])} of pixels"
    turned = {knob for stress in found for knob in KNOBS[situation] if knob in stress}
    if len(turned) != 1 or not turned <= PHRASES.keys():
        return ""
    (knob,) = turned
    return PHRASES[knob].format(_span([stress[knob] for stress in found]))


def _span(shares: Sequence[float]) -> str:
    low, high = f"{100 * min(shares):.2g}%", f"{100 * max(shares):.2g}%"
    return low if low == high else f"{low} to {high}"
