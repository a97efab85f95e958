# From the study's table to verdicts, figures and the report.


rule verdicts:
    input:
        plan=ancient(plan_file),
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
        "python -m analysis.verdicts {input.plan} {input.table} {output} 2>&1 | tee {log}"


rule figures:
    input:
        plan=ancient(plan_file),
        table=rules.collect.output.table,
        records=rules.collect.output.records,
        verdicts=rules.verdicts.output,
        code=sources("analysis", "analysis/claims"),
    output:
        folder=directory(f"{study.folder}/figures"),
    log:
        f"{study.folder}/logs/figures.log",
    params:
        study.asked,
    shell:
        "python -m analysis.figures {input.plan} {input.table} {input.records} {input.verdicts}"
        " {output.folder} 2>&1 | tee {log}"


rule report:
    input:
        plan=ancient(plan_file),
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
        "python -m analysis.report {input.plan} {input.table} {input.records} {input.verdicts}"
        " {input.figures} {output} 2>&1 | tee {log}"
