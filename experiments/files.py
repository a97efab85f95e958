"""Files that are there whole or not at all. Standard library only."""

import os
from pathlib import Path


def write_whole(path, data):
    """Write text or bytes beside a file's place and move it there; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data if isinstance(data, bytes) else data.encode())
    os.replace(beside, path)
