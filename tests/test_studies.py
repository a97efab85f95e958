"""The studies of the repository: config.yaml, configs/ and profiles/."""

import itertools
from pathlib import Path

import yaml

from analysis import claims
from analysis.stamps import STAMPED
from experiments.plan.study import Study

ROOT = Path(__file__).parents[1]


def test_the_quick_study_shares_cells_and_has_the_reference_studys_budget():
    study = Study(yaml.safe_load((ROOT / "config.yaml").read_text()))
    assert study.name == "quick"
    levels = sum(len(e.levels["controlled"]) for e in study.experiments.values())
    cells = len({(run.stress, run.setting.name) for run in study.runs})
    assert (levels, cells) == (12, 9)  # three levels are the same cell as another experiment's
    assert len(study.runs) == cells * len(study.losses) * len(study.seeds)
    assert len({run.path for run in study.runs}) == len(study.runs)
    reference = Study(yaml.safe_load((ROOT / "configs/reference.yaml").read_text()))
    assert study.training.steps == reference.training.steps == claims.BUDGET
    assert tuple(itertools.accumulate(map(len, reference.looks))) == claims.LOOKS


def test_every_step_of_the_report_is_in_the_slurm_job_of_the_analysis():
    """A step between two steps of a group must be in it, or Snakemake refuses the study."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    alone = {"paper", "calibration", "look"}  # not of the report, or before its steps
    assert {f"{step}=analysis" for step in STAMPED if step not in alone} <= set(profile["groups"])
