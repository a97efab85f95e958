"""The comparison with a plain script: its arithmetic; both sides train and are measured."""

import doctest

import pytest

from benchmarks import report, sides, training, usage
from benchmarks.phases import Clock
from benchmarks.sides import ALONE, LOOP, SUITE, Plan, Timing


@pytest.mark.parametrize("module", [report, usage])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_a_phase_within_another_one_counts_for_itself_only():
    ticks = iter([0, 1, 3, 6])
    clock = Clock(now=lambda: next(ticks))
    with clock("outer"), clock("inner"):
        pass
    assert clock.seconds == {"outer": 1 + 3, "inner": 2}


def test_an_error_within_a_phase_ends_it():
    ticks = iter(range(10))
    clock = Clock(now=lambda: next(ticks))

    def fail():
        raise KeyError

    with clock("outer"), pytest.raises(KeyError):
        clock.timed("inner", fail)()
    assert clock.seconds == {"outer": 2, "inner": 1}


def test_a_ratio_is_the_median_of_those_within_the_repetitions():
    pairs = [(10, 2), (40, 10), (12, 1)]  # seconds of both sides for the same runs
    timings = [
        {ALONE: Timing(ALONE, 4, slow, 0), SUITE: Timing(SUITE, 8, fast, 0)} for slow, fast in pairs
    ]
    assert report.ratio(timings, SUITE, ALONE) == "10.0 (8.0 to 24.0)"
    assert report.ratio(timings[:1], ALONE, SUITE) == "0.1"


def test_scores_agree_within_their_spread_or_if_the_difference_may_be_zero():
    wide = [0.6, 0.7, 0.8, 0.9]
    always_less = [score - 0.05 for score in wide]
    found = report.agreement(wide, always_less)
    assert found.difference == pytest.approx(0.05)
    assert found.low == pytest.approx(0.05)
    assert found.spread == pytest.approx(0.1291, abs=1e-4)
    assert found.agree
    assert not report.agreement(wide, [score - 0.2 for score in wide]).agree
    assert report.agreement([0.7, 0.9], [0.75, 0.81]).agree
    assert report.agreement([0.7], [0.7]) is None


def test_the_tables_show_rates_ratios_and_the_verdict():
    training = {"architecture": "Unet", "encoder": "resnet18", "batch_size": 4, "steps": 9}
    config = {
        "losses": {"dice": {}},
        "image_size": 64,
        "training": training | {"precision": "fp32"},
    }
    outcome = report.Outcome(Plan(config, "cuda", 8, 2, 2), shares=[(0.9, 0.95)])
    outcome.timings = [
        {
            ALONE: Timing(ALONE, 2, 20, 900),
            LOOP: Timing(LOOP, 8, 30, 900),
            SUITE: Timing(SUITE, 8, 8, 700, gpu_memory=3000, gpu_busy=0.86),
        }
    ]
    outcome.plain = {("dice", 0): 0.7, ("dice", 1): 0.71}
    outcome.suite = {("dice", 0): 0.5, ("dice", 1): 0.51}
    outcome.phases = {SUITE: {"share": 0.5, "forward": 0.125}}
    lines = report.lines_of(outcome, "a machine")
    assert "| suite | 8 | 8.0 | 3,600 | 10.0 | 3.8 | 700 | 3,000 | 86% |" in lines
    assert "| forward | 0.125 |" in lines
    assert "Of the suite's wall time, 45% is in training steps, 45% in the" in "\n".join(lines)
    assert lines[-1] == "The scores differ by more than the spread over seeds: dice."
    assert (SUITE, "", "dice", 1, "test dice", 0.51) in list(outcome.rows())


def test_shares_of_wall_time_are_over_all_workers():
    records = [{"seconds": {"load": 0.5, "train": 3.0, "evaluate": 0.5}}] * 4
    timing = Timing(SUITE, 4, 10.0, 0)
    assert training.shares(records, timing, 2) == (12 / 20, 16 / 20)


def test_both_sides_train_the_same_run_and_measure_their_phases(tmp_path, tiny):
    config = tiny | {
        "losses": {"dice": {}},
        "reference": "dice",
        "experiments": {"imbalance": tiny["experiments"]["imbalance"] | {"values": [0.3]}},
        "device": "cpu",
    }
    plan = Plan(config, "cpu", runs=1, single=1, cores=1)
    study = plan.study(tmp_path, 0)
    assert [(run.loss, run.seed) for run in study.runs] == [("dice", 0)]
    assert [call.side for call in sides.calls(plan, study, tmp_path)] == [ALONE, LOOP, SUITE]
    (line,) = sides.execute([*sides.plain(plan, study, study.runs, tmp_path), "--phases"])
    (result,) = sides.execute(["-m", "benchmarks.phases", study.folder])
    assert (tmp_path / "dice-0.json").is_file()
    assert 0 <= line["dice"] <= 1
    assert 0 <= sides.suite_scores(study)["dice", 0] <= 1
    for measured in (line, result):
        phases = {"imports", "other"} | measured["phases"].keys()
        assert phases >= set(report.PHASES)
        assert min(measured["phases"].values()) > 0
        assert sum(measured["phases"].values()) < measured["seconds"]
        assert measured["imports"] > 0
