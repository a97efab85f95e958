"""Draw the picture of the three verdicts, ``docs/verdict_intervals.svg`` and ``.png``.

    python -m docs.verdict_picture

The picture is a sketch: its axis has no numbers.
"""

from pathlib import Path

from analysis.figures import style

STEM = Path(__file__).with_name("verdict_intervals")
SMALLEST = 1.0
ROWS = (
    ("✓ supported", "the difference is greater", 2.3, 0.8),
    ("? undecided", "it may be either; more seeds would shorten the interval", 1.25, 0.9),
    ("✗ contradicted", "the difference is smaller", -0.1, 0.7),
)
"""Verdict, its meaning, the middle of its interval and half its length."""


def draw(stem: Path) -> None:
    """Draw one interval for each verdict against the smallest difference that matters."""
    style.use()
    figure, axes = style.subplots(1, 1, (4.2, 2.6))
    axis = axes[0, 0]
    axis.axvline(0, ymax=0.97, **style.GREY)
    axis.axvline(SMALLEST, color="black", linewidth=0.8, linestyle="--")
    for row, (verdict, meaning, middle, half) in enumerate(reversed(ROWS)):
        place = {"value": middle, "low": middle - half, "high": middle + half}
        line = {"color": "0.2", "marker": "o", "markersize": 6, "capsize": 3}
        style.intervals(axis, [row], place, line, horizontal=True)
        back = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axis.text(-1.1, row + 0.4, f"{verdict}: {meaning}", va="center", bbox=back)
    axis.set_xticks([0, SMALLEST], ["0", "smallest difference\nthat matters"])
    axis.set(xlim=(-1.1, 3.4), ylim=(-0.5, 2.7), yticks=[])
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("difference between two losses, in the direction of the claim →")
    style.save(figure, stem)
    stem.with_suffix(".pdf").unlink()


if __name__ == "__main__":
    draw(STEM)
