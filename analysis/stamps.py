"""Stamps of the steps of the analysis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from analysis.steps import ANSWER, COMPARISONS, RECOMMENDATION, STEPS
from experiments import layout
from experiments.files import file_sha256
from experiments.plan import looks, stamps
from experiments.plan.seeds import fingerprint
from experiments.plan.stamps import Stamp

STAMPED = [step for step in STEPS if step not in ("look", "verify")]
"""Steps of the analysis that have one stamp, in their order."""
REPORTS = "analysis.report"
"""Package of the steps that read templates."""


class Stamps(stamps.Stamps):
    """The stamps of all steps of a study."""

    package = "analysis"
    steps = STEPS

    def all(self) -> list[Stamp]:
        """Return every stamp; a stamp follows those that it depends on."""
        return [*super().all(), *self.look.values(), *(getattr(self, step) for step in STAMPED)]

    def code(self, step: str) -> str:
        """Return a fingerprint of a step's code and of the versions of all packages.

        That of a step of REPORTS includes the package's other files: templates, styles, scripts.
        """
        if step not in STEPS:
            return stamps.Stamps(self.study).code(step)
        code = super().code(step)
        if not STEPS[step].startswith(REPORTS):
            return code
        files = [
            path
            for path in sorted(Path(__file__).with_name("report").rglob("*"))
            if path.is_file() and path.suffix not in (".py", ".pyc")
        ]
        return fingerprint([code, [file_sha256(path) for path in files]])

    def _analysis(
        self, step: str, made: Sequence[str], after: Iterable[Stamp], name: str = ""
    ) -> Stamp:
        return self._stamp(step, self.study.analysis_fingerprint, made, after, name)

    @cached_property
    def look(self) -> dict[str, Stamp]:
        """The decisions, by look; none if every run has the same seeds."""
        decided: dict[str, Stamp] = {}
        for look in range(1, len(self.study.looks) + 1) if self.study.adaptive else ():
            trained = [self.train[name] for name, j in self.study.jobs.items() if j.look == look]
            before = list(decided.values())[-1:]
            made = [looks.file(look)]
            name = str(look)
            decided[name] = self._analysis("look", made, [*before, *trained], name)
        return decided

    def decision_of(self, stamp: Stamp) -> list[str]:
        """Return the stamp of the decision that a step reads, if it reads one.

        Without it Snakemake would not make a void decision again whose file still exists.
        """
        read = {before.path for before in stamp.after}
        return [str(look.path) for look in self.look.values() if not read.isdisjoint(look.made)]

    def sweep(self) -> None:
        """Remove the stamps that are void, also those of steps that read a void decision."""
        for look in self.look.values():
            if look.void():
                look.path.unlink(missing_ok=True)
        for stamp in self.all():
            if not all(Path(path).exists() for path in self.decision_of(stamp)):
                stamp.path.unlink(missing_ok=True)
        super().sweep()

    @cached_property
    def estimates(self) -> Stamp:
        """The numbers behind the figures."""
        return self._analysis("estimates", [layout.ESTIMATES, layout.RANKS], [self.collect])

    @cached_property
    def verdicts(self) -> Stamp:
        """The verdicts."""
        after = [self.collect, self.mechanism, *self.look.values()]
        return self._analysis("verdicts", [layout.VERDICTS], after)

    @cached_property
    def recommendation(self) -> Stamp:
        """The advice by situation."""
        made = [RECOMMENDATION, COMPARISONS]
        return self._analysis("recommendation", made, [self.collect])

    @cached_property
    def figures(self) -> Stamp:
        """The figures; those of examples show stressed images."""
        tables = self.collect, self.estimates, self.verdicts, self.recommendation, self.mechanism
        return self._analysis("figures", [layout.FIGURES], [*tables, *self.prepare.values()])

    @cached_property
    def stresses(self) -> Stamp:
        """The measures and contact sheets of the stressed datasets."""
        made = [layout.STRESSES, layout.CONTACT]
        return self._analysis("stresses", made, self.prepare.values())

    @property
    def _results(self) -> list[Stamp]:
        tables = self.estimates, self.verdicts, self.recommendation, *self.look.values()
        return [self.figures, self.controls, self.stresses, *tables]

    @cached_property
    def report(self) -> Stamp:
        """The report. Without the configuration that it shows, it is made again."""
        made = [layout.REPORT, ANSWER, layout.CONFIG]
        return self._stamp("report", self.study.json, made, self._results)

    @cached_property
    def paper(self) -> Stamp:
        """The study as a folder for a manuscript."""
        return self._stamp("paper", self.study.json, [layout.PAPER], self._results)

    @cached_property
    def calibration(self) -> Stamp:
        """The test of the verdicts."""
        made = [layout.CALIBRATION, layout.SIZES_NEEDED]
        return self._analysis("calibration", made, [self.collect])
