"""Seeds of a study, and its looks: seeds that it gets only where a primary verdict is undecided.

With ``seeds: {looks: [3, 6, 12]}`` every run has the seeds 0 to 2. The **decision** of a look is
the file ``looks/look-K.json``: the verdicts that are decided with the seeds so far, and the runs
that get the seeds of the next look.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from experiments.errors import ConfigError
from experiments.plan.types import Count, whole
from experiments.plan.values import to_number, unique

if TYPE_CHECKING:
    from experiments.plan.runs import RunSpec

LOOKS = "looks"
"""Folder of the decisions in a study's folder."""
Run = tuple[str, str, str, str]
"""Dataset, stress, name of the setting and loss: a run without its seed and learning rate."""


SEEDS = 10_000
"""Number of seeds, at most."""


def seed_list(value: Any) -> Any:
    """Read ``4`` as the seeds 0 to 3."""
    value = to_number(value)
    number = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= SEEDS
    if not number and not isinstance(value, list):
        raise ValueError(
            f"{value!r} is not allowed; allowed: at most {SEEDS} seeds, a list of seeds, or "
            "{looks: [3, 6, 12]}"
        )
    return list(range(value)) if isinstance(value, int) else value


def increasing(values: list[int]) -> list[int]:
    """Check that the numbers of a list increase."""
    for before, value in pairwise(values):
        if value <= before:
            raise ValueError(f"{value} after {before} is not allowed; allowed: increasing numbers")
    return values


class Looks(BaseModel):
    """Numbers of seeds at which the study looks for primary verdicts that are undecided.

    Only the runs that these verdicts rest on get the seeds of the next look, `at_most` in all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    looks: Annotated[list[whole(ge=2, le=SEEDS)], Field(min_length=1), AfterValidator(increasing)]
    until: Literal["decided"] = "decided"
    at_most: Count | None = None

    @model_validator(mode="after")
    def _check_most(self) -> Self:
        first, last = self.looks[0], self.looks[-1]
        if self.at_most is not None and not first <= self.at_most <= last:
            raise ConfigError(
                f".at_most: {self.at_most} is not allowed; allowed: from the first look to the "
                f"last, {first} to {last}"
            )
        return self


SeedList = Annotated[
    list[whole(ge=0)],
    Field(min_length=1),
    BeforeValidator(unique),
    BeforeValidator(seed_list),
    WithJsonSchema({"type": ["integer", "array"], "items": {"type": "integer"}}),
]
Seeds = Annotated[
    Annotated[SeedList, Tag("fixed")] | Annotated[Looks, Tag("adaptive")],
    Discriminator(lambda v: "adaptive" if isinstance(v, dict | Looks) else "fixed"),
]
"""The seeds of every run, or `Looks`."""


def by_look(seeds: list[int] | Looks) -> list[list[int]]:
    """Return the seeds that are new at each look. A fixed list is one look.

    >>> by_look(Looks(looks=[2, 4, 9], at_most=5))
    [[0, 1], [2, 3], [4]]
    """
    if not isinstance(seeds, Looks):
        return [seeds]
    ends = numbers_of(seeds.looks, seeds.at_most)
    return [list(range(*pair)) for pair in pairwise([0, *ends])]


def numbers_of(looks: Sequence[int], at_most: int | None) -> list[int]:
    """Return the number of seeds at each look, none above `at_most`.

    >>> numbers_of([3, 6, 12], None), numbers_of([3, 6, 12], 8)
    ([3, 6, 12], [3, 6, 8])
    """
    most = at_most or looks[-1]
    return [number for number in looks if number < most] + [most]


def shares(numbers: Sequence[int]) -> list[float]:
    """Return the share of the error that each look may spend: in proportion to its seeds.

    The shares sum to 1. So by the union bound, false verdicts at all looks together are no more
    frequent than the error, however the looks depend on each other.

    >>> [round(share, 3) for share in shares([3, 6, 12])]
    [0.143, 0.286, 0.571]
    """
    return [number / sum(numbers) for number in numbers]


def named(name: str, look: int) -> str:
    """Return the name of a dataset's or job's part at a look. No name of a dataset has a dot.

    >>> named("wbc", 1), named("wbc", 2)
    ('wbc', 'wbc.look-2')
    """
    return name if look == 1 else f"{name}.look-{look}"


def file(look: int) -> str:
    """Return the file of a look's decision, relative to the study's folder.

    >>> file(2)
    'looks/look-2.json'
    """
    return f"{LOOKS}/look-{look}.json"


class Plan:
    """The runs of a study that are planned so far.

    possible: those that the study has if each run gets all seeds. by_look: the seeds that are new
    at each look. decisions: of the looks so far; each chooses the runs of the look after it.
    """

    def __init__(
        self,
        possible: Sequence["RunSpec"],
        by_look: Sequence[Sequence[int]],
        decisions: Sequence[dict[str, Any]],
    ) -> None:
        self.look = {seed: k for k, new in enumerate(by_look, 1) for seed in new}
        self._chosen = {k: chosen(decision) for k, decision in enumerate(decisions, 2)}
        self.runs = [run for run in possible if self._has(run)]
        self._seeds: dict[tuple[str, ...], dict[int, None]] = {}
        for run in self.runs:
            where = _where(run)
            for key in (where[:2], where):
                self._seeds.setdefault(key, {})[run.seed] = None

    def _has(self, run: "RunSpec") -> bool:
        look = self.look[run.seed]
        return look == 1 or _where(run) in self._chosen.get(look, ())

    def seeds(self, *where: str, look: int | None = None) -> list[int]:
        """Return the seeds of a dataset and stress, or of a dataset, stress, setting and loss.

        look: those that are new at this look only.
        """
        return [s for s in self._seeds.get(where, ()) if look in (None, self.look[s])]

    def common(self, runs: Iterable[Run]) -> list[int]:
        """Return the seeds that all of the given runs have."""
        first, *others = (self.seeds(*where) for where in runs)
        return [seed for seed in first if all(seed in seeds for seeds in others)]

    @property
    def numbers(self) -> list[int]:
        """The least and the greatest number of seeds of a run; one number if these are equal."""
        counts = [len(seeds) for where, seeds in self._seeds.items() if len(where) == 4]
        return sorted({min(counts), max(counts)})


def _where(run: "RunSpec") -> Run:
    return run.dataset, run.stress.name, run.setting.name, run.loss


def decisions(folder: str | Path, settings: str, looks: int) -> list[dict[str, Any]]:
    """Return the decisions of a study in the order of the looks, up to the first missing one.

    settings: fingerprint of the settings that decisions depend on; others' decisions are void, as
    is a damaged file.
    """
    return list(_decisions(folder, settings, looks))


def _decisions(folder: str | Path, settings: str, looks: int) -> Iterator[dict[str, Any]]:
    for look in range(1, looks + 1):
        try:
            decision = json.loads(Path(folder, file(look)).read_text())
            if decision["settings"] != settings:
                return
            chosen(decision)
        except (OSError, ValueError, KeyError, TypeError):
            return
        yield decision


def chosen(decision: dict[str, Any]) -> set[Run]:
    """Return the runs that get the seeds of the look after a decision."""
    return {
        (part["dataset"], part["stress"], part["setting"], loss)
        for part in decision["next"]
        for loss in part["losses"]
    }
