"""Seeds, fingerprints and short names, from their arguments only. Standard library only."""

import hashlib
import json
from typing import Any


def fingerprint(value: Any) -> str:
    """Return the first 16 digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shortened(text: str, longest: int) -> str:
    """Return a text of at most so many bytes; a longer one ends in its fingerprint.

    >>> shortened("abc", 20), len(shortened("abc" * 99, 20))
    ('abc', 20)
    """
    if len(text.encode()) <= longest:
        return text
    start = text.encode()[: longest - 9].decode(errors="ignore")
    return f"{start}-{fingerprint(text)[:8]}"


def stable_seed(*parts: Any) -> int:
    """Return a 63-bit seed that is the same on every machine and in every process.

    >>> stable_seed("order", "a", "none", 0)
    2804814174314612732
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
