"""From a study's configuration to its table: ``python -m experiments STEP FOLDER [NAME]``."""

import os
import sys

# Before torch and albumentations are imported: a run uses one thread, and nothing is downloaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from experiments import door
from experiments.plan.stamps import Stamps
from experiments.plan.study import Study
from experiments.steps import STEPS

if __name__ == "__main__":
    if sys.argv[1:2] == ["download"]:
        door.download(sys.argv[2:])
    else:
        door.main("experiments", STEPS, Study.open, Stamps)
