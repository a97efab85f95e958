"""From a study's table to its report: ``python -m analysis STEP FOLDER [FIGURE]``."""

from analysis.results import Results
from analysis.stamps import Stamps
from analysis.steps import STEPS
from experiments import door

if __name__ == "__main__":
    door.main("analysis", STEPS, Results.open, Stamps)
