"""Splits of a dataset into train, val and test images. Images of one group share a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from experiments.layout import SPLITS
from losses import nearest

SHARES = {"test": 0.2, "val": 0.2}
"""Share of the images in a split that a dataset does not define."""


def check_lists(
    split: Any, groups: Any, contents: Mapping[str, str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return a dataset's own lists by split, and the group of each image, from its description.

    contents: stem -> content hash. A key of `split` with a text is a note. ValueError for a list
    that is no split, an image that does not exist, and an image in two lists, also under another
    name.

    >>> check_lists({"train": ["a"], "test": ["b"]}, None, {"a": "07", "b": "07"})
    Traceback (most recent call last):
    ValueError: split: the same image is in two lists: train/a and test/b; allowed: ...
    """
    split, groups = ({} if value is None else value for value in (split, groups))
    for name, value in (("split", split), ("groups", groups)):
        if not isinstance(value, dict):
            raise ValueError(f"{name}: {str(value)[:40]!r} is not allowed; allowed: an object")
    lists = {}
    for name, stems in split.items():
        if stems is None or (isinstance(stems, str) and name not in SPLITS):
            continue
        if name not in SPLITS:
            raise ValueError(
                f"split: unknown list {name!r}{nearest(name, SPLITS)}; allowed: {', '.join(SPLITS)}"
            )
        if not isinstance(stems, list):
            raise ValueError(f"split.{name}: {stems!r} is not allowed; allowed: a list of images")
        lists[name] = stems
        _check_stems(f"split.{name}", stems, contents)
    _check_stems("groups", groups, contents)
    _refuse_copies(lists, contents)
    return lists, groups


def _check_stems(setting: str, stems: Iterable[Any], contents: Mapping[str, str]) -> None:
    unknown = [stem for stem in stems if not isinstance(stem, str) or stem not in contents]
    if unknown:
        raise ValueError(
            f"{setting}: {len(unknown)} unknown image(s): {_first(map(repr, unknown))}; allowed: "
            "names of files in images/, without '.png'"
        )


def _refuse_copies(lists: Mapping[str, Sequence[str]], contents: Mapping[str, str]) -> None:
    """Raise ValueError if lists share an image or copies of one, or if a list has one twice."""
    first: dict[str, str] = {}
    pairs = []
    for name, stems in lists.items():
        if len(set(stems)) < len(stems):
            twice = sorted({stem for stem in stems if stems.count(stem) > 1})
            raise ValueError(f"split.{name}: images that are listed twice: {_first(twice)}")
        for stem in stems:
            entry = first.setdefault(contents[stem], f"{name}/{stem}")
            if entry.partition("/")[0] != name:
                pairs.append(f"{entry} and {name}/{stem}")
    if pairs:
        raise ValueError(
            f"split: the same image is in two lists: {_first(pairs)}; allowed: each image, with "
            "all of its copies, in one list"
        )


def _first(words: Iterable[str]) -> str:
    """Return the first five words."""
    words = list(words)
    return ", ".join(words[:5]) + (", ..." if len(words) > 5 else "")


def without_copies(
    lists: Mapping[str, Sequence[str]], contents: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the lists without images whose copy is in another list: test wins over val over train.

    contents: stem -> content hash.

    >>> without_copies({"train": ["a", "b"], "test": ["c"]}, {"a": "07", "b": "1f", "c": "07"})
    {'train': ['b'], 'test': ['c']}
    """
    kept: dict[str, list[str]] = {}
    taken: set[str] = set()
    for name in reversed(SPLITS):
        kept[name] = [stem for stem in lists.get(name, ()) if contents[stem] not in taken]
        taken |= {contents[stem] for stem in kept[name]}
    return {name: kept[name] for name in lists}


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
    lists = lists if lists and any(lists.values()) else {"train": list(groups)}
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
