"""How often the verdicts are right: `python -m analysis.calibration CONFIG runs.csv OUT`.

A loss is compared with itself under other seeds (A/A): any difference that is found is false.
Then a known difference is planted, and the verdict has to find it. Every comparison draws its
seeds anew from those of the study, so a study with many seeds tells about smaller ones.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analysis import claims, metrics, statistics, tuning
from experiments.files import write_whole
from experiments.plan import Study, stress_name
from experiments.results import read_table

COMPARISONS = 400
SIZES = (2, 3, 4, 5, 6, 8, 10, 12)
"""Seeds of a study that is imitated."""
PLANTED = (0.0, 0.1, 0.15, 0.2, 0.3)
"""True effects, in the unit of the claim."""
POWER = 0.9


def sides(study, scored, claim, dataset, loss):
    """[(weight, {seed: values per image})] of one loss: what the two sides are drawn from."""
    threshold = "tuned" if claim.against_tuned else "0.5"
    return [
        (
            weight,
            metrics.per_seed(
                scored,
                claim.metric,
                dataset=dataset,
                stress=stress_name(level.stress),
                loss=loss,
                threshold=threshold,
            ),
        )
        for weight, level in claim.weights(study.experiments[claim.experiment][dataset])
    ]


def compare(rng, terms, n):
    """The estimate of one comparison of n seeds with n others."""
    seeds = rng.permutation(sorted(set.intersection(*(set(values) for _, values in terms))))
    ours, theirs = seeds[:n], seeds[n : 2 * n]
    differences = [
        (weight, {a: values[a] - values[b] for a, b in zip(ours, theirs, strict=True)})
        for weight, values in terms
    ]
    return statistics.estimate(differences, draws=400, seed=int(rng.integers(2**31)))


def plant(estimated, effect):
    """The estimate had one side been better by `effect` in every image."""
    return replace(
        estimated,
        value=estimated.value + effect,
        low=estimated.low + effect,
        high=estimated.high + effect,
    )


def rates(study, table, comparisons=COMPARISONS):
    """A row per claim, dataset, loss, n and planted effect: how often each verdict came out.

    false: the verdict says the opposite of what was planted. covered: the interval contains what
    was planted. detectable: the least effect that 90% of the comparisons would have called
    supported. Each p is multiplied by the number of claims, which corrects at least as much as
    a study's Holm correction does.
    """
    scored = metrics.scores(tuning.fixed(study, table))
    trained = {k: c for k, (c, _) in claims.load().items() if c.experiment in study.experiments}
    rows = []
    for name, claim in trained.items():
        for dataset in study.datasets:
            for loss in study.losses:
                terms = sides(study, scored, claim, dataset, loss)
                sizes = [n for n in SIZES if terms and 2 * n <= min(len(v) for _, v in terms)]
                for n in sizes:
                    rng = np.random.default_rng(0)
                    null = [compare(rng, terms, n) for _ in range(comparisons)]
                    least = detectable(null, claim.smallest, n, len(trained))
                    for planted in PLANTED:
                        found = [plant(estimated, planted) for estimated in null]
                        rows.append(
                            {
                                "claim": name,
                                "dataset": dataset,
                                "loss": loss,
                                "n": n,
                                "planted": planted,
                                "smallest": claim.smallest,
                                "detectable": least,
                                **_count(found, claim.smallest, planted, n, len(trained)),
                            }
                        )
                print(f"{name} ({dataset}), {loss}: {len(sizes)} sizes", flush=True)
    return pd.DataFrame(rows)


def detectable(null, smallest, n, comparisons):
    """The effect that a share POWER of A/A comparisons would have found, had it been there.

    An estimate v with standard error s is called supported from
    v >= smallest + t s, t the quantile of Student's at 1 - 0.025 / comparisons.
    """
    t = stats.t.ppf(1 - (1 - statistics.LEVEL) / 2 / comparisons, n - 1)
    needed = [smallest + t * e.error - e.value for e in null]
    return float(np.quantile(needed, POWER))


def _count(found, smallest, planted, n, claims_):
    said = [statistics.decide(e, smallest, n, min(1.0, claims_ * e.p(smallest))) for e in found]
    wrong = "contradicted" if planted >= smallest else "supported"
    return {
        "comparisons": len(found),
        **{v: said.count(v) for v in ("supported", "contradicted", "undecided")},
        "false": said.count(wrong),
        "covered": sum(e.low <= planted <= e.high for e in found),
    }


def sizes_needed(table):
    """Per claim, dataset, loss and planted effect: the least n that finds it 90% of the time."""
    key = ["claim", "dataset", "loss", "planted"]
    real = table[table["planted"] > table["smallest"]]
    real = real.assign(found=real["supported"] / real["comparisons"])
    enough = real[real["found"] >= POWER].groupby(key, sort=False)["n"].min()
    return real[key].drop_duplicates().merge(enough.reset_index(), how="left", on=key)


def figure(table):
    """False verdicts, coverage and power against the number of seeds."""
    from analysis import style

    shown, axes = style.plt.subplots(1, 3, figsize=(style.WIDTH, 2.6))
    looks = style.looks(list(dict.fromkeys(table["loss"])))
    names = list(dict.fromkeys(table["claim"]))
    dashes = dict(zip(names, ("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 1))), strict=False))
    null = table[table["planted"] == 0]
    strong = table[table["planted"] == 0.3]
    for axis, rows, column in zip(
        axes, (null, null, strong), ("false", "covered", "supported"), strict=True
    ):
        for (claim, _, loss), group in rows.groupby(["claim", "dataset", "loss"], sort=False):
            look = looks[loss] | {"linestyle": dashes[claim]}
            axis.plot(group["n"], 100 * group[column] / group["comparisons"], **look)
        axis.set_xlabel("Seeds n")
        axis.set_xticks(sorted(set(table["n"])))
    axes[0].axhline(5, color="0.6", linewidth=0.8, zorder=0)
    axes[1].axhline(95, color="0.6", linewidth=0.8, zorder=0)
    axes[2].axhline(100 * POWER, color="0.6", linewidth=0.8, zorder=0)
    axes[0].set_ylabel("False verdicts, A/A (%)")
    axes[1].set_ylabel("Intervals that contain 0, A/A (%)")
    axes[2].set_ylabel("Effect of 0.3 found (%)")
    axes[0].set_ylim(-0.5, max(10, axes[0].get_ylim()[1]))
    axes[2].set_ylim(-3, 103)
    handles = [
        *(style.plt.Line2D([], [], color=looks[v]["color"], label=style.name(v)) for v in looks),
        *(
            style.plt.Line2D([], [], color="0.3", linestyle=d, label=k.replace("_", " "))
            for k, d in dashes.items()
        ),
    ]
    shown.legend(handles=handles, loc="outside lower center", ncols=4)
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("table")
    parser.add_argument("output", type=Path, help="CSV; the figure and sizes stand beside it")
    args = parser.parse_args()
    study = Study.read(args.config)
    found = rates(study, read_table(args.table))
    if not len(found):
        raise SystemExit(
            f"dicebench: seeds: {study.seeds} are too few to draw two studies of two from; "
            "allowed: at least four"
        )
    from analysis import style

    write_whole(args.output, found.to_csv(index=False))
    needed = sizes_needed(found)
    write_whole(args.output.with_name("sizes_needed.csv"), needed.to_csv(index=False))
    style.save(figure(found), args.output.with_suffix(""))
    null = found[found["planted"] == 0]
    print(
        f"A/A: {null['false'].sum()} false verdicts in {null['comparisons'].sum()} comparisons; "
        f"the interval contains 0 in {null['covered'].sum() / null['comparisons'].sum():.1%}"
    )


if __name__ == "__main__":
    main()
