"""The study's report, one file that opens without a network: `python -m analysis.report ...`."""

import argparse
import base64
import json
from collections import Counter
from pathlib import Path

import jinja2
import pandas as pd

from analysis import claims, metrics, stresses, style
from analysis.verdicts import HEADLINE, REFERENCE, read_verdicts
from experiments.files import write_whole
from experiments.plan import Study
from experiments.results import COLUMNS, read_table


def embed(path):
    """A figure as a data URI."""
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def sentence(claim, row):
    """A verdict's estimate in words."""
    if row["reason"]:
        return f"No verdict: {row['reason']}."
    words = claim.says.format(loss=style.name(row["loss"]), against=style.name(row["against"]))
    return f"{words}: {signed(row['estimate'])} {row['unit']} (95% interval {interval(row)})."


def signed(value):
    return f"{value:+.3f}".replace("-", "−")


def interval(row):
    return f"{signed(row['low'])} to {signed(row['high'])}"


def why(row):
    """What makes the verdict what it is."""
    if row["reason"]:
        return ""
    smallest = f"the smallest difference that matters, {row['smallest']:+g}"
    return {
        "supported": f"The whole interval is at least {smallest}.",
        "contradicted": f"The whole interval is below {smallest}: no such effect, or the reverse.",
        "undecided": f"The interval contains {smallest}: more seeds would be needed to tell.",
    }[row["verdict"]]


def cards(verdicts, found):
    """The claims' own loss at threshold 0.5, with what tuning the threshold changes."""
    result = []
    rows = verdicts[verdicts["loss"] == HEADLINE].to_dict("records")
    for row in (r for r in rows if r["threshold"] == "0.5"):
        claim, words = found[row["claim"]]
        tuned = next(
            r
            for r in rows
            if r["threshold"] == "tuned"
            and (r["claim"], r["dataset"]) == (row["claim"], row["dataset"])
        )
        result.append(
            {
                **row,
                "title": claim.title,
                "words": words.split("\n\n")[0],
                "sentence": sentence(claim, row),
                "why": why(row),
                "tuned": f"{tuned['verdict']}, {signed(tuned['estimate'])} ({interval(tuned)})"
                if not tuned["reason"]
                else tuned["reason"],
            }
        )
    return result


def score_table(study, table):
    """Mean Dice score per cell and loss at both thresholds, with runs and collapses counted."""
    scored = metrics.scores(table)
    rows = []
    for (dataset, stress, loss), group in table.groupby(["dataset", "stress", "loss"], sort=False):
        ok = scored.loc[group.index.intersection(scored.index)]
        runs = group.groupby("seed")["status"].first()
        at_half = ok[ok["threshold"] == "0.5"]
        predicted = at_half.assign(n=at_half["tp"] + at_half["fp"]).groupby("seed")["n"].sum()
        rows.append(
            {
                "dataset": dataset,
                "stress": stress,
                "loss": style.name(loss),
                "runs ok": f"{(runs == 'ok').sum()} of {len(study.seeds)}",
                "DSC at 0.5": at_half["dice"].mean(),
                "DSC tuned": ok.loc[ok["threshold"] == "tuned", "dice"].mean(),
                "threshold": ok.loc[ok["threshold"] == "tuned", "threshold_value"].median(),
                "band DSC": at_half["band_dice"].mean(),
                "small objects hit": at_half["recall_small"].mean(),
                "area ratio": at_half["area_ratio"].mean(),
                "predict nothing": f"{(predicted == 0).sum()} of {len(predicted)}",
            }
        )
    return pd.DataFrame(rows)


def provenance(study, records):
    """What the report rests on, as (what, value) lines."""

    def told(values):
        counted = Counter(values).most_common()
        return ", ".join(f"{v} ({n} runs)" if len(counted) > 1 else str(v) for v, n in counted)

    seconds = sum(sum(r["seconds"].values()) for r in records)
    lines = [
        ("Study", f"{study.name}: {len(study.runs)} runs planned, {len(records)} recorded"),
        ("Status", told(r["status"] for r in records)),
        (
            "Commit",
            told(
                f"{r['commit'] or 'none'}{' (with changes)' if r['dirty'] else ''}" for r in records
            ),
        ),
        ("Code", told(sorted(r.get("code", "none") for r in records))),
        ("Device", told(r["device"] for r in records)),
        ("Training and evaluation", f"{seconds / 60:.1f} minutes of one thread each, in all"),
        (
            "Written",
            f"{min(r['written'] for r in records)} to {max(r['written'] for r in records)}",
        ),
    ]
    packages = sorted({p for r in records for p in r["versions"]})
    lines += [(p, told(r["versions"].get(p) for r in records)) for p in packages]
    return lines


def render(study, table, records, verdicts, figures, stressed, sheets):
    """The report as HTML."""
    captions = json.loads((figures / "captions.json").read_text())
    drawn = [
        about
        | {
            "name": name,
            "uri": embed(figures / f"{name}{'.png' if about['kind'] == 'examples' else '.svg'}"),
        }
        for name, about in captions.items()
    ]
    found = claims.load()
    scored = metrics.scores(table)
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    ).get_template("report.html.j2")
    contact = json.loads((sheets / "captions.json").read_text())
    return template.render(
        study=study,
        cards=cards(verdicts, found),
        headline=style.name(HEADLINE),
        reference=style.name(REFERENCE),
        drawn=drawn,
        verdicts=verdicts.to_dict("records"),
        colours=style.VERDICT_COLOURS,
        name=style.name,
        signed=signed,
        interval=interval,
        scores=score_table(study, table),
        stressed=stressed[stressed["seed"] == study.seeds[0]].drop(columns="seed"),
        meanings=stresses.COLUMNS,
        contact=[a | {"name": n, "uri": embed(sheets / f"{n}.png")} for n, a in contact.items()],
        provenance=provenance(study, records),
        columns=COLUMNS,
        missing=int(scored["dice"].isna().sum()),
        config=json.dumps(study.config, indent=1),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for argument in ("config", "table", "records", "verdicts"):
        parser.add_argument(argument)
    for folder in ("figures", "stresses", "sheets"):
        parser.add_argument(folder, type=Path)
    parser.add_argument("output")
    args = parser.parse_args()
    study = Study.read(args.config)
    html = render(
        study,
        read_table(args.table),
        json.loads(Path(args.records).read_text()),
        read_verdicts(args.verdicts),
        args.figures,
        pd.read_csv(args.stresses),
        args.sheets,
    )
    write_whole(args.output, html)
    print(f"report: {args.output}")


if __name__ == "__main__":
    main()
