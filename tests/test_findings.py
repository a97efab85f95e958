"""Published findings: signs, levels found by their knobs, equivalence, and their table."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import claims
from analysis.figures import overview
from analysis.report import pages, tables
from analysis.scores import equivalence, metrics, statistics
from analysis.scores.equivalence import WITHIN
from experiments.plan.study import Study
from tests.conftest import TINY
from tests.tables import good, judged, row, table_of

LOSSES = (
    *("cross_entropy", "dice", "squared_dice", "dice_ce", "weighted_cross_entropy"),
    *("inverse_size_dice", "ce_l1", "ce_kl"),
)
EXPERIMENTS = {
    "budget_of_the_rarest": {
        "knob": "steps",
        "values": [12, 3],
        "hold": {"size": "small", "fraction": 0.03},
    },
    "rarity": {"knob": "fraction", "values": [0.3, 0.03], "hold": {"size": "small"}},
    "sizes": {"levels": {"as it is": {}, "mixed": {"size": "mixed"}}},
    "labels": {"levels": {"a": {"jitter": 1}, "b": {"jitter": 2}, "c": {"overdraw": 2}}},
    "noise": {"knob": "flips", "values": [0, 0.3]},
    "empty": {"knob": "absence", "values": [0, 0.25]},
}
FINDINGS = [name for name, claim in claims.load().items() if claim.source]
HELD_BY_EQUALS = {"squaring", "mild_imbalance", "noisy_labels_tuned"}
"""Findings that hold if losses do not differ."""


def config(**changes):
    result = json.loads(json.dumps(TINY))
    result |= {"seeds": 4, "losses": {name: {} for name in LOSSES}, "experiments": EXPERIMENTS}
    return result | changes


def of_findings(study, counts):
    """The verdicts on findings at threshold 0.5 of the loss, by claim."""
    table = judged(study, table_of(study, counts))
    rows = table[table["claim"].isin(FINDINGS) & (table["threshold"] == "0.5")]
    about = rows["claim"].map({name: claim.about for name, claim in claims.load().items()})
    return rows[rows["loss"] == about].set_index("claim")


def sizes_of(rng, small, large):
    """A thousand objects of each size, of which about as many hundreds are hit."""
    hits = {"hits_small": 100 * small, "hits_large": 100 * large}
    hits = {name: max(0, number - int(rng.integers(5))) for name, number in hits.items()}
    return hits | {"objects_small": 1000, "objects_large": 1000}


def planted(rng):
    """Runs that agree with every finding: tp of 1,000 pixels, and their exceptions."""

    def counts(run, threshold):
        knobs, loss, tp, fp = run.stress, run.loss, 800, 0
        if knobs.get("fraction") == 0.03 and loss == "cross_entropy":
            tp = 800 if run.setting.labels["steps"] == "12" else 300
        if knobs.get("absence") and loss == "dice":
            tp = 500
        if not knobs and loss == "dice_ce":
            tp = 900
        if knobs.get("overdraw"):
            tp = 400
        if knobs.get("jitter") == 2:
            ce = 850 if threshold == "tuned" else 400
            tp, fp = (ce, 0) if loss == "cross_entropy" else (800, 400)
        if knobs.get("flips") and loss == "dice":
            fp = 5000
        tp += int(rng.integers(-4, 5))
        found = {"cross_entropy": 0, "weighted_cross_entropy": 10}.get(loss, 8)
        if knobs.get("size") == "mixed":
            found = 9 if loss == "inverse_size_dice" else 5
        invented = int(rng.integers(20, 30)) if loss == "weighted_cross_entropy" else 0
        sizes = sizes_of(rng, found, 9)
        return good(tp, 1000 - tp) | sizes | {"fp": fp, "false_objects": invented}

    return counts


def equal(rng):
    """Runs that differ by chance only; false objects are those of cross-entropy alone."""

    def counts(run, threshold):
        tp = 800 + int(rng.integers(-4, 5))
        invented = int(rng.integers(20, 30)) if run.loss == "cross_entropy" else 0
        return good(tp, 1000 - tp) | sizes_of(rng, 9, 9) | {"false_objects": invented}

    return counts


def test_a_study_with_their_levels_and_losses_answers_every_finding():
    study = Study(config())
    found = of_findings(study, planted(np.random.default_rng(0)))
    assert set(found.index) == set(FINDINGS)
    assert dict(found["verdict"]) == dict.fromkeys(FINDINGS, "supported")
    fewest, most = 1600 / 1800 - 600 / 1300, 0
    assert found.loc["budget", "estimate"] == pytest.approx(fewest - most, abs=0.01)
    assert found.loc["budget", "stress"].endswith("steps 3 vs fraction-0.03_size-small, steps 12")
    assert found.loc["label_bias", "stress"] == "jitter-2 vs overdraw-2"
    assert found.loc["label_bias", "estimate"] == pytest.approx(1600 / 2200 - 800 / 1400, abs=0.01)
    assert found.loc["small_lag", "estimate"] == pytest.approx(0.4, abs=0.01)
    assert found.loc["volume_bias", "estimate"] == pytest.approx(200 / 2200 + 600 / 1400, abs=0.01)
    assert found.loc["region_size", "estimate"] == pytest.approx(4800 / 6800 - 1 / 9, abs=0.01)


def test_equal_losses_contradict_all_findings_but_those_of_equality():
    study = Study(config())
    found = of_findings(study, equal(np.random.default_rng(0)))
    held = set(found.index[found["verdict"] == "supported"])
    assert held == HELD_BY_EQUALS
    assert set(found["verdict"]) == {"supported", "contradicted"}
    assert set(found.loc[["squaring", "mild_imbalance"], "finding"]) == {
        "no difference that matters"
    }


def test_a_finding_is_left_out_without_its_losses_or_levels(tiny):
    study = Study(tiny)
    found = of_findings(study, equal(np.random.default_rng(0)))
    pair = {"volume_bias", "mild_imbalance", "noisy_labels_tuned", "noisy_labels_half"}
    assert set(found.index) == pair | {"region_size"}
    assert (found["planned"] > 0).all()
    tiny["experiments"] = {"blur": {"levels": {"sharp": {}, "blurred": {"blur": 1}}}}
    assert not len(of_findings(Study(tiny), equal(np.random.default_rng(0))))


def test_findings_are_about_one_pair_at_one_threshold():
    study = Study(config(reference=["cross_entropy", "dice"]))
    counts = equal(np.random.default_rng(0))
    table = judged(study, table_of(study, counts))
    for name, claim in claims.load().items():
        rows = metrics.select(table, claim=name)
        if claim.brief:
            assert len(rows) == 1, name
            assert tuple(rows.iloc[0][["loss", "against"]]) == (claim.about, claim.against)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.01, 0.015, "supported"),
        (-0.015, 0.01, "supported"),
        (-0.03, -0.021, "contradicted"),
        (0.021, 0.5, "contradicted"),
        (-0.03, 0.01, "undecided"),
        (0.01, 0.03, "undecided"),
        (-0.5, 0.5, "undecided"),
    ],
)
def test_equivalence_holds_if_the_interval_is_within_on_both_sides(low, high, verdict):
    """The 90% interval: each of the two tests is one-sided at 5%."""
    error = (high - low) / 2 / stats.t.ppf(0.95, 3)
    estimated = statistics.Estimate((low + high) / 2, error, 3, 4)
    assert (estimated.low90, estimated.high90) == pytest.approx((low, high))
    asked, bound = equivalence.asked(estimated, 0.02, WITHIN)
    assert statistics.decide(asked, bound, asked.p(bound)) == verdict
    mirrored = statistics.Estimate(-(low + high) / 2, error, 3, 4)
    assert equivalence.asked(mirrored, 0.02, WITHIN) == (asked, bound)


def test_findings_have_a_table_and_no_page():
    study = Study(config(training=TINY["training"] | {"steps": [6, 8]}))
    counts = planted(np.random.default_rng(0))
    table = judged(study, table_of(study, counts))
    frame = tables.findings(study, table)
    assert set(frame["finding"]) == {claims.load()[name].title for name in FINDINGS}
    assert set(frame["setting"]) == {"steps 6", "steps 8"}
    squaring = frame[frame["finding"] == claims.load()["squaring"].title].iloc[0]
    assert squaring["claimed"] == "±0.02 DSC"
    assert squaring["published"].startswith("skin lesions")
    assert [page["name"] for page in pages.pages(study, table, [])] == ["noise", "region_size"]
    assert set(overview.trained(study, table)["claim"]) == {"noise", "region_size"}
    assert not len(tables.findings(study, table.head(0)))


def test_an_empty_image_counts_in_a_score_that_says_so():
    empty, wrong = row(tn=9), row(tn=8, fp=1)
    table = pd.concat([empty, wrong, row(tp=1, fn=1, tn=7)]).assign(status="ok", hd95=0.0)
    values = metrics.METRICS["dice_with_empty"].function(table)
    assert values.round(3).tolist() == [1.0, 0.0, 0.667]
    departure = metrics.METRICS["size_departure"].function(table)
    assert departure.round(3).tolist()[1:] == [1.0, 0.333]
    assert np.isnan(departure.iloc[0])
