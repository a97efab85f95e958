# From the study's table to verdicts, figures and the report: `python -m analysis STEP FOLDER`.
rule estimates:
    input:
        table=rules.collect.output.table,
        records=rules.collect.output.records,
        code=sources("analysis.__main__", ANALYSIS["estimates"]),
    output:
        estimates=f"{folder}/estimates.csv",
        ranks=f"{folder}/ranks.csv",
    log:
        f"{folder}/logs/estimates.log",
    params:
        study.analysis_fingerprint,
    shell:
        "python -m analysis estimates {folder}"


rule verdicts:
    input:
        table=rules.collect.output.table,
        mechanism=rules.mechanism.output.table,
        code=sources("analysis.__main__", ANALYSIS["verdicts"]),
    output:
        report(
            f"{folder}/verdicts.csv", category="Verdicts", caption="report/captions/verdicts.rst"
        ),
    log:
        f"{folder}/logs/verdicts.log",
    params:
        study.analysis_fingerprint,
    shell:
        "python -m analysis verdicts {folder}"


rule figures:
    input:
        table=rules.collect.output.table,
        records=rules.collect.output.records,
        estimates=rules.estimates.output.estimates,
        ranks=rules.estimates.output.ranks,
        verdicts=rules.verdicts.output,
        mechanism=rules.mechanism.output.table,
        maps=rules.mechanism.output.maps,
        code=sources("analysis.__main__", ANALYSIS["figures"]),
    output:
        folder=report(directory(f"{folder}/figures"), patterns=["{name}.svg"], category="Figures"),
    log:
        f"{folder}/logs/figures.log",
    params:
        study.analysis_fingerprint,
    shell:
        "python -m analysis figures {folder}"


rule stresses:
    input:
        data=[file for dataset in study.datasets for file in study.stressed(dataset)],
        code=sources("analysis.__main__", ANALYSIS["stresses"]),
    output:
        table=f"{folder}/stresses.csv",
        sheets=report(
            directory(f"{folder}/contact"), patterns=["{name}.png"], category="Stressed datasets"
        ),
    log:
        f"{folder}/logs/stresses.log",
    shell:
        "python -m analysis stresses {folder}"


results = [
    rules.collect.output.table,
    rules.collect.output.records,
    rules.controls.output,
    rules.verdicts.output,
    rules.estimates.output.ranks,
    rules.figures.output.folder,
    rules.stresses.output.table,
]


rule report:
    input:
        results=results,
        sheets=rules.stresses.output.sheets,
        code=[*sources("analysis.__main__", ANALYSIS["report"]), "analysis/report/report.html.j2"],
    output:
        report(f"{folder}/report.html", category="Report", caption="report/captions/report.rst"),
    log:
        f"{folder}/logs/report.log",
    shell:
        "python -m analysis report {folder}"


rule paper:
    input:
        results=results,
        code=sources("analysis.__main__", ANALYSIS["paper"]),
    output:
        directory(f"{folder}/paper"),
    log:
        f"{folder}/logs/paper.log",
    shell:
        "python -m analysis paper {folder}"


rule calibration:
    input:
        table=rules.collect.output.table,
        code=sources("analysis.__main__", ANALYSIS["calibration"]),
    output:
        table=f"{folder}/calibration.csv",
        sizes=f"{folder}/sizes_needed.csv",
    log:
        f"{folder}/logs/calibration.log",
    params:
        study.analysis_fingerprint,
    shell:
        "python -m analysis calibration {folder}"
