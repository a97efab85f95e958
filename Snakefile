from snakemake.exceptions import WorkflowError

from analysis.steps import STEPS as ANALYSIS
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.layout import CHECKED, CONFIG
from experiments.plan.reading import refuse_duplicates
from experiments.plan.sources import sources
from experiments.plan.study import Study
from experiments.steps import STEPS

if "datasets" not in config:  # a --configfile without datasets changes the quick study

    configfile: "config.yaml"


try:
    for path in workflow.configfiles:
        refuse_duplicates(path)
    study = Study(config)
except ConfigError as error:
    raise WorkflowError(f"The configuration is refused.\n{error}") from None


# A rule would not do: Snakemake 9 skips a job with an `ancient` input that is made again, whatever
# other reasons the job has to run.
onstart:
    write_whole(study.file(CONFIG), study.json)


include: "experiments/rules.smk"
include: "analysis/rules.smk"


rule all:
    default_target: True
    input:
        study.outputs,
