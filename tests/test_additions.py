"""The cost of an addition: the files that the README names for it are all that it touches."""

import pandas as pd
import yaml

from tests.workflow import copy_tree, records, snakemake

LOSS = '''

class HalfDiceLoss(DiceLoss):
    """1/2 - sum(p y) / (sum p + sum y)

    in [0, 1/2].
    """

    def formula(self, s):
        return super().formula(s) / 2
'''
KNOB = '''

@label_knob("stripes")
def stripes(rng, label, pixels, **_):
    """Remove the label of every row whose number is a multiple of `pixels`."""
    label = label.copy()
    label[:: int(pixels)] = 0
    return label
'''
CLAIM = '''"""Dice loss finds more foreground.

Measured as the difference in recall, averaged over the levels.
"""

from analysis.claims import Claim, Mechanism, Panel, evenly

CLAIM = Claim(
    title="Dice finds more foreground",
    order=9,
    experiment="stripes",
    metric="miss_rate",
    unit="miss rate",
    smallest=0.01,
    sign=-1,
    says="Miss rate of {loss} minus that of {against}",
    weights=evenly,
    mechanism=Mechanism(
        quantity="foreground_share",
        x=0.1,
        unit="share",
        condition="10% foreground",
        smallest=0.05,
        says="Share of the gradient, {loss} minus {against}",
        panels=(Panel("foreground_share", "f", "share", log_x=True),),
        caption="Share of the gradient.",
    ),
)
'''
ADDITIONS = {
    "a loss: its family and a row": {
        "losses/overlap.py": (None, LOSS),
        "losses/registry.py": (
            "LOSSES: dict[str, Entry] = {\n",
            '    "half_dice": Entry("losses.overlap:HalfDiceLoss", "Half Dice"),\n',
        ),
    },
    "a knob: a row and a function": {
        "experiments/plan/knobs.py": (
            "KNOBS = {\n",
            '    "stripes": Knob(64.0, "labels", "rows", "Distance of rows (px)", 1, log=True),\n',
        ),
        "experiments/data/stress.py": (None, KNOB),
    },
    "a metric: a row": {
        "analysis/scores/metrics.py": (
            "METRICS = {\n",
            '    "miss_rate": Metric("Miss rate", lambda t: 1 - sensitivity(t), column="miss"),\n',
        ),
    },
    "a claim: a file": {"analysis/claims/recall.py": (None, CLAIM)},
}
"""Addition -> file -> (text that it follows, or None for the end; the addition)."""


def add(folder):
    """Make all additions in a copy of the tree."""
    for files in ADDITIONS.values():
        for name, (after, text) in files.items():
            path = folder / name
            old = path.read_text() if path.exists() else ""
            assert after is None or old.count(after) == 1, (name, after)
            path.write_text(old + text if after is None else old.replace(after, after + text))


def test_additions_reach_every_table_and_figure(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    config = {**tiny, "seeds": 2, "losses": {"cross_entropy": {}, "dice": {}}}
    config["experiments"] = {"stripes": {"levels": {"none": {}}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "collect")
    before = records(folder)
    add(folder)
    config["losses"] |= {"half_dice": {}}
    config["experiments"] = {"stripes": {"knob": "stripes", "values": [64, 8, 4]}}
    # An optimizer, a schedule and a grid of models are configuration only.
    config["training"] |= {"optimizer": ["Adam", "NAdam"], "schedule": "cosine"}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder)
    results = folder / "results" / "tiny"
    table = pd.read_csv(results / "runs.csv")
    assert set(table["loss"]) == {"cross_entropy", "dice", "half_dice"}
    assert set(table["stress"]) == {"none", "stripes-8", "stripes-4"}
    assert set(table["optimizer"]) == {"Adam", "NAdam"}
    assert set(table["status"]) == {"ok"}
    verdicts = pd.read_csv(results / "verdicts.csv")
    levels = verdicts.loc[verdicts["claim"] == "recall", "level"]
    assert set(levels) == {"mechanism", "controlled"}
    assert "miss_rate" in set(pd.read_csv(results / "estimates.csv")["metric"])
    html = (results / "report.html").read_text()
    for text in ("Half Dice", "Dice finds more foreground", ">miss</th>"):
        assert text in html, text
    figure = (results / "figures" / "stripes_controlled.svg").read_text()
    for text in ("Distance of rows (px)", "Half Dice"):
        assert text in figure, text
    assert len(before) == 4


def test_a_loss_more_in_the_suite_trains_nothing_again(tiny, tmp_path):
    folder = copy_tree(tmp_path)
    config = {**tiny, "seeds": 1, "experiments": {"blur": {"levels": {"none": {}}}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "collect")
    before = records(folder)
    path = folder / "losses" / "registry.py"
    after, row = ADDITIONS["a loss: its family and a row"]["losses/registry.py"]
    path.write_text(path.read_text().replace(after, after + row.replace("HalfDice", "Dice")))
    snakemake(folder, "collect")
    assert records(folder) == before
