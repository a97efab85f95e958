"""Noise of the claims under other evaluated weights, and with fewer test images.

    python -m benchmarks.variance FOLDER [--out docs/benchmarks]

FOLDER: a study with the axis `weights`, see configs/weights.yaml. A claim's contrast of a seed is
the paired difference that its verdict rests on. The first two tables have the ratio of the variance
of the contrasts between seeds to that with the weights `last`: the mean of the primary claims, and
each claim. The third has, for the first kind of weights, the standard deviation with the first 64
test images of each run over that with all of them. The last table has the mean Dice scores. Writes
OUT/variance.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis import claims
from analysis.effects import Case, Effect, Tables, measure
from analysis.results import Results
from analysis.scores import tuning

FEW = 64
"""Test images of the comparison with all of them."""
BASE = "last"
"""Weights that the others are compared with."""


def contrasts(effect: Effect, images: int | None = None) -> np.ndarray:
    """Return the contrast of each seed: sum over levels of weight * mean over its first images."""
    seeds = sorted(set.intersection(*(set(sample) for _, sample in effect.terms)))
    return np.array(
        [sum(w * np.nanmean(sample[seed][:images]) for w, sample in effect.terms) for seed in seeds]
    )


def effects(results: Results) -> Iterator[tuple[dict[str, str], Effect]]:
    """Yield claim, dataset, threshold and weights, with the effect, of all primary claims."""
    study = results.study
    tables = Tables(study, tuning.fixed(study, results.table), results.image_sources)
    for name, claim in claims.load().items():
        for setting in study.settings_of(claim.experiment) if claim.primary else ():
            for threshold in ("0.5", "tuned"):
                pair = claim.about, study.references[0]
                case = Case(name, claim, *pair, threshold, "fixed", setting)
                for dataset in study.datasets:
                    about = {"claim": name, "dataset": dataset, "threshold": threshold}
                    yield (
                        about | {"weights": setting.labels["weights"]},
                        measure(tables, case, dataset),
                    )


def spreads(results: Results) -> pd.DataFrame:
    """Return a row per claim, dataset, threshold and weights: mean and sd of the contrasts.

    contrasts: those of the seeds; few: their sd with the first FEW test images of each run.
    """
    rows = []
    for about, effect in effects(results):
        if effect.cannot:
            continue
        values, few = contrasts(effect), contrasts(effect, FEW)
        numbers = {"mean": values.mean(), "sd": values.std(ddof=1), "few": few.std(ddof=1)}
        rows.append(about | {"contrasts": values} | numbers)
    return pd.DataFrame(rows)


def mean_ratio(pairs: np.ndarray) -> tuple[float, float, float]:
    """Return the geometric mean of variance ratios over claims, and its 95% interval.

    pairs: contrasts (claims, 2, seeds) with the weights and with BASE. The interval is a jackknife
    over seeds of the mean log ratio, with Student's t.
    """

    def log_ratio(values: np.ndarray) -> float:
        variances = values.var(axis=-1, ddof=1)
        return np.log(variances[:, 0] / variances[:, 1]).mean()

    seeds = pairs.shape[-1]
    without = [log_ratio(np.delete(pairs, i, axis=-1)) for i in range(seeds)]
    error = np.sqrt((seeds - 1) * np.var(without)) * student.ppf(0.975, seeds - 1)
    whole = log_ratio(pairs)
    return tuple(np.exp([whole, whole - error, whole + error]))


def mean_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per threshold and weights: ``mean_ratio`` to BASE; rows: of one dataset."""
    wide = rows.pivot(index=["threshold", "claim"], columns="weights", values="contrasts")
    found = {
        (threshold, weights): mean_ratio(np.array(table[[weights, BASE]].to_numpy().tolist()))
        for threshold, table in wide.groupby("threshold")
        for weights in wide.columns.drop(BASE)
    }
    table = pd.DataFrame(found, index=["ratio", "low", "high"]).T
    return table.rename_axis(["threshold", "weights"])


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Return the tables by title."""
    rows = spreads(results)
    key = ["claim", "dataset", "threshold"]
    wide = rows.pivot(index=key, columns="weights", values="sd")
    ratios = (wide.div(wide[BASE], axis=0) ** 2).drop(columns=BASE).add_suffix(f" / {BASE}")
    shown = wide.add_prefix("sd ").join(ratios)
    first = rows[rows["weights"] == rows["weights"].iloc[0]]
    images = first.assign(ratio=first["few"] / first["sd"]).set_index(key)[["few", "sd", "ratio"]]
    scored = results.scored.groupby(["dataset", "stress", "loss", "threshold", "weights"])
    seeds = len(rows["contrasts"].iloc[0])
    return {
        f"Ratio of the variances between {seeds} seeds, mean of the claims": mean_ratios(rows),
        "Standard deviation between seeds, and ratio of the variances": shown,
        f"Standard deviation with {FEW} test images over that with all": images,
        "Mean Dice score": scored["score_dice"].mean().unstack("weights"),
    }


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    given = parser.parse_args()
    text = f"# Noise of the claims\n\n`python -m benchmarks.variance {given.folder}`\n"
    for title, table in tables(Results.open(given.folder)).items():
        text += f"\n## {title}\n\n{table.round(3).reset_index().to_markdown(index=False)}\n"
    print(text)
    (given.out / "variance.md").write_text(text)


if __name__ == "__main__":
    main()
