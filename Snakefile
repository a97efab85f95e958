from experiments.config import sources
from experiments.plan import Study

if "study" not in config:  # --configfile names another study: it is whole by itself

    configfile: "config.yaml"


study = Study(config)


include: "experiments/rules.smk"
include: "analysis/rules.smk"


rule all:
    default_target: True
    input:
        study.outputs,
