"""Adaptive seeds: the split of the error, the plan of runs, and who gets the next look's seeds."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import decision, looks, verdicts
from analysis.effects import Tables
from analysis.families import Candidate, Verdict
from analysis.scores import forecast, statistics
from analysis.scores.statistics import Estimate, Part
from analysis.stamps import Stamps
from experiments.errors import ConfigError
from experiments.plan import looks as plans
from experiments.plan.study import Study
from tests.conftest import write_folder
from tests.tables import OWN_SOURCES, good, table_of

CHANGE = {"seeds": {"looks": [2, 4, 8]}, "losses": {"cross_entropy": {}, "dice": {}, "focal": {}}}
NEXT = {"dataset": "controlled", "stress": "none", "setting": "", "losses": ["dice"]}


@pytest.fixture
def adaptive(tiny, in_tmp):
    return tiny | CHANGE


def decide_next(study, look, *following):
    """Write a decision after which these runs get seeds."""
    path = study.file(plans.file(look))
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"settings": study.analysis_fingerprint, "decided": [], "undecided": []}
    path.write_text(json.dumps(known | {"next": following}))


def pair(claim="noise", value=0.1, error=0.01, p=0.001, *, seeds=2, **changes):
    """A primary verdict and its candidate, as the decision reads them."""
    own = {
        **{"claim": claim, "level": "controlled", "dataset": "controlled", "stress": "none"},
        **{"loss": "dice", "against": "cross_entropy", "threshold": "0.5", "rate": "fixed"},
        **{"setting": "", "family": "primary", "unit": "DSC", "smallest": 0.05},
        **{"n": seeds, "planned": seeds, "p": p, "p_corrected": p},
    }
    own |= {name: changes.pop(name) for name in own.keys() & changes.keys()}
    parts = (Part(error**2, seeds - 1, seeds),) if error >= 0 else ()
    estimated = Estimate(value, error, seeds - 1, seeds, parts)
    names = "error", "df", "low", "high", "low90", "high90"
    row = Verdict(**own, estimate=value, **{name: getattr(estimated, name) for name in names})
    changes = {"datasets": ("controlled",)} | changes
    return row, Candidate(row, estimated, **changes)


# Settings


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ({"looks": [1, 2]}, "seeds.looks: 1 is not allowed; allowed: at least 2"),
        ({"looks": [3, 3]}, "seeds.looks: 3 after 3 is not allowed; allowed: increasing numbers"),
        ({"looks": []}, r"seeds.looks: \[\] is not allowed; allowed: at least one entry"),
        ({"looks": [3, 6], "until": "x"}, "seeds.until: 'x' is not allowed; allowed: decided"),
        ({"looks": [3, 6], "at_most": 9}, "seeds.at_most: 9 is not .* to the last, 3 to 6"),
        ({"look": [3]}, "the setting 'looks' is missing\nseeds: unknown setting 'look' .did you"),
        ("few", "seeds: 'few' is not allowed; .* a list of seeds, or {looks"),
    ],
)
def test_bad_looks_are_refused(tiny, seeds, words):
    with pytest.raises(ConfigError, match=words):
        Study(tiny | {"seeds": seeds})


def test_at_most_cuts_the_looks(tiny):
    study = Study(tiny | {"seeds": {"looks": [2, 4, 8], "until": "decided", "at_most": 5}})
    assert study.looks == [[0, 1], [2, 3], [4]]
    assert [looks.level_of(study, k) for k in (1, 2, 3)] == pytest.approx(
        [0.05 * share for share in (2 / 11, 4 / 11, 5 / 11)]
    )


# The split of the error


def powers(shares, effect, families=4000):
    """Shares of right verdicts and of families with a false one, by looks at 3, 6 and 12 seeds."""
    rng = np.random.default_rng(0)
    spread = np.array([0.03, 0.06, 0.1, 0.15, 0.2])[:, None]
    seeds = effect + spread * rng.normal(size=(families, 5, 12))
    sides = np.zeros((families, 5))
    for share, n in zip(shares, (3, 6, 12), strict=True):
        mean, error = seeds[..., :n].mean(-1), seeds[..., :n].std(-1, ddof=1) / n**0.5
        p = stats.t.sf(abs(mean) / error, n - 1)
        order = p.argsort(-1)
        steps = np.take_along_axis(p, order, -1) * np.arange(5, 0, -1)
        holm = np.empty_like(p)
        np.put_along_axis(holm, order, np.maximum.accumulate(steps, -1), -1)
        new = (sides == 0) & (holm <= 0.05 * share)
        sides[new] = np.sign(mean)[new]
    return (sides > 0).mean(), (sides < 0).any(-1).mean()


def test_shares_in_proportion_to_the_seeds_are_no_worse_than_others():
    shares = plans.shares([3, 6, 12])
    assert shares == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    others = (0.2, 0.3, 0.5)
    assert powers(shares, 1e-9)[1] <= 0.05
    for effect in (0.05, 0.1, 0.15):
        assert powers(shares, effect)[0] >= powers(others, effect)[0]


# Verdicts at a look


def test_a_verdict_that_is_decided_stays_so_and_others_need_the_level_of_the_look():
    pairs = [
        pair("noise", p=0.04),
        pair("imbalance", p=0.004),
        pair("boundary", 0.01, p=0.001),
        pair("threshold", p=0.001, enough=False),
        pair("object_size", np.nan, np.nan, p=np.nan),
    ]
    first, others = looks.split(pairs, [], 1, 0.01)
    found = [(entry["claim"], entry["verdict"], entry["look"]) for entry in first]
    assert found == [("imbalance", "supported", 1), ("boundary", "contradicted", 1)]
    assert [row.claim for row, _ in others] == ["noise", "threshold", "object_size"]
    later = [pair("imbalance", p=0.9), pair("noise", p=0.015)]
    second, others = looks.split(later, first, 2, 0.02)
    assert [(entry["claim"], entry["look"]) for entry in second] == [("imbalance", 1), ("noise", 2)]
    assert not others


def test_the_table_has_the_verdicts_of_the_last_decision_and_their_looks():
    pairs = pair("noise"), pair("imbalance"), pair("threshold", loss="focal")
    change = {"verdict": "supported", "finding": "a difference that matters", "fragile": "yes"}
    rows = pd.DataFrame([asdict(row) | change for row, _ in pairs])
    entry = {column: rows.iloc[0][column] for column in looks.KEY}
    open_one = {"claim": "imbalance", "futile": "too near", "seeds_needed": 9}
    last = {"level": 0.02, "undecided": [entry | open_one]}
    last["decided"] = [entry | {"verdict": "contradicted", "look": 2, "p_corrected": 0.01}]
    carried = looks.carry(rows, last)
    assert carried["verdict"].tolist() == ["contradicted", "undecided", "supported"]
    assert carried["look"].tolist() == [2, pd.NA, pd.NA]
    assert carried["seeds_needed"].tolist() == [pd.NA, 9, pd.NA]
    assert carried["finding"].tolist()[1] == "9 seeds would settle it"
    assert carried["p_corrected"].tolist()[0] == 0.01
    words = ["decided at look 2", "not decided at the 2.0% of the last look", ""]
    assert carried["reason"].tolist() == words
    assert carried["fragile"].tolist() == ["", "", "yes"]
    last["undecided"] = [entry | open_one]
    carried = looks.carry(rows.assign(verdict="undecided"), last)
    assert carried["reason"].tolist()[1] == "too near"


def outlook(value, error, seeds=6, **changes):
    return looks.outlook(pair("noise", value, error, 1, seeds=seeds, **changes), 0.03, 12)


def test_a_verdict_is_given_up_only_if_more_seeds_are_not_worth_it():
    assert outlook(0.07, 0.02)["futile"] == ""
    near = outlook(0.051, 0.001)
    assert "within 0.01 of the smallest difference" in near["futile"]
    hopeless = outlook(0.05, 0.05)
    assert hopeless["futile"] == "it is too near to the smallest difference for 12 seeds"
    assert hopeless["seeds_needed"] is None
    assert outlook(np.nan, np.nan, datasets=())["futile"]
    assert outlook(0.1, np.nan)["futile"] == ""  # one seed, or no spread: more are needed


def test_the_chance_is_that_of_the_seeds_to_come():
    """Checked by simulation with a known spread: many degrees of freedom."""
    rng, n, most, error, value = np.random.default_rng(0), 4, 10, 0.05, 0.03
    truth = value + error * rng.normal(size=200_000)
    later = truth + error * (n / (most - n)) ** 0.5 * rng.normal(size=len(truth))
    last = (n * value + (most - n) * later) / most
    estimated = Estimate(value, error, 1e7, n, (Part(error**2, 1e7, n),))
    bound = statistics.with_seeds(estimated, most)
    decided = abs(last) >= stats.t.ppf(0.97, bound.df) * bound.error
    assert decided.mean() == pytest.approx(forecast.chance(estimated, 0, 0.03, most), abs=0.005)


def test_the_reason_for_no_more_seeds():
    alive, futile = {"futile": ""}, {"futile": "too near"}
    assert looks.stop([alive, futile], 1, 3) == ""
    assert "all primary verdicts are decided" in looks.stop([], 1, 3)
    assert "no other" in looks.stop([futile], 2, 3)
    assert "last look" in looks.stop([alive], 3, 3)


# Runs that get seeds


def test_seeds_go_to_the_levels_and_losses_of_undecided_verdicts(adaptive):
    study = Study(adaptive)
    pairs = [
        pair("noise", 0.07, p=1),
        pair("imbalance", p=0.0001),
        pair("boundary", 0.0501, 0.0001, p=1),
    ]
    made = decision.decide(study, pairs, 1, {"controlled": 2.0})
    weighted = looks.claims.load()["noise"].weights(study.experiments["noise"].levels["controlled"])
    assert made["next"] == [
        NEXT | {"stress": level.stress.name, "losses": ["cross_entropy", "dice"]}
        for _, level in weighted
    ]
    runs = 2 * 2 * len(weighted)
    assert made["cost"] == {"runs": runs, "seconds": 2.0 * runs}
    assert (len(made["decided"]), len(made["undecided"]), made["stop"]) == (1, 2, "")
    json.dumps(made, allow_nan=False)
    assert f"The next look takes {runs} runs" in looks.summary(study, made)


def test_a_pooled_verdict_rests_on_all_real_datasets(adaptive, in_tmp):
    for name in ("one", "two"):
        write_folder(in_tmp / name, 12)
    part = {"train": 4, "val": 2, "test": 2}
    datasets = {name: {"folder": name, **part} for name in ("one", "two")}
    adaptive["datasets"] = {"controlled": part} | datasets
    adaptive["experiments"] = {"boundary": {"levels": {"sharp": {}, "jittered": {"jitter": 2}}}}
    study = Study(adaptive)
    table = table_of(study, lambda run, _: good(5, 5))
    pooled = next(
        candidate
        for candidate in verdicts.primary(Tables(study, table, OWN_SOURCES))
        if candidate.row.dataset == verdicts.POOLED
    )
    assert pooled.datasets == ("one", "two")
    runs = looks.runs_of(study, looks.outlook((pooled.row, pooled), 0.05, 4))
    assert {run[0] for run in runs} == {"one", "two"}
    assert {run[3] for run in runs} == {"cross_entropy", "dice"}


def test_a_verdict_that_was_given_up_gets_no_seeds_at_a_later_look(adaptive):
    study = Study(adaptive)
    gone = {column: getattr(pair()[0], column) for column in looks.KEY} | {"futile": "too near"}
    decide_next(study, 1)
    path = study.file(plans.file(1))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"undecided": [gone]}))
    study = Study(adaptive)
    made = decision.decide(study, [pair(p=1)], 2, {})
    assert made["next"] == []
    made = decision.decide(study, [pair(p=1e-9)], 2, {})
    assert [entry["look"] for entry in made["decided"]] == [2]


# The plan


def test_the_first_look_trains_every_run_and_decisions_add_the_chosen_ones(adaptive):
    study = Study(adaptive)
    first = len(study.runs)
    assert {run.seed for run in study.runs} == {0, 1}
    assert len(study.possible) == 4 * first
    decide_next(study, 1, NEXT)
    study = Study(adaptive)
    new = [run for run in study.runs if run.seed > 1]
    assert {(run.stress.name, run.loss, run.seed) for run in new} == {
        ("none", "dice", 2),
        ("none", "dice", 3),
    }
    assert study.plan.seeds("controlled", "none", "", "focal") == [0, 1]
    assert study.plan.common([("controlled", "none", "", loss) for loss in CHANGE["losses"]]) == [
        *(0, 1)
    ]
    assert study.cells("controlled", 2) == [f"data/controlled/none/seed-{s}" for s in (2, 3)]
    assert study.jobs["controlled.look-2"].runs == tuple(new)
    assert study.jobs["controlled.look-3"].runs == ()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"settings": 1}', '{"settings": "SETTINGS"}'])
def test_a_decision_of_other_settings_or_a_damaged_one_is_no_decision(adaptive, text):
    study = Study(adaptive)
    decide_next(study, 1, NEXT)
    decide_next(study, 2, NEXT)
    study.file(plans.file(1)).write_text(text.replace("SETTINGS", study.analysis_fingerprint))
    assert Study(adaptive).decisions == []
    decide_next(study, 1, NEXT)
    assert len(Study(adaptive).decisions) == 2
    assert Study(adaptive | {"seeds": {"looks": [2, 4]}}).decisions == []


def test_the_names_of_stamps_are_known_before_a_decision_and_any_other_voids_them(adaptive):
    study = Study(adaptive)
    before = Stamps(study).all()
    decide_next(study, 1, NEXT)
    after = Stamps(Study(adaptive))
    assert [stamp.path for stamp in after.all()] == [stamp.path for stamp in before]
    stamp = after.train["controlled.look-2"]
    assert [path.name for path in stamp.made] == ["seed-2", "seed-3"]
    assert [s.made for s in before if s.path == stamp.path] == [()]
    assert after.decision_of(after.prepare["controlled.look-2"]) == [str(after.look["1"].path)]
    for done in (after.check, after.prepare["controlled.look-2"], stamp):
        for path in done.made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        done.write(done.upstream())
    assert stamp.void() is None
    decide_next(study, 1, NEXT | {"losses": ["cross_entropy"]})
    assert Stamps(Study(adaptive)).train["controlled.look-2"].void()
    decide_next(study, 1, NEXT)
    assert Stamps(Study(adaptive)).train["controlled.look-2"].void() is None
    study.file(plans.file(1)).unlink()
    assert Stamps(Study(adaptive)).train["controlled.look-2"].void()


def test_fixed_seeds_have_no_looks(tiny):
    study = Study(tiny)
    assert study.possible == study.runs
    assert list(study.jobs) == ["controlled"]
    assert list(Stamps(study).prepare) == ["controlled"]
    assert Stamps(study).look == {}
    assert study.decisions == []
