"""The difference behind a verdict, and the reason for it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.effects import Effect
from analysis.scores import equivalence
from analysis.scores.statistics import LEAST, Estimate

NO_VERDICT, NOT_MEASURED = "no verdict", "not measured in this study"
"""States of a claim without an interval, and without a value."""


def state(row: Mapping[str, Any]) -> str:
    """Return a verdict's word; without an interval there is no verdict.

    >>> state({"verdict": "undecided", "planned": 1, "estimate": 0.2, "error": float("nan")})
    'no verdict'
    """
    if np.isnan(row["estimate"]) and not row["planned"]:
        return NOT_MEASURED
    return NO_VERDICT if np.isnan(row["error"]) else row["verdict"]


def finding(
    estimated: Estimate,
    smallest: float,
    verdict: str,
    needed: int | None = None,
    rule: str = equivalence.AT_LEAST,
) -> str:
    """Return the difference behind a verdict, in a few words.

    needed: the number of seeds that would decide an open verdict; None if none would. rule: see
    `equivalence`.

    >>> finding(Estimate(-0.2, 0.01, 3, 4), 0.05, "contradicted")
    'the reverse'
    >>> finding(Estimate(0.08, 0.02, 3, 4), 0.05, "undecided", needed=7)
    'positive, size not settled'
    """
    if verdict == "undecided":
        return _open(estimated, needed)
    if rule == equivalence.WITHIN:
        return equivalence.FINDINGS[verdict]
    if smallest < 0:  # the claim is that nothing is lost
        return f"{'no' if verdict == 'supported' else 'a'} shortfall that matters"
    if verdict == "supported":
        return "a difference that matters"
    matters = abs(smallest)
    if estimated.high <= -matters:
        return "the reverse"
    return "no difference that matters" if estimated.low > -matters else "no such difference"


def _open(estimated: Estimate, needed: int | None) -> str:
    if np.isnan(estimated.error):
        return "not known"
    if estimated.low > 0 or estimated.high < 0:
        return f"{'positive' if estimated.low > 0 else 'negative'}, size not settled"
    if needed is None:
        return "too near to the smallest difference to tell"
    return f"{needed} seeds would settle it"


def of_dataset(effect: Effect, planned: int) -> list[str]:
    """Return the remarks on the verdict of one dataset; planned: pairs of runs."""
    if effect.cannot:
        return [effect.cannot]
    estimated, found = effect.estimated, []
    if estimated.n < planned:
        found.append(
            f"{planned - estimated.n} of {planned} pairs of runs are missing or have no value"
        )
    if estimated.n == 1:
        found.append("one seed does not show how seeds differ")
    elif estimated.n and np.isnan(estimated.error):
        found.append("every difference is the same: the spread of seeds is not known")
    elif 0 < estimated.n < min(LEAST, planned):
        found.append(f"a verdict needs {min(LEAST, planned)} seeds")
    found += effect.notes
    if estimated.sources == 1:
        found.append(
            "all test images with a value are of one source: the interval is of seeds only"
        )
    return found


def of_pool(effects: Sequence[Effect], enough: Sequence[Effect]) -> list[str]:
    """Return the remarks on the pooled verdict.

    enough: the effects that have the seeds for a verdict.
    """
    found = [
        f"{effect.dataset} cannot answer: {effect.cannot}" for effect in effects if effect.cannot
    ]
    answering = [effect for effect in effects if not effect.cannot]
    lacking = [effect.dataset for effect in answering if effect not in enough]
    if lacking:
        found.append(f"too few pairs of runs have a value: {', '.join(lacking)}")
    elif len(answering) == 1:
        found.append("one dataset can answer: there is no mean")
    for effect in answering:
        found += [f"{effect.dataset}: {note}" for note in effect.notes]
        if effect.estimated.sources == 1:
            found.append(f"{effect.dataset}: all test images with a value are of one source")
    return found
