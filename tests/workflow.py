"""The whole workflow in a copy of the tree, for the tests that need it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "dicebench", "losses", "experiments", "analysis", "profiles")
SHARED = ROOT.parent / "shared" / "data"


def copy_tree(target):
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return target


def command(*words):
    """Words and environment of a call of Snakemake."""
    snake = Path(sys.executable).with_name("snakemake")
    path = f"{snake.parent}{os.pathsep}{os.environ['PATH']}"
    return (snake, *words, "--cores", "2", "--configfile", "study.yaml"), {"PATH": path}


def snakemake(folder, *words, ok=True):
    """Run Snakemake in a folder; return its output."""
    return output(folder, *command(*words), ok)


def start(folder, *words):
    """Start Snakemake in a process group of its own; return the process and its log."""
    words, environment = command(*words)
    log = folder / "snakemake.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=default_interrupt,
        )
    return process, log


def default_interrupt():
    """Let SIGINT end a command, also if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def python(folder, script):
    """Run a script with the code of a folder; return its output."""
    return output(folder, (sys.executable, "-c", script), {}, True)


def _environment():
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def step(folder, *words, ok=True):
    """Run one step by hand, such as ``analysis figures results/tiny``; return its output.

    The code is that of the folder, or else the project's own.
    """
    own = (folder / "experiments").is_dir()
    environment = {} if own else {"PYTHONPATH": str(ROOT)}
    return output(folder, (sys.executable, "-m", *words), environment, ok)


def output(folder, words, environment, ok=True):
    """Run a command in a folder; return its output."""
    done = subprocess.run(
        words,
        cwd=folder,
        env=_environment() | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode == 0) == ok, done.stdout[-6000:]
    return done.stdout


def records(folder):
    """Path of each run's record below runs/ -> when it was written."""
    runs = folder / "results" / "tiny" / "runs"
    return {
        str(p.parent.relative_to(runs)): json.loads(p.read_text()) for p in runs.rglob("run.json")
    }


def same_but_time(one, two):
    times = ("seconds", "written", "sha256")
    return all(one[k] == two[k] for k in one.keys() | two.keys() if k not in times)
