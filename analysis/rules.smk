# From the study's table to verdicts, figures and the report.


rule verdicts:
    input:
        table=rules.collect.output.table,
        code=sources("analysis/claims")
        + [f"analysis/{m}.py" for m in ("verdicts", "metrics", "statistics")],
    output:
        report(
            f"{study.folder}/verdicts.csv",
            category="Verdicts",
            caption="captions/verdicts.rst",
        ),
    log:
        f"{study.folder}/logs/verdicts.log",
    params:
        study.asked,
    shell:
        "python -m analysis.verdicts {study.json:q} {input.table} {output} 2>&1 | tee {log}"


rule figures:
    input:
        table=rules.collect.output.table,
        records=rules.collect.output.records,
        verdicts=rules.verdicts.output,
        mechanism=rules.mechanism.output,
        code=sources("analysis", "analysis/claims"),
    output:
        folder=report(
            directory(f"{study.folder}/figures"),
            patterns=["{name}.svg"],
            category="Figures",
        ),
    log:
        f"{study.folder}/logs/figures.log",
    params:
        study.asked,
    shell:
        "python -m analysis.figures {study.json:q} {input.table} {input.records} {input.verdicts}"
        " {input.mechanism} {output.folder} 2>&1 | tee {log}"


rule report:
    input:
        table=rules.collect.output.table,
        records=rules.collect.output.records,
        verdicts=rules.verdicts.output,
        figures=rules.figures.output.folder,
        code=["analysis/report.py", "analysis/report.html.j2"],
    output:
        report(f"{study.folder}/report.html", category="Report", caption="captions/report.rst"),
    log:
        f"{study.folder}/logs/report.log",
    shell:
        "python -m analysis.report {study.json:q} {input.table} {input.records} {input.verdicts}"
        " {input.figures} {output} 2>&1 | tee {log}"
