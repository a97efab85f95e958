"""The terminal of a call: its lines, its last line and the bar; calls from other folders."""

import io
import logging
import os
import pty
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from analysis.stamps import Stamps
from experiments.errors import ConfigError
from experiments.plan.study import Study
from experiments.runs.progress import Progress
from experiments.terminal import NOTHING, Terminal
from tests.conftest import TINY
from tests.workflow import ROOT, command, copy_tree

ERROR = "CalledProcessError: Command 'python -m experiments check x' returned non-zero exit status "


@pytest.fixture
def terminal(tiny, in_tmp):
    return Terminal(Stamps(Study(tiny)))


@pytest.fixture
def snakemake_logger(terminal):
    """Snakemake's logger as `terminal` filters it, and the text that it shows."""
    logger, shown = logging.Logger("snakemake"), io.StringIO()
    handler = logging.StreamHandler(shown)
    handler.name = "DefaultStreamHandler"
    logger.addHandler(handler)
    terminal.attach(logger)
    return logger, shown


def finish(stamp, again="[]"):
    stamp.path.parent.mkdir(parents=True, exist_ok=True)
    stamp.path.write_text(f'{{"again": {again}}}')


def test_of_snakemakes_lines_about_jobs_only_warnings_and_strange_errors_are_shown(
    terminal, snakemake_logger
):
    logger, shown = snakemake_logger
    logger.info("Building DAG of jobs...")
    logger.info("Job stats", extra={"event": "run_info"})
    terminal.started = True
    logger.info("Execute 2 jobs...")
    logger.warning("a warning")
    logger.error("%s", "another error")
    for text in (f"{ERROR}1.", f"{ERROR}137.", "At least one job did not complete successfully."):
        logger.error(text)
    assert shown.getvalue().splitlines() == [
        *("Building DAG of jobs...", "a warning", "another error", f"{ERROR}137.")
    ]
    terminal.here = False
    logger.info("Job 3 has been submitted")
    assert "submitted" in shown.getvalue()
    terminal.stopped = True
    logger.error(f"{ERROR}137.")
    assert shown.getvalue().count("137") == 1


def test_a_call_without_work_ends_in_the_path_of_the_report(terminal, snakemake_logger):
    logger, shown = snakemake_logger
    logger.info(NOTHING)
    assert shown.getvalue() == f"{NOTHING}\n"
    finish(terminal.stamps.report)
    logger.info(NOTHING)
    path = os.path.abspath("results/tiny/report.html")
    assert shown.getvalue().splitlines()[-1] == f"dicebench: report: {path}"


@pytest.mark.parametrize(
    ("targets", "file"), [(["all"], "report.html"), (["verdicts", "paper"], "paper")]
)
def test_a_call_ends_in_the_path_of_its_result(terminal, capsys, targets, file):
    for stamp in (terminal.stamps.report, terminal.stamps.verdicts, terminal.stamps.paper):
        finish(stamp)
    finish(terminal.stamps.train["controlled"], '["runs/one", "runs/two"]')
    terminal.succeed(targets)
    *_, failed, last = capsys.readouterr().err.splitlines()
    assert "2 runs failed: runs/one, runs/two" in failed
    assert last.endswith(os.path.abspath(f"results/tiny/{file}"))


@pytest.mark.parametrize(
    ("target", "last"), [("fetch", "dicebench: done: fetch"), ("archive", "results/tiny.zip")]
)
def test_a_call_without_a_stamp_ends_in_its_target_or_its_archive(terminal, capsys, target, last):
    terminal.succeed([target])
    assert capsys.readouterr().err.splitlines()[-1].endswith(last)


def job(name, *lines):
    log = f"{name}.log"
    with open(log, "w") as file:
        file.write("".join(f"12:00:00 {line}\n" for line in lines))
    return SimpleNamespace(rule=SimpleNamespace(name=name), log=[log])


def test_a_call_that_fails_ends_in_the_steps_and_their_logs(terminal, capsys):
    check = job("check", "a line", "dicebench: one", "dicebench: two")
    group = SimpleNamespace(jobs=[check, job("collect")])
    terminal.fail([group])
    (last,) = capsys.readouterr().err.splitlines()
    assert last.startswith(f"dicebench: failed: check (log: {os.path.abspath('check.log')}), coll")
    terminal.here = False
    terminal.fail([group])
    assert capsys.readouterr().err.splitlines()[:-1] == ["dicebench: one", "dicebench: two"]


PROGRESS = """
import logging, sys
from experiments import door
from experiments.plan.study import Study
from experiments.runs.progress import Progress
from tests.conftest import TINY
from pathlib import Path

study = Study(TINY)
result = {"status": "ok", "seconds": {"train": 1}, "curve": [{"loss": 0.5, "val_dice": 0.25}]}
door.log_to(Path("train.log"))
progress = Progress(study, [run.path for run in study.runs])
with progress.bar():
    for i, run in enumerate(study.runs[:3]):
        progress.finish(run, result if i else result | {"status": "failed", "reason": "no luck"})
    logging.getLogger("dicebench").info("a line " + "x" * 150)
"""


def draw(folder, **variables):
    """Run PROGRESS on a terminal; return the text that the terminal gets."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", **variables}
    words = (sys.executable, "-c", PROGRESS)
    process = subprocess.Popen(words, cwd=folder, env=environment, stderr=theirs, stdout=theirs)
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 4096):
            text += data
    except OSError:  # the end of a terminal
        pass
    assert process.wait() == 0, text.decode()
    return text.decode()


def test_a_terminal_gets_a_bar_of_the_studys_models_and_the_log_gets_lines(tmp_path):
    text = draw(tmp_path)
    assert "3/24" in text
    assert "left" in text
    assert "[ 2/24]" not in text
    assert "[ 1/24] controlled" in text
    assert "failed (no luck)" in " ".join(text.split())  # lines are wrapped
    assert "x" * 50 in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line[9:16] for line in lines] == ["[ 1/24]", "[ 2/24]", "[ 3/24]", "a line "]


def test_a_simple_terminal_gets_lines(tmp_path):
    text = draw(tmp_path, TERM="dumb")
    assert "[ 3/24] controlled" in text
    assert "\x1b" not in text


def test_the_time_left_falls_between_two_runs(tiny, in_tmp, monkeypatch):
    study = Study(tiny)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    progress = Progress(study, [run.path for run in study.runs])
    assert progress.left is None
    clock.now = 10.0
    progress.finish(study.runs[0], {"status": "ok", "seconds": {}})
    assert progress.left == 10.0 * 23
    clock.now = 40.0
    assert progress.left == 10.0 * 23 - 30


def test_the_results_can_be_in_another_folder(tiny, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    for folder, expected in (
        ("results", "results/tiny"),
        ("/scratch/", "/scratch/tiny"),
        ("~/mine", "/home/someone/mine/tiny"),
    ):
        assert Study(tiny | {"results": folder}).folder == expected
    for folder in ("a{b}", "", 3):
        with pytest.raises(ConfigError, match=r"results: .* is not allowed"):
            Study(tiny | {"results": folder})


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A project, and a folder with a study, a custom loss and a file that hides no package."""
    project = copy_tree(tmp_path_factory.mktemp("project"))
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "my_losses.py").write_text((ROOT / "tests" / "user_losses.py").read_text())
    (folder / "losses.py").write_text("raise RuntimeError('hidden')\n")
    return project, folder


def call(elsewhere, *targets, ok=True, **losses):
    """Call Snakemake from a third folder; return the lines of its output."""
    project, folder = elsewhere
    losses = TINY["losses"] | losses
    study = TINY | {"losses": losses, "results": str(folder / "scratch")}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (program, *words), _ = command(*targets)
    words[words.index("study.yaml")] = str(folder / "study.yaml")
    where = ("--snakefile", str(project / "Snakefile"), "--directory", str(folder))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = os.defpath  # the environment is not activated
    done = subprocess.run(
        [str(program), *words, *where],
        cwd=project.parent,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode == 0) == ok, done.stdout
    return done.stdout.splitlines()


def test_a_loss_that_cannot_be_built_ends_a_call_in_its_message_before_any_other_job(elsewhere):
    *_, message, last = lines = call(elsewhere, ok=False, dice={"smoth": 1})
    study = elsewhere[1] / "scratch" / "tiny"
    assert "dicebench: losses.dice: loss 'dice' has no option 'smoth'" in message
    assert last == f"dicebench: failed: check (log: {study}/logs/check.log)"
    assert len(lines) < 9, lines
    assert not (study / "data").exists()
    assert [p.name for p in (study / "logs").iterdir()] == ["check.log"]


def test_a_study_runs_from_any_folder_with_losses_of_the_working_folder(elsewhere):
    lines = call(elsewhere, "mechanism", my_loss={"use": "my_losses:MyLoss"})
    table = elsewhere[1] / "scratch" / "tiny" / "mechanism.csv"
    assert lines[-1] == f"dicebench: mechanism: {table}"
    assert "my_loss" in table.read_text()
    assert not (elsewhere[1] / "results").exists()
