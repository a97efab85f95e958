"""Fetch datasets to data/NAME, once: `python -m experiments.fetch NAME ... [--mirror URL]`.

From a mirror's address comes ``NAME.zip``, a prepared folder packed with its name on top (``zip
-r NAME.zip NAME``); from a dataset's own address come its archives, kept in
``data/downloads/NAME/`` (a file put there by hand is used), which are converted.
"""

import argparse
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import pooch
import requests

from experiments import datasets, prepared

MAX_BYTES, MAX_FILES = 20 * 2**30, 500_000
"""What an archive may unpack to."""

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError)
"""What the libraries raise for an archive that they cannot unpack."""

TRIES, WAIT = 5, 2.0
"""How often a connection is tried, and the seconds between, doubled each time."""


def _members(archive):
    """(name, is a folder, is a plain file, bytes, open) of each member of a zip or tar file."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as pack:
            for m in pack.infolist():
                plain = stat.S_IFMT(m.external_attr >> 16) in (0, stat.S_IFREG)
                yield m.filename, m.is_dir(), plain, m.file_size, lambda m=m: pack.open(m)
    else:
        with tarfile.open(archive) as pack:
            for m in pack:
                yield m.name, m.isdir(), m.isreg(), m.size, lambda m=m: pack.extractfile(m)


def unpack(archive, folder, top=None):
    """Unpack a zip or tar file: plain files only, below `folder` (and `top` in it), within caps.

    ValueError names the member that does not belong; what was written before it is the caller's
    to remove.
    """
    files = written = 0
    try:
        for name, is_folder, plain, size, opened in _members(archive):
            path = PurePosixPath(name)
            outside = path.is_absolute() or ".." in path.parts or "\\" in name
            if outside or (top and path.parts[:1] != (top,)) or not (is_folder or plain):
                raise ValueError(
                    f"{archive}: member {name!r} is not allowed; "
                    f"allowed: files and folders below {f'{top}/' if top else 'its own folder'}"
                )
            if is_folder:
                continue
            files, written = files + 1, written + size
            if files > MAX_FILES or written > MAX_BYTES:
                raise ValueError(f"{archive}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
    except BROKEN as error:
        raise ValueError(f"{archive}: cannot be unpacked: {error}") from error


def _resuming(url, output_file, manager):
    """pooch's HTTP download, going on where a connection broke off."""
    for attempt in range(1, TRIES + 1):
        with open(output_file, "ab") as out:

            def from_the_start(response, out=out, **_):
                if response.status_code == 200:  # not 206: the server sends all of it again
                    out.truncate(0)

            download = pooch.HTTPDownloader(
                progressbar=True,
                chunk_size=2**16,
                timeout=60,
                headers={"Range": f"bytes={out.tell()}-"} if out.tell() else {},
                hooks={"response": from_the_start},
            )
            try:
                return download(url, out, manager)
            except requests.RequestException as error:
                lasting = error.response is not None and error.response.status_code < 500
                if lasting or attempt == TRIES:
                    raise
        time.sleep(WAIT * 2 ** (attempt - 1))


def _download(address, path, checksum=None):
    """Get a file to `path` from its address unless it is there; verify it."""
    pooch.retrieve(address, checksum, path.name, path.parent, downloader=_resuming)


def _from_mirror(mirror, name, part, root):
    address = f"{mirror.rstrip('/')}/{name}.zip"
    try:
        archive = part / f"{name}.zip"
        _download(address, archive)
        unpack(archive, part, top=name)
        described = part / name / "dataset.json"
        if prepared.read(part / name) and not described.exists():
            described.write_text("{}\n")
    except (ValueError, OSError) as error:
        raise ValueError(
            f"mirror: cannot fetch dataset {name!r} from {address}: {error}. "
            f"Without a network put the prepared folder at {root / name}"
        ) from error


def _missing(about, folder):
    """The files of a dataset that are not there as they should be."""

    def there(file):
        path = folder / file.name
        if not path.exists() or file.checksum is None:
            return path.exists()
        algorithm, digest = file.checksum.split(":")
        return pooch.file_hash(str(path), algorithm) == digest

    return [file for file in about.files if not there(file)]


def _by_hand(files, folder):
    return "".join(
        f"\n  {folder / file.name}"
        f"\n    checksum {file.checksum or '(none is published; what is seen is recorded)'}"
        f"\n    from {file.address or 'the homepage'}"
        for file in files
    )


def terms(name, root="data"):
    """What a dataset is and asks for; ValueError where it must be asked for and is not there."""
    about = datasets.load(name).ABOUT
    folder = Path(root, "downloads", name)
    fetched = Path(root, name, "dataset.json").exists()
    if about.ask and not fetched and (missing := _missing(about, folder)):
        raise ValueError(
            f"dataset {name!r} ({about.licence}) is not downloaded for you: {about.ask}. "
            f"Then put in place:{_by_hand(missing, folder)}"
        )
    notes = f"\n  note: {about.notes}" if about.notes else ""
    return (
        f"{name}: {about.title}\n  home: {about.homepage}\n  licence: {about.licence}\n"
        f"  cite: {about.citation}{notes}"
    )


def _from_source(name, part, root):
    about, folder = datasets.load(name).ABOUT, root / "downloads" / name
    print(terms(name, root), flush=True)
    files = []
    for file in about.files:
        path = folder / file.name
        try:
            _download(file.address, path, file.checksum)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"dataset {name!r}: cannot download {file.address}: {error}. Without a network "
                f"put these in place:{_by_hand(_missing(about, folder), folder)}"
            ) from error
        unpack(path, part / "unpacked" / file.name.removesuffix(".zip").removesuffix(".tar.gz"))
        files.append(asdict(file) | {"sha256": pooch.file_hash(str(path))})
    info = asdict(about) | {"name": name, "files": files}
    try:
        prepared.convert(part / name, datasets.load(name).samples(part / "unpacked"), info)
        prepared.read(part / name)
    except ValueError as error:
        raise ValueError(f"dataset {name!r}: {error}") from error


def fetch(name, mirror=None, root="data"):
    """Fetch ``data/NAME`` unless it is there; nothing partial is left at its place."""
    root = Path(root)
    target, part = root / name, root / f".{name}.part"
    if (target / "dataset.json").exists():
        return target
    if target.is_dir() and any(target.iterdir()):
        raise ValueError(
            f"{target}: has files and no dataset.json, and is not overwritten; move it away, or "
            "name it with 'folder:' in the configuration"
        )
    shutil.rmtree(part, ignore_errors=True)
    try:
        if mirror:
            _from_mirror(mirror, name, part, root)
        else:
            _from_source(name, part, root)
        (part / name / "dataset.json").touch()
        os.replace(part / name, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="+", help=f"of a mirror, or: {', '.join(datasets.DATASETS)}")
    parser.add_argument("--mirror", help="address that holds NAME.zip")
    parser.add_argument("--terms", action="store_true", help="say licences, fetch nothing")
    args = parser.parse_args()
    pooch.get_logger().setLevel("WARNING")
    try:
        said = [] if args.mirror else [terms(name) for name in args.name]
        if args.terms:
            print(*said, sep="\n")
        else:
            for name in args.name:
                print(f"fetched {fetch(name, args.mirror)}")
    except ValueError as error:
        raise SystemExit(f"dicebench: {error}") from None


if __name__ == "__main__":
    main()
