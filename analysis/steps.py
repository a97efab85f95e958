"""Names of the steps of the analysis and their modules. Standard library only."""

STEPS = {
    "look": "analysis.decision",
    "estimates": "analysis.scores.estimates",
    "verdicts": "analysis.verdicts",
    "recommendation": "analysis.recommendation",
    "figures": "analysis.figures.draw",
    "stresses": "analysis.stresses",
    "report": "analysis.report.report",
    "paper": "analysis.report.paper",
    "calibration": "analysis.calibration",
    "verify": "analysis.verify",
}
"""Step -> its module."""

# Not in experiments.layout: training imports that module, so a name more there voids all runs.
RECOMMENDATION, COMPARISONS = "recommendation.csv", "comparisons.csv"
"""Files of the step `recommendation`."""
ANSWER = "answer.md"
"""The report's first screen as text."""
