"""The project's git repository: its commit and the uncommitted difference. Standard library only.

Without git, without a repository or in the repository of another user, the commit is None and
there is a reason.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).parents[2]
"""Folder of the project's packages: the repository, or the installed package `dicebench`."""
SECONDS = 10.0
"""Longest time that git may take."""
SOURCES = (".py", ".pyi", ".pyx", ".smk", ".yaml", ".yml", ".toml", ".j2", ".css", ".js")
"""Suffixes of the untracked files that are part of the difference."""
FILES, FILE_BYTES = 500, 10**6
"""Largest number of untracked files in the difference, and the largest size of each."""
REASONS = {
    "not a git repository": "the project is not in a git repository",
    "dubious ownership": "the git repository belongs to another user",
    "single revision": "the git repository has no commit",
}
"""Words in an error message of git, and the reason that is recorded. It names no path."""


class GitError(Exception):
    """The reason why git gives no answer."""


@dataclass(frozen=True)
class State:
    """The commit of the project and its difference from the files.

    difference: a patch for ``git apply``; empty if all is committed. left_out: number of
    untracked source files that are too large or too many. reason: why commit or difference is
    None.
    """

    commit: str | None
    difference: bytes | None
    left_out: int = 0
    reason: str | None = None


def git(*words: str, folder: str | Path = PROJECT) -> str | None:
    """Return the output of a git command about a folder, or None if git gives no answer.

    >>> git("no-such-command") is None
    True
    """
    try:
        return call(*words, folder=folder).decode(errors="replace").strip()
    except GitError:
        return None


def call(*words: str, folder: str | Path = PROJECT, index: Path | None = None) -> bytes:
    """Return the output of a git command about a folder; else GitError with the reason.

    index: a copy of the repository's index that is read and written in its place.
    """
    if folder == PROJECT and (package := release()):  # git would look at a repository around it
        raise GitError(f"the code is the installed package {package}")
    own = {"GIT_INDEX_FILE": str(index)} if index else {}
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"} | own
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env=environment | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"git took longer than {SECONDS:g} s") from None
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace")
        known = [reason for words_, reason in REASONS.items() if words_ in message]
        raise GitError((known or [f"git {words[0]} ended with status {done.returncode}"])[0])
    return done.stdout


def release() -> str | None:
    """Return name and version of the package if the code is installed, as ``dicebench 1.2.3``."""
    is_package = (PROJECT / "__init__.py").is_file()  # the repository is no package
    return f"dicebench {metadata.version('dicebench')}" if is_package else None


def state(folder: str | Path = PROJECT) -> State:
    """Return the commit and the uncommitted difference of a project's folder."""
    commit = None
    try:
        commit = call("rev-parse", "--verify", "HEAD", folder=folder).decode().strip()
        difference, left_out = _difference(Path(folder))
    except GitError as error:
        return State(commit, None, reason=str(error))
    return State(commit, difference, left_out)


def _difference(folder: Path) -> tuple[bytes, int]:
    """Return the patch from the commit to the files, and the number of files left out.

    Untracked source files are new files of the patch. A copy of the index names them, so the
    repository does not change.
    """
    listed = call("ls-files", "--others", "--exclude-standard", "-z", folder=folder)
    untracked = [name for name in os.fsdecode(listed).split("\0") if name.endswith(SOURCES)]
    small = [name for name in untracked if _is_small(folder / name)][:FILES]
    with tempfile.TemporaryDirectory() as temporary:
        index = Path(temporary, "index")
        own = call("rev-parse", "--git-path", "index", folder=folder)
        shutil.copy2(folder / os.fsdecode(own.rstrip(b"\n")), index)
        if small:
            call("add", "--intent-to-add", "--", *small, folder=folder, index=index)
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--full-index")
        prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
        patch = call("diff", "HEAD", *plain, *prefixes, "--", ".", folder=folder, index=index)
    return patch, len(untracked) - len(small)


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= FILE_BYTES
    except OSError:  # removed just now, or a link to nowhere
        return False
