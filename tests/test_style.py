"""Style of figures: labels, colours, fonts, intervals and legends."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib.colors import to_rgb

from analysis.figures import examples, style
from experiments.plan.knobs import KNOBS
from losses import LOSSES


def test_every_numeric_knob_has_an_axis_label():
    for name, knob in KNOBS.items():
        assert (knob.axis is not None) == (knob.low is not None), name


def test_every_loss_of_the_suite_has_a_label_of_its_own():
    labels = [style.name(name) for name in LOSSES]
    assert len(set(labels)) == len(LOSSES)
    assert not set(labels) & set(LOSSES)


def test_a_loss_has_the_same_line_style_in_every_study():
    alone = style.lines(["dice", "mine"])
    among = style.lines(["cross_entropy", "dice", "squared_dice", "mine", "other"])
    assert alone["dice"] == among["dice"]
    assert alone["mine"] == among["mine"]
    many = style.lines([f"loss_{i}" for i in range(20)])
    assert len({tuple(line.values()) for line in many.values()}) == 20
    ten = [style.points(line) for line in list(many.values())[:10]]  # without dashes
    assert len({tuple(line.values()) for line in ten}) == 10


@pytest.mark.parametrize("horizontal", [False, True])
def test_an_interval_is_cut_at_the_bounds_and_not_drawn_if_unknown(horizontal):
    _, axes = style.subplots(1, 1, (2, 2))
    rows = pd.DataFrame({"value": [0.9, 0.5], "low": [0.7, np.nan], "high": [1.2, np.nan]})
    style.intervals(axes[0, 0], [1, 2], rows, {}, bounds=(0, 1), horizontal=horizontal)
    (segments,) = (lines.get_segments() for lines in axes[0, 0].collections)
    score, position = (0, 1) if horizontal else (1, 0)
    assert segments[0][:, score] == pytest.approx([0.7, 1])
    assert segments[1][:, score] == pytest.approx([0.5, 0.5])
    assert [segment[0, position] for segment in segments] == [1, 2]


def test_colours_of_verdicts_and_pictures_are_none_of_a_loss_and_can_be_seen():
    losses = {colour for colour, _ in style.FIXED.values()} | set(style.SPARE)
    verdicts = set(style.VERDICT_COLOURS.values())
    assert not losses & (verdicts | set(style.MUTED) | set(examples.OUTCOMES))
    assert min(contrast(colour) for colour in losses) >= 3
    assert min(contrast(colour) for colour in verdicts) >= 4.5
    for colour in verdicts:
        assert np.ptp(to_rgb(colour)) < 0.15, colour  # close to grey


def contrast(colour):
    """Contrast of a colour with white, as WCAG defines it."""
    values = np.array(to_rgb(colour))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_signs_and_arrows_are_in_the_font_of_the_figures():
    style.use()
    assert plt.rcParams["font.family"][0] == "DejaVu Sans"
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    for sign in (*style.VERDICT_SIGNS.values(), "→", "▲", "▼", "−", "≥", "…"):
        assert font.get_char_index(ord(sign)), sign


def test_a_label_without_a_font_is_a_text_in_the_svg_and_no_warning(tmp_path, recwarn, caplog):
    style.use()
    figure, axes = style.subplots(1, 1, (2, 1))
    axes[0, 0].set_title("骰子")
    style.save(figure, tmp_path / "figure")
    assert not recwarn.list
    assert not caplog.records
    assert "骰子" in (tmp_path / "figure.svg").read_text()
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_font_that_is_installed_is_asked_for_other_letters(monkeypatch):
    installed = ["DejaVu Sans", "Noto Sans CJK JP", "Comic Sans"]
    monkeypatch.setattr(font_manager, "get_font_names", lambda: installed)
    style.use()
    assert plt.rcParams["font.family"] == ["DejaVu Sans", "Noto Sans CJK JP", "sans-serif"]
    monkeypatch.undo()
    style.use()


@pytest.mark.parametrize("width", [style.COLUMN, style.WIDTH])
def test_a_legend_of_many_losses_stays_inside_the_figure(width):
    style.use()
    figure, axes = style.subplots(1, 1, (width, 4))
    for loss, line in style.lines([*list(LOSSES)[:10], "my_loss_with_a_long_name"]).items():
        axes[0, 0].plot([0, 1], label=style.name(loss), **line)
    style.legend(figure, axes)
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert box.x0 >= 0
    assert box.x1 <= width
    assert box.y1 <= axes[0, 0].get_tightbbox().transformed(figure.dpi_scale_trans.inverted()).y0
