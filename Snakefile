from snakemake.exceptions import WorkflowError

from experiments.config import ConfigError, sources
from experiments.plan import Study

if "datasets" not in config:  # --configfile names another study: it is whole by itself

    configfile: "config.yaml"


try:
    study = Study(config)
except ConfigError as error:
    raise WorkflowError(f"The configuration is refused. {error}") from None


include: "experiments/rules.smk"
include: "analysis/rules.smk"


rule all:
    default_target: True
    input:
        study.outputs,
