import os
import sys

from snakemake.exceptions import WorkflowError

from analysis.stamps import Stamps
from experiments import card as cards
from experiments.driver import Driver
from experiments.errors import ConfigError
from experiments.plan.reading import refuse_duplicates
from experiments.plan.study import Study

if "datasets" not in config:  # a --configfile without datasets changes the quick study

    configfile: "config.yaml"


try:
    for path in workflow.configfiles:
        refuse_duplicates(path)
    value = config.pop("loss", None)  # of `snakemake card --config loss=...`
    base = study = Study(config)
    added = ""
    if value is not None:
        study, added = cards.with_loss(base, value)
    elif "card" in sys.argv:
        raise ConfigError(f"loss: the setting is missing: --config loss=...; {cards.ALLOWED}")
    stamps = Stamps(study)
    if workflow.is_main_process:  # a job on a cluster waits for files, by their names
        stamps.refuse_files(sys.argv[1:])
except ConfigError as error:
    raise WorkflowError(f"The configuration is refused.\n{error}") from None

# Of a training job. A job on a cluster takes the cores that it was given, not those of its node.
given = None if workflow.is_main_process else os.environ.get("SLURM_CPUS_PER_TASK")
cores = int(given or workflow.resource_settings.cores or 1)
driver = Driver(study, workflow.resource_settings.cores)
if workflow.is_main_process and added:
    cards.adopt(base, study, stamps, added)
if workflow.is_main_process and "verify" not in sys.argv:  # `verify` names the void stamps
    driver.sweep(stamps)


onstart:
    if workflow.is_main_process:
        driver.start()


onsuccess:
    if workflow.is_main_process and added:
        print(f"dicebench: card: {cards.link(study, added)}", file=sys.stderr)


include: "experiments/rules.smk"
include: "analysis/rules.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.drop.output if "data" not in study.keep else [],
