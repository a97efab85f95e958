"""The tables of `benchmarks.training`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev

from scipy import stats

from benchmarks.sides import ALONE, LOOP, SUITE, Plan, Timing

PHASES = (
    *("imports", "data", "forward", "loss", "backward", "optimiser"),
    *("evaluation", "writing", "other"),
)
GOALS = {
    "cpu": "at least 5 times one process per run, 1.8 times one process, 90% of wall time in steps",
    "cuda": "at least 20 times one process per run (6 times with --resnet), GPU busy over 85%",
}

Scores = dict[tuple[str, int], float]


@dataclass
class Outcome:
    """All measurements up to now.

    timings: one mapping of sides for each repetition. plain, suite: (loss, seed) -> test Dice.
    shares: of the suite's wall time in training and in runs. loading: seconds of a plain run by
    number of DataLoader processes. phases: side -> phase -> seconds.
    """

    plan: Plan
    timings: list[dict[str, Timing]] = field(default_factory=list)
    plain: Scores = field(default_factory=dict)
    suite: Scores = field(default_factory=dict)
    shares: list[tuple[float, float]] = field(default_factory=list)
    loading: dict[int, float] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple]:
        """Yield all numbers: side, repetition, loss, seed, quantity, value."""
        for repeat, timings in enumerate(self.timings):
            for side, timing in timings.items():
                for name in ("runs", "seconds", "rate", "memory", "gpu_memory", "gpu_busy"):
                    yield side, repeat, "", "", name, getattr(timing, name)
        for side, of_side in self.phases.items():
            for phase, seconds in of_side.items():
                yield side, "", "", "", f"phase {phase}", seconds
        for repeat, (train, runs) in enumerate(self.shares):
            yield SUITE, repeat, "", "", "share of wall time in training", train
            yield SUITE, repeat, "", "", "share of wall time in runs", runs
        for side, scores in (("plain", self.plain), (SUITE, self.suite)):
            for (loss, seed), score in scores.items():
                yield side, "", loss, seed, "test dice", score


@dataclass(frozen=True)
class Agreement:
    """The differences of two sides' scores, seed by seed: mean, its 95% interval, spread.

    spread: standard deviation of the scores over seeds, of the side where it is larger.
    """

    difference: float
    low: float
    high: float
    spread: float

    @property
    def agree(self) -> bool:
        """Whether the difference is within the spread or its interval contains 0."""
        return abs(self.difference) <= self.spread or self.low <= 0 <= self.high


def agreement(ours: Sequence[float], others: Sequence[float]) -> Agreement | None:
    """Compare the scores of the same seeds; None for less than two seeds.

    >>> agreement([0.8, 0.9], [0.8, 0.9]).agree, agreement([0.8, 0.81], [0.2, 0.21]).agree
    (True, False)
    """
    differences = [a - b for a, b in zip(ours, others, strict=True)]
    n = len(differences)
    if n < 2:
        return None
    centre, error = mean(differences), stdev(differences) / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return Agreement(centre, centre - half, centre + half, max(stdev(ours), stdev(others)))


def ratio(timings: Sequence[Mapping[str, Timing]], side: str, other: str) -> str:
    """Return the ratio of two sides' rates: the median over repetitions and the range."""
    values = sorted(t[side].rate / t[other].rate for t in timings)
    spread = f" ({values[0]:.1f} to {values[-1]:.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f}{spread}"


def lines_of(outcome: Outcome, note: str) -> list[str]:
    """Return the lines of the Markdown file."""
    return [
        f"{note}.",
        "",
        *_about(outcome),
        "",
        *_speed(outcome),
        "",
        *_phases(outcome),
        "",
        *_scores(outcome),
    ]


def _text(*sentences: str) -> list[str]:
    return textwrap.wrap(" ".join(sentences), 100)


def _about(outcome: Outcome) -> list[str]:
    plan = outcome.plan
    training, size = plan.config["training"], plan.config["image_size"]
    seconds = ", ".join(f"{s:.1f} s with {w}" for w, s in outcome.loading.items())
    return _text(
        f"{training['architecture']} with {training['encoder']}, {size} x {size} pixels, batch "
        f"size {training['batch_size']}, {training['steps']} steps, {training['precision']};",
        f"{plan.cores} cores. A process has one thread unless its row gives another number.",
        f"Goals of the suite: {GOALS[plan.device]}.",
        f"A plain run by number of processes of its DataLoader: {seconds}. The plain script has",
        "the best of these numbers; with several scripts at a time, 0.",
    )


def _speed(outcome: Outcome) -> list[str]:
    timings = outcome.timings
    lines = [
        *_text(
            f"Repetitions: {len(timings)}. Medians; ratios of runs per hour with their range.",
            "Memory: the largest sum over all processes; pages that they share count once.",
        ),
        "",
        "| side | runs | seconds | runs/h | to a process per run | to one process | memory, MiB "
        "| GPU memory, MiB | GPU busy |",
        "|---" * 9 + "|",
    ]
    for side in timings[0]:
        of_side = [t[side] for t in timings]
        lines.append(
            f"| {side} | {of_side[0].runs} | {median(t.seconds for t in of_side):.1f} "
            f"| {median(t.rate for t in of_side):,.0f} | {ratio(timings, side, ALONE)} "
            f"| {ratio(timings, side, LOOP)} | {max(t.memory for t in of_side):,.0f} "
            f"| {_known([t.gpu_memory for t in of_side], ',.0f')} "
            f"| {_known([t.gpu_busy for t in of_side], '.0%')} |"
        )
    if outcome.plan.device == "cuda":
        busy = any(t.gpu_busy is not None for of_all in timings for t in of_all.values())
        lines += ["", "GPU busy: share of the time from its first to its last use, by nvidia-smi."]
        lines += [] if busy else ["It is not measured: nvidia-smi gave no numbers."]
    return lines


def _known(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):{form}}" if known else ""


def _phases(outcome: Outcome) -> list[str]:
    table = outcome.phases
    lines = [
        *_text(
            "Seconds by phase, from calls of their own: `imports` of a process, the others of a",
            "run. The gradient of the loss is in the suite's `loss`, and in the plain script's",
            "`backward`. `other` is mostly the building of the model.",
            *_captured(outcome),
        ),
        "",
        f"| phase | {' | '.join(table)} |",
        "|---" * (1 + len(table)) + "|",
    ]
    for phase in PHASES:
        cells = " | ".join(f"{of_side.get(phase, 0):.3f}" for of_side in table.values())
        lines.append(f"| {phase} | {cells} |")
    train = median(share for share, _ in outcome.shares)
    runs = median(share for _, share in outcome.shares)
    steps = train * table[SUITE]["share"]
    text = _text(
        f"Of the suite's wall time, {steps:.0%} is in training steps, {train - steps:.0%} in the",
        f"rest of the training (building models, validation), {runs - train:.0%} in the rest of",
        f"the runs (loading, evaluation, writing), and {1 - runs:.0%} outside the runs (start,",
        "imports, end).",
    )
    return [*lines, "", *text]


def _captured(outcome: Outcome) -> list[str]:
    if outcome.plan.device == "cpu":
        return []
    return [
        "On a GPU the suite replays its steps: `data` is then in `forward`, `optimiser` in",
        "`backward`.",
    ]


def _scores(outcome: Outcome) -> list[str]:
    lines = [
        *_text(
            "Dice over all pixels of the test images at 0.5: mean, standard deviation over seeds.",
            "The sides agree if their difference is within the standard deviation, or if its",
            "interval contains 0.",
        ),
        "",
        "| loss | seeds | plain | suite | suite - plain (95% interval) |",
        "|---" * 5 + "|",
    ]
    results = {}
    for loss in outcome.plan.config["losses"]:
        seeds = sorted(seed for name, seed in outcome.suite if name == loss)
        ours, others = ([s[loss, seed] for seed in seeds] for s in (outcome.suite, outcome.plain))
        found = results[loss] = agreement(ours, others)
        if found is None:
            lines.append(f"| {loss} | 1 | {others[0]:.3f} | {ours[0]:.3f} | |")
            continue
        lines.append(
            f"| {loss} | {len(seeds)} | {mean(others):.3f}, {stdev(others):.3f} "
            f"| {mean(ours):.3f}, {stdev(ours):.3f} "
            f"| {found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}) |"
        )
    return [*lines, "", verdict(results)]


def verdict(results: Mapping[str, Agreement | None]) -> str:
    """Return a sentence: whether the sides agree.

    >>> verdict({"dice": Agreement(0.5, 0.4, 0.6, 0.1), "cross_entropy": None})
    'The scores differ by more than the spread over seeds: dice. Not compared: cross_entropy.'
    """
    known = {loss: found for loss, found in results.items() if found is not None}
    different = [loss for loss, found in known.items() if not found.agree]
    text = "The scores of both sides agree within their spread over seeds."
    if different:
        text = f"The scores differ by more than the spread over seeds: {', '.join(different)}."
    missing = [loss for loss in results if loss not in known]
    if missing:
        rest = f"Not compared: {', '.join(missing)}."
        return f"{text} {rest}" if known else f"{rest} A comparison needs two seeds of a loss."
    return text
