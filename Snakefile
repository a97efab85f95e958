import os
import sys

from snakemake.logging import logger

from analysis.stamps import Stamps
from experiments import card as cards
from experiments.driver import Driver, find_packages, refuse
from experiments.errors import ConfigError
from experiments.plan.reading import refuse_duplicates
from experiments.plan.study import Study


report: "analysis/report/captions/study.rst"


if "datasets" not in config:  # a --configfile without datasets changes the quick study

    configfile: "config.yaml" if os.path.exists("config.yaml") else f"{workflow.basedir}/config.yaml"


find_packages(workflow.basedir)
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
    refuse(error)

# Of a training job. A job on a cluster takes the cores that it was given, not those of its node.
given = None if workflow.is_main_process else os.environ.get("SLURM_CPUS_PER_TASK")
cores = int(given or workflow.resource_settings.cores or 1)
driver = Driver(study, stamps, workflow.resource_settings.cores)
if workflow.is_main_process:
    driver.terminal.attach(logger)
    if added:
        cards.adopt(base, study, stamps, added)
if workflow.is_main_process and "verify" not in sys.argv:  # `verify` names the void stamps
    driver.sweep()


onstart:
    if workflow.is_main_process:
        driver.start(workflow.local_exec)


onsuccess:
    if workflow.is_main_process:
        driver.terminal.succeed(rule.name for rule in workflow.dag.targetrules)
        if added:
            print(f"dicebench: card: {cards.link(study, added)}", file=sys.stderr)


onerror:
    if workflow.is_main_process:
        driver.terminal.fail(workflow.scheduler.failed)


include: "experiments/rules.smk"
include: "analysis/rules.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.drop.output if "data" not in study.keep else [],
