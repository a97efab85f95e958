"""Which loss comes first, and how stable that is under other seeds and images."""

import numpy as np
import pandas as pd

from analysis import metrics, statistics
from experiments.plan import stress_name


def ranks(study, scored, threshold="0.5", draws=statistics.DRAWS):
    """A row per dataset, experiment and loss: score, rank, 95% interval of the rank, share first.

    score: mean DSC over the experiment's levels, seeds and images; rank 1 is the best. Every draw
    takes the same seeds and images for all losses. Losses with a missing run are left out.
    """
    rows = []
    for dataset in study.datasets.values():
        for name in study.experiments:
            levels = study.experiments[name][dataset.name]
            tables = {
                loss: _tables(scored, dataset.name, levels, loss, threshold)
                for loss in study.losses
            }
            tables = {
                loss: found
                for loss, found in tables.items()
                if all(len(table) == len(study.seeds) for table in found)
            }
            if not tables:
                continue
            drawn = _drawn(tables, len(study.seeds), draws, shared=not dataset.controlled)
            place = 1 + (-drawn).argsort(0).argsort(0)
            score = [np.mean([np.nanmean(t, 1).mean() for t in found]) for found in tables.values()]
            rank = 1 + np.argsort(np.argsort(-np.array(score)))
            for k, loss in enumerate(tables):
                low, high = np.percentile(place[k], [2.5, 97.5])
                rows.append(
                    {
                        "dataset": dataset.name,
                        "experiment": name,
                        "loss": loss,
                        "score": score[k],
                        "rank": int(rank[k]),
                        "low": low,
                        "high": high,
                        "first": float((place[k] == 1).mean()),
                    }
                )
    columns = ["dataset", "experiment", "loss", "score", "rank", "low", "high", "first"]
    return pd.DataFrame(rows, columns=columns)


def _tables(scored, dataset, levels, loss, threshold):
    """The loss's scores (seeds, images) at each level."""
    found = [
        metrics.per_seed(
            scored,
            "dice",
            dataset=dataset,
            stress=stress_name(level.stress),
            loss=loss,
            threshold=threshold,
        )
        for level in levels
    ]
    return [
        statistics.rectangle([v[s] for s in sorted(v)]) if v else np.empty((0, 0)) for v in found
    ]


def _drawn(tables, n, draws, shared):
    """The score of each loss in each draw, (losses, draws)."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(n, size=(draws, n))
    total = 0
    for level in zip(*tables.values(), strict=True):
        picks = statistics.draw_images(rng, drawn, level[0].shape[1], shared)
        total = total + np.array([statistics.means(table, drawn, picks) for table in level])
    return total
