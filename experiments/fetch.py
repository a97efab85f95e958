"""Fetch a prepared dataset from a mirror's address: `python -m experiments.fetch URL NAME`.

The mirror holds ``NAME.zip``, a prepared folder packed with its name on top (``zip -r NAME.zip
NAME``). It is unpacked beside and moved into ``data/NAME``. The datasets' own downloads will
stand here too.
"""

import argparse
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import pooch

from experiments import prepared

MAX_BYTES, MAX_FILES = 20 * 2**30, 500_000
"""What an archive may unpack to."""


def unpack(archive, name, folder):
    """Unpack a prepared folder; ValueError for members that do not belong, with nothing written."""
    with zipfile.ZipFile(archive) as pack:
        members = [m for m in pack.infolist() if not m.is_dir()]
        if len(members) > MAX_FILES or sum(m.file_size for m in members) > MAX_BYTES:
            raise ValueError(f"{archive}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
        for member in members:
            path = PurePosixPath(member.filename)
            link = (member.external_attr >> 16) & 0o170000 == 0o120000
            if path.is_absolute() or ".." in path.parts or path.parts[0] != name or link:
                raise ValueError(
                    f"{archive}: member {member.filename!r} is not allowed; "
                    f"allowed: files below {name}/"
                )
        pack.extractall(folder, members)


def fetch(mirror, name, root="data"):
    """Fetch ``data/NAME`` unless it is there; nothing partial is left at its place."""
    target = Path(root, name)
    if (target / "dataset.json").exists():
        return target
    address = f"{mirror.rstrip('/')}/{name}.zip"
    part = Path(root, f".{name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        archive = pooch.retrieve(
            address,
            known_hash=None,
            path=part,
            fname=f"{name}.zip",
            downloader=pooch.HTTPDownloader(timeout=60, progressbar=False),
        )
        unpack(archive, name, part)
        prepared.read(part / name)
        (part / name / "dataset.json").touch()
        os.replace(part / name, target)
    except Exception as error:
        raise ValueError(
            f"mirror: cannot fetch dataset {name!r} from {address}: {error}. "
            f"Without a network put the prepared folder at {target}"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mirror")
    parser.add_argument("name")
    args = parser.parse_args()
    try:
        print(f"fetched {fetch(args.mirror, args.name)}")
    except ValueError as error:
        raise SystemExit(f"dicebench: {error}") from None


if __name__ == "__main__":
    main()
