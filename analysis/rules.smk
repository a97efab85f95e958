# From the study's table to verdicts, figures and the report: `python -m analysis STEP FOLDER`.
for name, stamp in stamps.look.items():

    # Which runs get the seeds of the next look. The decision is an input of their preparation.
    rule:
        name:
            f"look_{name}"
        input:
            stamp.inputs,
        output:
            str(stamp.path),
            *map(str, stamp.made),
        log:
            f"{folder}/logs/look/{name}.log",
        params:
            look=name,
        shell:
            "python -m analysis look {folder:q} {params.look:q}"


rule estimates:
    input:
        stamps.estimates.inputs,
    output:
        str(stamps.estimates.path),
        estimates=f"{folder}/estimates.csv",
        ranks=f"{folder}/ranks.csv",
    log:
        f"{folder}/logs/estimates.log",
    shell:
        "python -m analysis estimates {folder:q}"


rule verdicts:
    input:
        stamps.verdicts.inputs,
    output:
        str(stamps.verdicts.path),
        table=report(
            f"{folder}/verdicts.csv", category="Verdicts", caption="report/captions/verdicts.rst"
        ),
    log:
        f"{folder}/logs/verdicts.log",
    shell:
        "python -m analysis verdicts {folder:q}"


rule recommendation:
    input:
        stamps.recommendation.inputs,
    output:
        str(stamps.recommendation.path),
        table=f"{folder}/recommendation.csv",
        comparisons=f"{folder}/comparisons.csv",
    log:
        f"{folder}/logs/recommendation.log",
    shell:
        "python -m analysis recommendation {folder:q}"


rule figures:
    input:
        stamps.figures.inputs,
    output:
        str(stamps.figures.path),
        folder=report(directory(f"{folder}/figures"), patterns=["{name}.svg"], category="Figures"),
    log:
        f"{folder}/logs/figures.log",
    shell:
        "python -m analysis figures {folder:q}"


rule stresses:
    input:
        stamps.stresses.inputs,
        stamps.gate(stamps.stresses),
    output:
        str(stamps.stresses.path),
        table=f"{folder}/stresses.csv",
        sheets=report(
            directory(f"{folder}/contact"), patterns=["{name}.png"], category="Stressed datasets"
        ),
    log:
        f"{folder}/logs/stresses.log",
    shell:
        "python -m analysis stresses {folder:q}"


rule report:
    input:
        stamps.report.inputs,
    output:
        str(stamps.report.path),
        page=report(
            f"{folder}/report.html", category="Report", caption="report/captions/report.rst"
        ),
        answer=f"{folder}/answer.md",
    log:
        f"{folder}/logs/report.log",
    shell:
        "python -m analysis report {folder:q}"


# The report with the card of the loss that `--config loss=...` adds to the study.
rule card:
    input:
        rules.report.output,
    log:
        f"{folder}/logs/card.log",
    localrule: True
    params:
        card=cards.link(study, added),
    shell:
        "echo {params.card:q} > {log:q}"


rule paper:
    input:
        stamps.paper.inputs,
    output:
        str(stamps.paper.path),
        folder=directory(f"{folder}/paper"),
    log:
        f"{folder}/logs/paper.log",
    shell:
        "python -m analysis paper {folder:q}"


rule calibration:
    input:
        stamps.calibration.inputs,
    output:
        str(stamps.calibration.path),
        table=f"{folder}/calibration.csv",
        sizes=f"{folder}/sizes_needed.csv",
    log:
        f"{folder}/logs/calibration.log",
    shell:
        "python -m analysis calibration {folder:q}"


# Removes the stressed images of a finished study, if `keep` does not name the data.
rule drop:
    input:
        rules.report.output,
    output:
        str(stamps.drop.path),
    log:
        f"{folder}/logs/drop.log",
    shell:
        "python -m experiments drop {folder:q}"


# Compares a finished study with its records, code, data and versions. It changes nothing.
rule verify:
    log:
        f"{folder}/logs/verify.log",
    shell:
        "python -m analysis verify {folder:q}"


# Packs a finished study as one file, results/STUDY.zip (RO-Crate).
rule archive:
    input:
        rules.report.output,
    log:
        f"{folder}/logs/archive.log",
    shell:
        "python -m experiments archive {folder:q}"
