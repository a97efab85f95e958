"""Interrupt a study at random times and let the plain command finish it: docs/benchmarks/kills.md.

``python -m benchmarks.kills [--each 20]``. A small study is interrupted in four ways, at
random times after its training began. Then the same command runs again. The table compares its
records with those of a study that nobody interrupted.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from experiments.runs.records import RecordError, read_record

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "losses", "experiments", "analysis", "profiles")
STUDY = {
    "study": "killed",
    "datasets": {"controlled": {"train": 8, "val": 4, "test": 4}},
    "losses": {"cross_entropy": {}, "dice": {}},
    "experiments": {"noise": {"knob": "flips", "values": [0, 0.3]}},
    "seeds": 2,
    "image_size": 32,
    "checkpoint": 0.3,
    "training": {
        "steps": 60,
        "batch_size": 2,
        "model_options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    },
}
SERIES = {
    "SIGKILL to the driver": (signal.SIGKILL, False),
    "SIGKILL to all its processes": (signal.SIGKILL, True),
    "SIGINT to all its processes (Ctrl-C)": (signal.SIGINT, True),
    "SIGTERM to the driver": (signal.SIGTERM, False),
}
"""Name -> signal, and whether the whole process group gets it."""
COLUMNS = (
    *("interruption", "tries", "in training", "lost", "half written", "trained twice"),
    *("other bytes", "commands needed", "processes left", "seconds to the end, median and most"),
)


def start(folder: Path) -> subprocess.Popen:
    """Start the plain command in a process group of its own."""
    words = [Path(sys.executable).with_name("snakemake"), "collect", "--cores", "2"]
    words += ["--configfile", "study.yaml"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            words,
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_default_signals,
        )


def _default_signals() -> None:
    """Let signals end the command, also if this benchmark runs in the background."""
    for number, _ in SERIES.values():
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)


def results_of(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return run -> text of its record, and the runs with a damaged record."""
    runs = folder / "results" / "killed" / "runs"
    whole, damaged = {}, []
    for path in sorted(runs.rglob("run.json")):
        name = str(path.parent.relative_to(runs))
        try:
            read_record(path.parent)
            whole[name] = path.read_text()
        except RecordError:
            damaged.append(name)
    return whole, damaged


def content(text: str) -> dict:
    """Return the part of a record that an equal run has too."""
    record = json.loads(text)
    return {k: v for k, v in record.items() if k not in ("seconds", "written", "sha256")}


def left(folder: Path) -> list[psutil.Process]:
    """Return the processes that still work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def interrupt(folder: Path, number: int, whole_group: bool, wait: float) -> tuple[float, int]:
    """Interrupt a study some seconds after its training began.

    Return the seconds to its end and the number of processes that are left then.
    """
    driver = start(folder)
    while " to train" not in (folder / "log").read_text():
        time.sleep(0.05)
    time.sleep(wait)
    began = time.monotonic()
    (os.killpg if whole_group else os.kill)(driver.pid, number)
    driver.wait()
    while left(folder) and time.monotonic() - began < 10:
        time.sleep(0.05)
    return time.monotonic() - began, len(left(folder))


def attempt(
    start_from: Path, reference: dict[str, str], series: str, wait: float
) -> dict[str, float]:
    """Interrupt one copy of a prepared study, finish it, and return counts."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "study"
        shutil.copytree(start_from, folder, symlinks=True)
        seconds, processes = interrupt(folder, *SERIES[series], wait)
        before, half = results_of(folder)
        code = start(folder).wait()
        after, damaged = results_of(folder)
        if code:
            print((folder / "log").read_text()[-3000:], flush=True)
        return {
            "in training": len(before) < len(reference),
            "lost": len(before.keys() - after.keys()),
            "half written": len(half) + len(damaged),
            "trained twice": sum(after.get(run) != text for run, text in before.items()),
            "other bytes": sum(
                run not in after or content(after[run]) != content(text)
                for run, text in reference.items()
            ),
            "other": code != 0,
            "left": processes,
            "seconds": seconds,
        }


def measure(each: int) -> Iterator[dict[str, str]]:
    """Yield a row per way of interruption."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "study"
        folder.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        assert start(folder).wait() == 0, (folder / "log").read_text()
        reference, _ = results_of(folder)
        results = folder / "results" / "killed"
        shutil.rmtree(results / "runs")
        (results / "runs.csv").unlink()
        shutil.rmtree(results / "logs" / "train")
        for stamp in (results / "done").glob("[ct][or]*"):  # of collect and train
            stamp.unlink()
        (folder / "log").unlink()
        pilot = Path(place).resolve() / "pilot"
        shutil.copytree(folder, pilot, symlinks=True)
        driver = start(pilot)
        while " to train" not in (pilot / "log").read_text():
            time.sleep(0.05)
        began = time.monotonic()
        assert driver.wait() == 0
        most = time.monotonic() - began
        rng = random.Random(0)
        for series in SERIES:
            tries = [
                attempt(folder, reference, series, rng.uniform(0, 0.9) * most) for _ in range(each)
            ]
            yield row(series, tries)


def row(series: str, tries: list[dict[str, float]]) -> dict[str, str]:
    """Return the row of a way of interruption."""
    total = {key: sum(t[key] for t in tries) for key in tries[0]}
    seconds = [t["seconds"] for t in tries]
    return {
        "interruption": series,
        "tries": str(len(tries)),
        **{c: str(int(total[c])) for c in COLUMNS[2:7]},
        "commands needed": "the plain one" if not total["other"] else f"{total['other']} failed",
        "processes left": str(int(total["left"])),
        COLUMNS[-1]: f"{statistics.median(seconds):.1f}, {max(seconds):.1f}",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=20, help="tries of each way")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    args = parser.parse_args()
    lines = [f"# {__doc__}", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for one in measure(args.each):
        lines.append(f"| {' | '.join(one[c] for c in COLUMNS)} |")
        print(lines[-1], flush=True)
    (args.out / "kills.md").write_text("\n".join(lines) + "\n")
