"""Splits of a dataset into train, val and test images. Images of one group share a split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from scipy.cluster.hierarchy import DisjointSet

from experiments.layout import SPLITS

SHARES = {"test": 0.2, "val": 0.2}
"""Share of the images in a split that a dataset does not define."""


def join_groups(contents: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """Return the group of each image: images of one name in `named`, or of equal content.

    contents: stem -> content hash. named: stem -> group name. A group's id is its lowest content
    hash, so that it does not depend on file names or their order.

    >>> join_groups({"a": "07", "b": "1f", "c": "07", "d": "2e"}, {"a": "eye", "b": "eye"})
    {'a': '07', 'b': '07', 'c': '07', 'd': '2e'}
    """
    sets = DisjointSet(contents.values())
    for stem, digest in contents.items():
        if stem in named:
            name = f"group {named[stem]}"  # "g" sorts after all hexadecimal digits
            sets.add(name)
            sets.merge(digest, name)
    ids = {member: min(subset) for subset in sets.subsets() for member in subset}
    return {stem: ids[digest] for stem, digest in contents.items()}


def split_groups(
    groups: Mapping[str, str], lists: Mapping[str, Sequence[str] | None] | None = None
) -> dict[str, list[str]]:
    """Return the stems of train, val and test: the dataset's own lists, completed by content hash.

    groups: stem -> group. lists: the dataset's splits. A group is never split; if the lists split
    one, test wins over val over train. Images of a split without a list are taken from train, in
    whole groups. ValueError if a split stays empty.

    >>> split_groups({"a": "0", "b": "0", "c": "1", "d": "2"}, {"train": "bcd", "test": ["a"]})
    {'train': ['d'], 'val': ['c'], 'test': ['a']}
    """
    split, taken = {}, set()
    lists = lists or {"train": list(groups)}
    for name in reversed(SPLITS):
        stems = lists.get(name) or []
        split[name] = [stem for stem in stems if stem in groups and groups[stem] not in taken]
        taken |= {groups[stem] for stem in split[name]}
    ordered = sorted({groups[stem] for stem in split["train"]}, key=_rank)
    for name, share in SHARES.items():
        if not split[name]:
            split[name] = _take(split["train"], groups, ordered, share * len(groups))
            split["train"] = [stem for stem in split["train"] if stem not in split[name]]
    for name in SPLITS:
        if not split[name]:
            raise ValueError(
                f"no image is left for the {name} split of {len(groups)}; images of one group, or "
                "of the same content, stay in one split"
            )
    return {name: split[name] for name in SPLITS}


def _take(
    stems: list[str], groups: Mapping[str, str], ordered: list[str], wanted: float
) -> list[str]:
    """Remove groups from `ordered` until their `stems` reach `wanted`; return these stems.

    At least one group is taken, and one is left for training.
    """
    taken: list[str] = []
    while len(ordered) > 1 and len(taken) < max(1, wanted):
        group = ordered.pop(0)
        taken += [stem for stem in stems if groups[stem] == group]
    return taken


def _rank(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
