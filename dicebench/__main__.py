"""The command `dicebench`: the suite from the installed files, with the current folder's data."""

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from dicebench import HOME, __version__

USAGE = """\
usage: dicebench run [TARGET ...] [OPTION ...]   run a study: a target and options of Snakemake
       dicebench card [OPTION ...]               the same as: dicebench run card
       dicebench STEP results/STUDY [NAME]       run one step again, such as report or figures
       dicebench download NAME ...               fetch public datasets
       dicebench --version

Without --configfile, `run` reads config.yaml of the current folder, or else runs the quick study.
Without --cores, it uses all cores. Results are written to results/ in the current folder. A custom
loss, `use: my_module:MyLoss`, is read from my_module.py in the current folder.

dicebench run                                    the quick study
dicebench run --cores 4 --configfile my.yaml     a study of your own
dicebench run --dry-run                          the list of its jobs
"""
CORES = re.compile(r"-[cj]\d*|--(cores|jobs|profile|executor)(=.*)?")
"""Options that say how many cores a call may use."""


def main() -> None:
    """Run a command of the command line."""
    match sys.argv[1:]:
        case [] | ["-h" | "--help" | "help", *_]:
            print(USAGE, end="")
        case ["--version", *_]:
            print(f"dicebench {__version__}")
        case ["run", *words]:
            run(words)
        case ["card", *words]:
            run(["card", *words])
        case words:
            step(words)


def run(words: Sequence[str]) -> None:
    """Run Snakemake on the suite's Snakefile in this process, so its name stays `dicebench`."""
    _enter()
    from snakemake.cli import main as snakemake

    cores = [] if any(map(CORES.fullmatch, words)) else ["--cores", "all"]
    snakemake([*cores, "--snakefile", str(HOME / "Snakefile"), *words])


def step(words: Sequence[str]) -> NoReturn:
    """Replace this process with ``python -m PACKAGE STEP FOLDER``."""
    _enter()
    from analysis.steps import STEPS as ANALYSIS
    from experiments.steps import STEPS as EXPERIMENTS
    from losses import nearest

    packages = dict.fromkeys(("download", *EXPERIMENTS), "experiments")
    packages |= dict.fromkeys(ANALYSIS, "analysis")
    name = words[0]
    if name not in packages:
        allowed = ("run", "card", *packages)
        raise SystemExit(
            f"dicebench: {name!r} is not a command{nearest(name, allowed)}; allowed: "
            f"{', '.join(allowed)}"
        )
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", packages[name], *words])


def _enter() -> None:
    """Set the import path of this process and of those that it starts: the suite comes first.

    Outside of them `losses`, `experiments` and `analysis` may be modules of the user.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise SystemExit(
            "dicebench: the suite is not installed; install it with: pip install 'dicebench[suite]'"
        )
    sys.path.insert(0, str(HOME))
    from experiments.driver import find_packages

    find_packages(str(HOME))


if __name__ == "__main__":
    main()
