"""Error rates of the verdicts: a loss compared with itself."""

import numpy as np
import pytest

from analysis import calibration
from analysis.results import Results
from analysis.scores import metrics
from experiments.errors import ConfigError
from experiments.plan.study import Study
from tests.tables import good, table_of


@pytest.fixture
def many_seeds(tiny):
    return Study({**tiny, "seeds": list(range(12)), "losses": {"cross_entropy": {}}})


def test_a_loss_rarely_differs_from_itself(many_seeds):
    """A/A on counts that differ by seed and image: at most 5% false, 95% of intervals hold 0."""
    rng = np.random.default_rng(0)
    level = {(s, k): rng.integers(-5, 6) for s in range(12) for k in range(9)}
    cells = {run.cell[1]: k for k, run in enumerate(many_seeds.runs[:6])}

    def counts(run, threshold):
        tp = 50 + int(level[run.seed, cells[run.cell[1]]]) + int(rng.integers(-10, 11))
        sizes = {"objects_small": 9, "objects_large": 9, "hits_large": 9, "hits_small": tp // 9}
        return good(tp, 100 - tp) | sizes

    rates = calibration.rates(many_seeds, table_of(many_seeds, counts), comparisons=200)
    null = metrics.select(rates, planted=0)
    assert (null["comparisons"] == 200).all()
    assert null["false"].sum() / null["comparisons"].sum() <= 0.05
    assert null["covered"].sum() / null["comparisons"].sum() >= 0.93
    strong = metrics.select(rates, planted=0.3, n=6, claim="imbalance")
    assert (strong["supported"] / strong["comparisons"] >= 0.9).all()
    # A detectable effect is detected that often, a smaller one is not.
    others = rates[rates["claim"] != "threshold"]
    enough = others[others["planted"] > others["detectable"]]
    assert len(enough)
    assert (enough["supported"] / enough["comparisons"] >= 0.9).all()
    less = others[others["planted"] < others["detectable"]]
    assert (less["supported"] / less["comparisons"] < 0.9).all()
    needed = calibration.sizes_needed(rates)
    assert needed.loc[needed["planted"] == 0.3, "n"].min() <= 6


def test_too_few_seeds_are_refused(tiny, in_tmp):
    study = Study(tiny)
    path = in_tmp / study.file("runs.csv")
    path.parent.mkdir(parents=True)
    table_of(study, lambda run, threshold: good(8, 2)).to_csv(path, index=False)
    with pytest.raises(ConfigError, match=r"seeds: \[0, 1\] are too few"):
        calibration.run(Results(study))
