# From the configuration to the study's table. Every job is `python -m experiments STEP FOLDER`.
# A step is done when its stamp exists (experiments/plan/stamps.py); no other trigger is needed.
folder = study.folder


rule check:
    output:
        str(stamps.check.path),
    log:
        f"{folder}/logs/check.log",
    shell:
        "python -m experiments check {folder:q}"


rule fetch:
    """All datasets of the study, ahead of it: for nodes without a network."""
    input:
        [str(stamp.path) for stamp in stamps.fetch.values()],


if study.fetched:

    # The licences are printed first. A dataset that requires registration stops the study here.
    # `snakemake fetch` runs no check: its machine may have no GPU.
    rule terms:
        input:
            [] if "fetch" in sys.argv else stamps.gate(stamps.terms),
        output:
            str(stamps.terms.path),
        log:
            f"{folder}/logs/terms.log",
        localrule: True
        shell:
            "python -m experiments terms {folder:q}"


for source in study.fetched:

    rule:
        name:
            f"fetch_{source}"
        input:
            stamps.fetch[source].inputs,
        output:
            str(stamps.fetch[source].path),
        log:
            f"{folder}/logs/fetch/{source}.log",
        localrule: True  # on a cluster: not on a node, which may have no network
        params:
            source=source,
        shell:
            "python -m experiments fetch {folder:q} {params.source:q}"


# Measures which levels the windows of each dataset reach, and prints them. It trains nothing.
rule probe:
    input:
        rules.fetch.input,
    log:
        f"{folder}/logs/probe.log",
    shell:
        "python -m experiments probe {folder:q}"


for name, stamp in stamps.prepare.items():

    rule:
        name:
            f"prepare_{name}"
        input:
            stamp.inputs,
            stamps.decision_of(stamp),
            stamps.gate(stamp),
        output:
            str(stamp.path),
        log:
            f"{folder}/logs/prepare/{name}.log",
        priority: 1  # before all training: an unreachable level is found early
        params:
            dataset=name,
        shell:
            "python -m experiments prepare {folder:q} {params.dataset:q}"


for job in study.jobs.values():

    rule:
        name:
            f"train_{job.name}"
        input:
            stamps.train[job.name].inputs,
        output:
            str(stamps.train[job.name].path),
        log:
            f"{folder}/logs/train/{job.name}.log",
        threads: cores
        params:
            job=job.name,
        shell:
            "python -m experiments train {folder:q} {params.job:q} --jobs {threads}"


rule mechanism:
    input:
        stamps.mechanism.inputs,
    output:
        str(stamps.mechanism.path),
        table=f"{folder}/mechanism.csv",
        maps=f"{folder}/mechanism_maps.npz",
    log:
        f"{folder}/logs/mechanism.log",
    shell:
        "python -m experiments mechanism {folder:q}"


rule collect:
    input:
        stamps.collect.inputs,
    output:
        str(stamps.collect.path),
        table=f"{folder}/runs.csv",
        records=f"{folder}/records.json",
    log:
        f"{folder}/logs/collect.log",
    shell:
        "python -m experiments collect {folder:q}"


rule controls:
    input:
        stamps.controls.inputs,
    output:
        str(stamps.controls.path),
        table=f"{folder}/controls.csv",
    log:
        f"{folder}/logs/controls.log",
    shell:
        "python -m experiments controls {folder:q}"
