"""Families of verdicts: those that share an error of 5%, and the decision on each verdict.

Two families are **primary**: the claims with `primary`, for the loss that they are about, against
the study's first reference, at threshold 0.5, the fixed learning rate and the reference setting.
One is of generated images; the other is the mean of the real datasets, or the only real dataset.
All other verdicts on trained models are **secondary**: a family is the claims on one dataset (or
on the mean of the datasets) for one loss, reference, threshold, learning rate and setting. The
claims with a pair of losses of their own, published findings, are a family for each dataset,
learning rate and setting. A mechanism is computed without error and is in no family.

Holm's correction holds within a family, primary or secondary: it is valid however the verdicts
depend on each other, and they share runs. So a family has a false verdict with a probability of at
most 5%; of many secondary families, which explore, one in twenty may have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.remarks import finding
from analysis.scores import equivalence, forecast, statistics
from analysis.scores.statistics import LEVEL, NAN, Estimate

PRIMARY, SECONDARY = "primary", "secondary"
MOST = 48
"""Greatest number of seeds that is named: four times the reference study's last look."""
YES = "yes"


@dataclass(frozen=True)
class Verdict:
    """A claim compared with one dataset (or the mean of the real ones) at one level, for one loss.

    against: the reference loss, empty if the claim has none. threshold: of the loss; the reference
    loss has the same one unless the claim is `against_tuned`. rate: the learning rate, `fixed` for
    all losses or `tuned` for each. setting: label of the training setting. family: PRIMARY,
    SECONDARY or empty, see this module. error, df: standard error of the estimate and its degrees
    of freedom. low, high: 95% interval; low90, high90: 90% interval. n of planned: pairs of runs,
    by seed; of the mean, datasets that can answer. p: of the effect being on the other side of the
    smallest difference; two-sided on generated images at threshold 0.5. p_corrected: by Holm,
    within the family. seeds_needed: least number of seeds that would decide an open verdict if its
    estimate stayed; None if it is decided, or if MOST would not do. next_low, next_high,
    next_probability: of a dataset that is not in the suite, its 95% prediction interval and the
    probability that its effect is at least `smallest`. fragile: YES if the verdict would not be
    decided without some single seed. floor: levels at which no loss has found anything. rule: the
    claim is that the effect is `at least` the smallest difference, or `within` it on either side of
    0.
    """

    claim: str
    level: str
    dataset: str
    stress: str
    loss: str
    against: str
    threshold: str
    rate: str
    setting: str
    family: str
    estimate: float
    error: float
    df: float
    low: float
    high: float
    low90: float
    high90: float
    unit: str
    smallest: float
    n: int
    planned: int
    p: float = NAN
    p_corrected: float = NAN
    verdict: str = "undecided"
    finding: str = ""
    seeds_needed: int | None = None
    next_low: float = NAN
    next_high: float = NAN
    next_probability: float = NAN
    fragile: str = ""
    floor: str = ""
    reason: str = ""
    rule: str = equivalence.AT_LEAST


@dataclass(frozen=True)
class Candidate:
    """A verdict before its decision.

    pair: the claim has a pair of losses of its own. sides: of the test. enough: whether there are
    enough seeds and datasets for a verdict. datasets: those that it is about; none if they cannot
    answer. without_one: makes the estimates without each of the seeds.
    """

    row: Verdict
    estimated: Estimate
    pair: bool = False
    sides: int = 1
    enough: bool = True
    datasets: tuple[str, ...] = ()
    without_one: Callable[[], Iterable[Estimate]] = tuple

    @property
    def family(self) -> tuple[str, ...]:
        """The verdicts that the p value is corrected for."""
        row = self.row
        if row.family == PRIMARY:
            return (PRIMARY, row.level)
        key = row.family, row.level, row.dataset, row.rate, row.setting
        return key if self.pair else (*key, row.loss, row.against, row.threshold)

    def asked(self, estimated: Estimate) -> tuple[Estimate, float]:
        """Return an estimate and the bound that it is to be at least, by the claim's rule."""
        return equivalence.asked(estimated, self.row.smallest, self.row.rule)

    def p(self, estimated: Estimate) -> float:
        """Return the p of an estimate in place of the candidate's own."""
        asked, bound = self.asked(estimated)
        return asked.p(bound, self.sides)

    def decide(self, estimated: Estimate, p: float) -> str:
        """Return the verdict on an estimate with a corrected p."""
        return statistics.decide(*self.asked(estimated), p)


def settle(candidates: Iterable[Candidate]) -> list[Verdict]:
    """Return the verdicts, corrected within their families and decided."""
    candidates = list(candidates)
    families: dict[tuple[str, ...], list[int]] = {}
    for i, candidate in enumerate(candidates):
        if candidate.row.family:
            families.setdefault(candidate.family, []).append(i)
    decided: dict[int, Verdict] = {}
    for places in families.values():
        members = [candidates[i] for i in places]
        decided |= dict(zip(places, _settle(members), strict=True))
    return [decided.get(i) or _computed(candidate) for i, candidate in enumerate(candidates)]


def _settle(members: Sequence[Candidate]) -> list[Verdict]:
    """Return the verdicts of one family."""
    corrected = statistics.correct([member.p(member.estimated) for member in members])
    verdicts = [
        member.decide(member.estimated, p) if member.enough else "undecided"
        for member, p in zip(members, corrected, strict=True)
    ]
    # Holm's next step: a verdict is decided if its p is at most 5% over the number of open ones.
    still = sum(
        verdict == "undecided" and not np.isnan(p)
        for verdict, p in zip(verdicts, corrected, strict=True)
    )
    return [
        _decided(member, float(p), verdict, LEVEL / max(still, 1))
        for member, p, verdict in zip(members, corrected, verdicts, strict=True)
    ]


def _decided(member: Candidate, p: float, verdict: str, level: float) -> Verdict:
    """Return a verdict with its finding; level: the greatest p that would decide it if open."""
    row, estimated, needed = member.row, member.estimated, None
    own, reason = member.p(estimated), row.reason
    if verdict == "undecided":
        asked = member.asked(estimated)
        needed = forecast.seeds_needed(*asked, level / member.sides, MOST)
        alone = member.decide(estimated, own)
        if member.enough and alone != "undecided":
            single = f"{alone} without the correction for the verdicts of the family (p = {p:.3f})"
            reason = "; ".join(filter(None, (single, reason)))
    return replace(
        row,
        p=own,
        p_corrected=p,
        verdict=verdict,
        finding=finding(estimated, row.smallest, verdict, needed, row.rule),
        seeds_needed=needed,
        fragile=YES if _fragile(member, p, verdict) else "",
        reason=reason,
    )


def _fragile(member: Candidate, p: float, verdict: str) -> bool:
    """Return whether a decided verdict would not be so without some single seed.

    The correction stays: p is multiplied as that of all seeds was.
    """
    own = member.p(member.estimated)
    factor = p / own if own > 0 else 1.0
    return verdict != "undecided" and any(
        member.decide(fewer, factor * member.p(fewer)) != verdict for fewer in member.without_one()
    )


def _computed(candidate: Candidate) -> Verdict:
    """Return a verdict on an exact number."""
    row, verdict = candidate.row, candidate.decide(candidate.estimated, 0.0)
    return replace(
        row, verdict=verdict, finding=finding(candidate.estimated, row.smallest, verdict)
    )
