# From the study's table to verdicts, figures and the report.


rule verdicts:
    input:
        table=rules.collect.output.table,
        mechanism=rules.mechanism.output.table,
        code=sources("analysis/claims")
        + [
            f"analysis/{m}.py"
            for m in ("verdicts", "mechanism", "metrics", "statistics", "tuning")
        ],
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
        "python -m analysis.verdicts {study.json:q} {input.table} {input.mechanism} {output} 2>&1 | tee {log}"


rule figures:
    input:
        table=rules.collect.output.table,
        records=rules.collect.output.records,
        verdicts=rules.verdicts.output,
        mechanism=rules.mechanism.output.table,
        maps=rules.mechanism.output.maps,
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
        " {input.mechanism} {input.maps} {output.folder} 2>&1 | tee {log}"


rule stresses:
    input:
        data=[file for dataset in study.datasets.values() for file in study.prepared(dataset)],
        code=["analysis/stresses.py", "analysis/style.py", "experiments/objects.py"],
    output:
        table=f"{study.folder}/stresses.csv",
        sheets=report(
            directory(f"{study.folder}/contact"),
            patterns=["{name}.png"],
            category="Stressed datasets",
        ),
    log:
        f"{study.folder}/logs/stresses.log",
    shell:
        "python -m analysis.stresses {study.json:q} {output} 2>&1 | tee {log}"


rule report:
    input:
        stresses=rules.stresses.output.table,
        sheets=rules.stresses.output.sheets,
        table=rules.collect.output.table,
        controls=rules.controls.output,
        records=rules.collect.output.records,
        verdicts=rules.verdicts.output,
        figures=rules.figures.output.folder,
        code=[f"analysis/{m}" for m in ("report.py", "tables.py", "stresses.py", "report.html.j2")],
    output:
        report(f"{study.folder}/report.html", category="Report", caption="captions/report.rst"),
    log:
        f"{study.folder}/logs/report.log",
    shell:
        "python -m analysis.report {study.json:q} {input.table} {input.controls} {input.records}"
        " {input.verdicts} {input.stresses} {input.figures} {input.sheets} {output} 2>&1 | tee {log}"


rule paper:
    input:
        table=rules.collect.output.table,
        controls=rules.controls.output,
        records=rules.collect.output.records,
        verdicts=rules.verdicts.output,
        figures=rules.figures.output.folder,
        stresses=rules.stresses.output.table,
        code=[f"analysis/{m}.py" for m in ("paper", "report", "tables")],
    output:
        directory(f"{study.folder}/paper"),
    log:
        f"{study.folder}/logs/paper.log",
    shell:
        "python -m analysis.paper {study.json:q} {input.table} {input.controls} {input.records}"
        " {input.verdicts} {input.stresses} {input.figures} {output} 2>&1 | tee {log}"


rule calibration:
    input:
        table=rules.collect.output.table,
        code=sources("analysis/claims")
        + [f"analysis/{m}.py" for m in ("calibration", "metrics", "statistics")],
    output:
        table=f"{study.folder}/calibration.csv",
        sizes=f"{study.folder}/sizes_needed.csv",
    log:
        f"{study.folder}/logs/calibration.log",
    params:
        study.asked,
    shell:
        "python -m analysis.calibration {study.json:q} {input.table} {output.table} 2>&1"
        " | tee {log}"
