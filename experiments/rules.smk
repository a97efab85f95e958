# From the configuration to the study's table. Each job gets the configuration as JSON; the
# parameters' fingerprints say when a job is to run again.

checked_file = f"{study.folder}/logs/checked"


rule check:
    input:
        code=study.loss_files,
    output:
        checked_file,
    log:
        f"{study.folder}/logs/check.log",
    params:
        study.checked,
    shell:
        "python -m experiments.check {study.json:q} {output} 2>&1 | tee {log}"


rule fetch:
    """All datasets of the study, ahead of it: for nodes without a network."""
    input:
        [f"data/{source}/dataset.json" for source in study.fetched],


if study.fetched:
    terms_file = f"{study.folder}/logs/terms"

    # What each dataset's licence asks for is said, and refused, before anything is fetched.
    rule terms:
        output:
            touch(terms_file),
        log:
            f"{study.folder}/logs/fetch/terms.log",
        params:
            options=study.fetch_options,
            sources=study.fetched,
        shell:
            "python -m experiments.fetch --terms {params.options:q} {params.sources} 2>&1"
            " | tee {log}"

    rule fetch_one:
        input:
            ancient(terms_file),
        output:
            # What is there is not fetched again.
            update("data/{source}/dataset.json"),
        log:
            f"{study.folder}/logs/fetch/{{source}}.log",
        wildcard_constraints:
            source="[^/]+",
        params:
            options=study.fetch_options,
        shell:
            "python -m experiments.fetch {params.options:q} {wildcards.source} 2>&1" " | tee {log}"


for dataset in study.datasets.values():

    rule:
        name:
            f"prepare_{dataset.name}"
        input:
            source=study.source_files(dataset),
            code=[
                f"experiments/{m}.py"
                for m in ("prepare", "prepared", "stress", "objects", "controlled")
            ],
        output:
            study.prepared(dataset),
        log:
            f"{study.folder}/logs/prepare/{dataset.name}.log",
        params:
            dataset=dataset.name,
            fingerprint=study.data_fingerprint(dataset),
        shell:
            "python -m experiments.prepare {study.json:q} {params.dataset} 2>&1 | tee {log}"


for chunk in study.chunks.values():

    rule:
        name:
            f"train_{chunk.name}"
        input:
            checked_file,
            data=sorted({f"{study.data_folder(*run.cell)}/dataset.json" for run in chunk.runs}),
            code=[*sources("losses"), *study.loss_files]
            + [f"experiments/{m}.py" for m in ("train", "models", "evaluate", "objects")],
        output:
            # Kept when the job runs again: it trains only what is missing or no longer valid.
            [update(study.record(run)) for run in chunk.runs],
        log:
            f"{study.folder}/logs/train/{chunk.name}.log",
        threads: workflow.cores
        params:
            chunk=chunk.name,
            fingerprint=chunk.fingerprint,
        shell:
            "python -m experiments.chunk {study.json:q} {params.chunk} --jobs {threads} --log {log}"


rule mechanism:
    input:
        checked_file,
        code=[*sources("losses"), *study.loss_files, "experiments/mechanism.py"],
    output:
        table=f"{study.folder}/mechanism.csv",
        maps=f"{study.folder}/mechanism_maps.npz",
    log:
        f"{study.folder}/logs/mechanism.log",
    params:
        study.checked,
    shell:
        "python -m experiments.mechanism {study.json:q} {output} 2>&1 | tee {log}"


rule collect:
    input:
        records=[study.record(run) for run in study.runs],
        code="experiments/results.py",
    output:
        table=f"{study.folder}/runs.csv",
        records=f"{study.folder}/records.json",
    log:
        f"{study.folder}/logs/collect.log",
    shell:
        "python -m experiments.collect {study.json:q} {output} 2>&1 | tee {log}"


rule controls:
    input:
        data=[p for dataset in study.datasets.values() for p in study.prepared(dataset)],
        code=[f"experiments/{m}.py" for m in ("controls", "evaluate", "objects")],
    output:
        f"{study.folder}/controls.csv",
    log:
        f"{study.folder}/logs/controls.log",
    shell:
        "python -m experiments.controls {study.json:q} {output} 2>&1 | tee {log}"
