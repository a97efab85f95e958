"""Files that are written whole or not at all. Standard library only."""

import os
from pathlib import Path


def write_whole(path: str | Path, data: str | bytes) -> None:
    """Write text or bytes to a temporary file and move it to `path`; folders are created."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data if isinstance(data, bytes) else data.encode())
    os.replace(temporary, path)
