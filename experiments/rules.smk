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
        [f"data/{source}/dataset.json" for source in study.fetched],


if study.missing:
    terms_file = f"{folder}/logs/terms.ok"

    # On a cluster: not on a node, which may have no network.
    localrules:
        terms,
        fetch_one,


    # The licences are printed first. A dataset that requires registration stops the study here.
    rule terms:
        output:
            touch(terms_file),
        log:
            f"{folder}/logs/terms.log",
        params:
            study.missing,
        shell:
            "python -m experiments terms {folder:q}"

    rule fetch_one:
        input:
            terms_file,
        output:
            "data/{source}/dataset.json",
        log:
            f"{folder}/logs/fetch/{{source}}.log",
        wildcard_constraints:
            source="|".join(study.missing),
        shell:
            "python -m experiments fetch {folder:q} {wildcards.source:q}"


for dataset in study.datasets.values():

    rule:
        name:
            f"prepare_{dataset.name}"
        input:
            [f"{dataset.folder}/dataset.json"] if dataset.source in study.missing else [],
        output:
            str(stamps.prepare[dataset.name].path),
        log:
            f"{folder}/logs/prepare/{dataset.name}.log",
        params:
            dataset=dataset.name,
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
