"""Steps `fetch` and `terms`: download datasets to data/NAME, once, and print their licences.

A mirror has ``NAME.zip``: a prepared folder packed with its name on top (``zip -r NAME.zip
NAME``). Without a mirror the archives of a dataset come from their own addresses. They are kept in
``data/downloads/NAME/`` (files that are already there are used) and converted.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pooch
import requests

from experiments import datasets
from experiments.data import prepared, writing
from experiments.data.archives import unpack
from experiments.data.writing import MANIFEST
from experiments.datasets import About, File
from experiments.errors import ConfigError
from experiments.files import is_disk_error, named, write_whole
from experiments.layout import DESCRIPTION, ENDINGS, FETCHED
from experiments.locks import lock
from experiments.plan.dataset import stats
from losses import nearest

if TYPE_CHECKING:
    from experiments.plan.study import Study

TRIES, WAIT = 5, 2.0
"""Number of attempts at a connection; seconds before the second one, doubled for each next one."""

log = logging.getLogger("dicebench")


def run(study: Study, name: str | None = None) -> None:
    """Fetch one dataset that the study needs, or all of them if `name` is None."""
    if name is not None and name not in study.fetched:
        raise ConfigError(
            f"fetch: unknown dataset {name!r}{nearest(name, study.fetched)}; "
            f"allowed: {', '.join(study.fetched) or 'none, the study fetches nothing'}"
        )
    for source in [name] if name else study.fetched:
        log.info("fetched %s", fetch(source, study.mirror_address))


def run_terms(study: Study) -> None:
    """Print the licences of the datasets that the study needs; none with a mirror's address.

    ValueError if a dataset requires registration and its files are not there.
    """
    if not study.mirror_address:
        for source in study.fetched:
            log.info(terms(source))


def download(names: Sequence[str], mirror: str | None = None, root: str | Path = "data") -> None:
    """Fetch datasets without a study, from their own addresses or a mirror's.

    Nothing is fetched if a name is unknown or a dataset requires registration: ValueError.
    """
    if not mirror:
        for name in names:
            terms(name, root)
    for name in names:
        log.info("fetched %s", fetch(name, mirror, root))


def terms(name: str, root: str | Path = "data") -> str:
    """Return a dataset's title, licence and citation.

    ValueError if it requires registration and its files are not there.
    """
    about = datasets.load(name).ABOUT
    folder = Path(root, "downloads", name)
    fetched = Path(root, name, DESCRIPTION).exists()
    if about.ask and not fetched and (missing := _missing(about, folder)):
        raise ValueError(
            f"dataset {name!r} ({about.licence}) cannot be downloaded automatically: {about.ask}. "
            f"Then put these files in place:{_by_hand(missing, folder)}"
        )
    notes = f"\n  note: {about.notes}" if about.notes else ""
    return (
        f"{name}: {about.title}\n  home: {about.homepage}\n  licence: {about.licence}\n"
        f"  cite: {about.citation}{notes}"
    )


def fetch(name: str, mirror: str | None = None, root: str | Path = "data") -> Path:
    """Fetch a dataset to ROOT/NAME unless it is there; return its folder.

    mirror: address that has NAME.zip. ValueError if a download, an archive or an image is not
    valid; then ROOT/NAME is not made. If another process fetches it, wait for that one.
    """
    root = Path(root)
    target = root / name
    if not (target / DESCRIPTION).exists():
        with lock(root / f".{name}.lock", wait=True):
            if not (target / DESCRIPTION).exists():
                _fetch(name, mirror, root)
    return target


def _fetch(name: str, mirror: str | None, root: Path) -> None:
    target, part = root / name, root / f".{name}.part"
    if target.is_dir() and any(target.iterdir()):
        raise ValueError(
            f"{target}: has files but no {DESCRIPTION}, and is not overwritten; move it, or use it "
            "with 'folder: PATH' in the configuration"
        )
    shutil.rmtree(part, ignore_errors=True)
    try:
        if mirror:
            _from_mirror(mirror, name, part, root)
        else:
            _from_source(name, part, root)
        write_whole(part / name / FETCHED, json.dumps(stats(part / name)))
        os.replace(part / name, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _from_mirror(mirror: str, name: str, part: Path, root: Path) -> None:
    address = f"{mirror.rstrip('/')}/{name}.zip"
    try:
        archive = part / f"{name}.zip"
        _download(address, archive)
        unpack(archive, part, top=name)
        _check_manifest(part / name)
        description = part / name / DESCRIPTION
        prepared.read(part / name, published=name in datasets.DATASETS)
        if not description.exists():
            description.write_text("{}\n")
    except (ValueError, OSError) as error:
        if is_disk_error(error):
            raise
        raise ValueError(
            f"mirror: cannot fetch dataset {name!r} from {address}: {error}. "
            f"Without a network put the prepared folder at {root / name}"
        ) from error


def _check_manifest(folder: Path) -> None:
    """Compare a folder with its manifest, if it has one; ValueError names the first file."""
    path = folder / MANIFEST
    if not path.exists():
        return
    listed = {}
    for line in path.read_text().splitlines():
        if not (entry := re.fullmatch("([0-9a-fA-F]{64}) [ *](.+)", line)):
            raise ValueError(f"{MANIFEST}: {line!r} is not allowed; allowed: SHA256  FILE")
        listed[entry[2]] = entry[1].lower()
    present = {
        file.relative_to(folder).as_posix(): file
        for file in folder.glob("*/**/*")
        if file.suffix.lower() in ENDINGS
    }
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise ValueError(f"{name} is in {MANIFEST}, but not in the archive")
        if name not in listed:
            raise ValueError(f"{name} is in the archive, but not in {MANIFEST}")
        if (digest := pooch.file_hash(str(present[name]))) != listed[name]:
            raise ValueError(f"{name} has the SHA-256 {digest}; {MANIFEST}: {listed[name]}")


def _from_source(name: str, part: Path, root: Path) -> None:
    about, folder = datasets.load(name).ABOUT, root / "downloads" / name
    log.info(terms(name, root))
    for left in folder.glob("tmp" + "[a-z0-9_]" * 8):  # of a download that was killed
        left.unlink()
    files = []
    for file in about.files:
        path = folder / file.name
        try:
            _download(file.address, path, file.checksum)
        except (ValueError, OSError) as error:
            if is_disk_error(error):
                raise
            raise ValueError(
                f"dataset {name!r}: cannot download {file.address}: {error}. Without a network "
                f"put these files in place:{_by_hand(_missing(about, folder), folder)}"
            ) from error
        unpack(path, part / "unpacked" / file.name.removesuffix(".zip").removesuffix(".tar.gz"))
        files.append(asdict(file) | {"sha256": pooch.file_hash(str(path))})
    info = asdict(about) | {"name": name, "files": files}
    try:
        writing.convert(part / name, datasets.load(name).samples(part / "unpacked"), info)
        prepared.read(part / name, published=True)
    except ValueError as error:
        raise ValueError(f"dataset {name!r}: {error}") from error


def _download(address: str | None, path: Path, checksum: str | None = None) -> None:
    """Download a file unless it is there, and verify its checksum."""
    pooch.get_logger().setLevel("WARNING")
    with named(path):
        pooch.retrieve(address, checksum, path.name, path.parent, downloader=_resume)


def _resume(url: str, output_file: str | Path, manager: Any) -> None:
    """Download by HTTP; if the connection breaks off, continue from there."""
    for attempt in range(1, TRIES + 1):
        with open(output_file, "ab") as out:

            def restart(response: requests.Response, out: Any = out, **_: Any) -> None:
                if response.status_code == 200:  # not 206: the server sends the whole file
                    out.truncate(0)

            http = pooch.HTTPDownloader(
                progressbar=True,
                chunk_size=2**16,
                timeout=60,
                headers={"Range": f"bytes={out.tell()}-"} if out.tell() else {},
                hooks={"response": restart},
            )
            try:
                return http(url, out, manager)
            except requests.RequestException as error:
                final = error.response is not None and error.response.status_code < 500
                if final or attempt == TRIES:
                    raise
        time.sleep(WAIT * 2 ** (attempt - 1))


def _missing(about: About, folder: Path) -> list[File]:
    """Return the files of a dataset that are not in a folder, or have another checksum."""

    def valid(file: File) -> bool:
        path = folder / file.name
        if not path.exists() or file.checksum is None:
            return path.exists()
        algorithm, digest = file.checksum.split(":")
        return pooch.file_hash(str(path), algorithm) == digest

    return [file for file in about.files if not valid(file)]


def _by_hand(files: Sequence[File], folder: Path) -> str:
    """Return lines with the path, checksum and address of each file."""
    return "".join(
        f"\n  {folder / file.name}"
        f"\n    checksum {file.checksum or '(none is published; the actual one is recorded)'}"
        f"\n    from {file.address or 'the homepage'}"
        for file in files
    )
