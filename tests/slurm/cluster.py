"""A real Slurm cluster of two nodes on this machine, for the tests.

It needs root, and the Debian packages slurmctld, slurmd, slurm-client and munge. Nothing of it is
left when it stops. The next test run removes all that a killed one left.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.settings import GRES_CONF, NODES, SLURM_CONF

SETTINGS = Path("/etc/slurm")
"""Slurm's folder of settings. The commands of a job look nowhere else."""
PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo"),
    "setpriv",
)
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
TAG = "DICEBENCH_TEST_CLUSTER"
"""Environment variable of each process of the cluster, its jobs included: the cluster's folder."""
PREFIX = "dicebench-slurm-"
"""Beginning of the name of a cluster's folder."""
PATIENCE = 60
"""Seconds until the cluster must be ready."""


def missing() -> str | None:
    """Return the reason why no cluster can be started here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "a test cluster needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)"
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return "not installed: snakemake-executor-plugin-slurm (requirements-slurm.txt)"
    if not SETTINGS.is_dir():
        return f"Slurm reads its settings from another folder than {SETTINGS}"
    conf = SETTINGS / "slurm.conf"
    if conf.exists() and not _owner(conf) and _run("scontrol", "ping").returncode == 0:
        return f"this machine belongs to another cluster: {conf}"
    return None


@dataclass(frozen=True)
class Job:
    """A Slurm job. step: such as ``train_controlled``; node: empty before it starts."""

    id: str
    state: str
    node: str
    step: str
    seconds: int


@dataclass
class Cluster:
    """A running cluster. environment: variables for the processes that use it."""

    folder: Path
    environment: dict[str, str] = field(init=False)
    processes: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        self.environment = {**inherited, "PATH": PATH, TAG: str(self.folder)}

    def start(self, *words: str, **options) -> subprocess.Popen:
        """Start a program in the background. It is killed when this process ends in any way."""
        process = subprocess.Popen(
            ("setpriv", "--pdeathsig", "KILL", *words),
            start_new_session=True,
            **{"env": self.environment, **options},
        )
        self.processes.append(process)
        return process

    def jobs(self, step: str = "") -> list[Job]:
        """Return all jobs so far of steps with this beginning, oldest first."""
        said = self.control("squeue", "--states=all", "--noheader", "--format=%i|%T|%N|%k|%S|%e")
        jobs = []
        for line in said.splitlines():
            number, state, node, comment, began, ended = line.split("|")
            seconds = int(_time(ended) - _time(began)) if "N/A" not in began + ended else 0
            jobs.append(Job(number, state, node, comment.removeprefix("rule_"), seconds))
        ours = [job for job in jobs if job.step.startswith(step)]
        return sorted(ours, key=lambda job: int(job.id))

    def running(self, step: str = "") -> list[Job]:
        """Return the running jobs of steps with this beginning, oldest first."""
        return [job for job in self.jobs(step) if job.state == "RUNNING"]

    def node(self, node: str, state: str) -> None:
        """Set the state of a node: ``drain`` or ``resume``."""
        self.control("scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=test")

    def control(self, *words: str) -> str:
        """Run a command of Slurm; return its output."""
        done = _run(*words, env=self.environment)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout


def wait(condition: Callable[[], object], reason: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition is true. reason: of the error if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{reason} within {seconds:.0f} s")
        time.sleep(0.2)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster; stop it and remove everything of it at the end."""
    with ExitStack() as stack:
        stack.enter_context(_alone())
        _remove_leftovers()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        stack.callback(_remove, folder)
        one = Cluster(folder)
        stack.callback(_end, one)
        _write_settings(folder)
        _start_daemons(one)
        yield one


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other test run has a cluster on this machine."""
    settings = os.open(SETTINGS, os.O_RDONLY)
    try:
        fcntl.flock(settings, fcntl.LOCK_EX)
        yield
    finally:
        os.close(settings)


def _write_settings(folder: Path) -> None:
    host = socket.gethostname().partition(".")[0]
    slurm_conf = SLURM_CONF.format(folder=folder, host=host, ports=_free_ports(3))
    for name, text in (("slurm.conf", slurm_conf), ("gres.conf", GRES_CONF)):
        (folder / name).write_text(text)
        place = SETTINGS / name
        if os.path.lexists(place):
            place.rename(_backup(place))
        place.symlink_to(folder / name)


def _start_daemons(one: Cluster) -> None:
    """Start munge and Slurm; return when both nodes are idle. RuntimeError: with their logs."""
    folder = one.folder
    for name in ("state", *NODES):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid"}
    files |= {"log-file": "munge.log", "seed-file": "munge.seed"}
    options = (f"--{option}={folder / name}" for option, name in files.items())

    def ready() -> bool:
        if any(process.poll() is not None for process in one.processes):
            raise RuntimeError("a daemon of Slurm ended")
        said = _run("sinfo", "-h", "-N", "-o", "%N %t", env=one.environment).stdout
        return {f"{node} idle" for node in NODES} <= set(said.splitlines())

    try:
        _daemon(one, "munged", "--foreground", "--force", *options)
        wait((folder / "munge.socket").exists, "munge did not start")
        _daemon(one, "slurmctld", "-D")
        for node in NODES:
            _daemon(one, "slurmd", "-D", "-N", node)
        wait(ready, "Slurm did not start")
    except (RuntimeError, TimeoutError) as error:
        raise RuntimeError(f"{error}\n{_logs(folder)}") from None


def _daemon(one: Cluster, *words: str) -> None:
    with (one.folder / f"{words[0]}.out").open("ab") as out:
        one.start(*words, stdout=out, stderr=out)


def _logs(folder: Path) -> str:
    paths = [path for end in ("log", "out") for path in sorted(folder.glob(f"*.{end}"))]
    return "\n".join(f"{path.name}: {path.read_text()[-1000:]}" for path in paths)


def _end(one: Cluster) -> None:
    """Kill every process of a cluster: daemons, drivers, jobs and their children."""
    while numbers := _members(one.folder):
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        for process in one.processes:
            process.poll()
        time.sleep(0.1)
    for process in one.processes:
        process.wait()


def _members(folder: Path) -> list[int]:
    """Return the processes of a cluster, by their environment or by their log."""
    tag, numbers = f"{TAG}={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes().split(b"\0")
            if tag in environment or (_is_step(process) and _uses(process, folder)):
                numbers.append(int(process.name))
    return numbers


def _is_step(process: Path) -> bool:
    """Return whether a process guards the step of a job; it overwrites its environment."""
    return (process / "exe").readlink().name.startswith("slurmstepd")


def _uses(process: Path, folder: Path) -> bool:
    return any(folder in path.readlink().parents for path in (process / "fd").iterdir())


def _remove(folder: Path) -> None:
    """Remove a cluster's folder and settings, and put the former settings back."""
    for name in ("slurm.conf", "gres.conf"):
        place = SETTINGS / name
        if _owner(place) == folder:
            place.unlink()
            if os.path.lexists(_backup(place)):
                _backup(place).rename(place)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove the cluster of a test run that was killed."""
    for name in ("slurm.conf", "gres.conf"):
        if folder := _owner(SETTINGS / name):
            _end(Cluster(folder))
            _remove(folder)


def _owner(place: Path) -> Path | None:
    """Return the folder of the test cluster that a file of settings belongs to, if any."""
    folder = place.readlink().parent if place.is_symlink() else place
    return folder if folder.name.startswith(PREFIX) else None


def _backup(place: Path) -> Path:
    return place.with_name(f"{place.name}.before-tests")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _time(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


def _run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        words, env=env or {**os.environ, "PATH": PATH}, text=True, capture_output=True, check=False
    )
