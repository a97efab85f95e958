# From the configuration to the study's table. Every job is `python -m experiments STEP FOLDER`.
# A job runs again when the fingerprint among its params changes.
folder = study.folder


rule check:
    input:
        code=sources("experiments.__main__", STEPS["check"], *study.loss_modules),
    output:
        f"{folder}/{CHECKED}",
    log:
        f"{folder}/logs/check.log",
    params:
        study.check_fingerprint,
    shell:
        "python -m experiments check {folder}"


rule fetch:
    """All datasets of the study, ahead of it: for nodes without a network."""
    input:
        [f"data/{source}/dataset.json" for source in study.fetched],


if study.missing:
    terms_file = f"{folder}/logs/terms.ok"

    # The licences are printed first. A dataset that requires registration stops the study here.
    rule terms:
        output:
            touch(terms_file),
        log:
            f"{folder}/logs/terms.log",
        params:
            study.missing,
        shell:
            "python -m experiments terms {folder}"

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
            "python -m experiments fetch {folder} {wildcards.source}"


for dataset in study.datasets.values():

    rule:
        name:
            f"prepare_{dataset.name}"
        input:
            source=[f"{dataset.folder}/dataset.json"] if dataset.fetched else [],
            code=sources("experiments.__main__", STEPS["prepare"]),
        output:
            study.stressed(dataset.name),
        log:
            f"{folder}/logs/prepare/{dataset.name}.log",
        params:
            dataset=dataset.name,
            fingerprint=study.data_fingerprint(dataset.name),
        shell:
            "python -m experiments prepare {folder} {params.dataset}"


for job in study.jobs.values():

    rule:
        name:
            f"train_{job.name}"
        input:
            f"{folder}/{CHECKED}",
            data=sorted({f"{study.data_folder(*run.cell)}/dataset.json" for run in job.runs}),
            code=sources("experiments.__main__", STEPS["train"], *study.loss_modules),
        output:
            # Kept when the job runs again: it trains only the runs that are no longer valid.
            [update(study.record(run)) for run in job.runs],
        log:
            f"{folder}/logs/train/{job.name}.log",
        threads: workflow.cores
        params:
            job=job.name,
            fingerprint=job.fingerprint,
            keep=study.keep,
        shell:
            "python -m experiments train {folder} {params.job} --jobs {threads}"


rule mechanism:
    input:
        f"{folder}/{CHECKED}",
        code=sources("experiments.__main__", STEPS["mechanism"], *study.loss_modules),
    output:
        table=f"{folder}/mechanism.csv",
        maps=f"{folder}/mechanism_maps.npz",
    log:
        f"{folder}/logs/mechanism.log",
    params:
        study.check_fingerprint,
    shell:
        "python -m experiments mechanism {folder}"


rule collect:
    input:
        records=[study.record(run) for run in study.runs],
        code=sources("experiments.__main__", STEPS["collect"]),
    output:
        table=f"{folder}/runs.csv",
        records=f"{folder}/records.json",
    log:
        f"{folder}/logs/collect.log",
    params:
        study.key_columns,
    shell:
        "python -m experiments collect {folder}"


rule controls:
    input:
        data=[file for dataset in study.datasets for file in study.stressed(dataset)],
        code=sources("experiments.__main__", STEPS["controls"]),
    output:
        f"{folder}/controls.csv",
    log:
        f"{folder}/logs/controls.log",
    params:
        study.key_columns,
    shell:
        "python -m experiments controls {folder}"
