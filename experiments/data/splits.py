"""Splits of a dataset into train, val and test images. Images of one group share a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from experiments.layout import SPLITS, few
from losses import nearest

SHARES = {"test": 0.2, "val": 0.2}
"""Share of the images in a split that a dataset does not define."""


def check_lists(
    split: Any, groups: Any, contents: Mapping[str, str], names: Mapping[str, str] | None = None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return a dataset's own lists by split, and the group of each image, from its description.

    contents: stem -> content hash. names: file name -> stem; both name an image. groups: image ->
    group, or group -> list of images. A key of `split` with a text is a note. ValueError for a
    list that is no split, an image that does not exist, an image of two groups, and an image in
    two lists, also under another name.

    >>> check_lists({"train": ["a"], "test": ["b"]}, None, {"a": "07", "b": "07"})
    Traceback (most recent call last):
    ValueError: split: the same image is in two lists: train/a and test/b; allowed: ...
    """
    split, groups = ({} if value is None else value for value in (split, groups))
    for name, value in (("split", split), ("groups", groups)):
        if not isinstance(value, dict):
            raise ValueError(f"{name}: {str(value)[:40]!r} is not allowed; allowed: an object")
    known = {**(names or {}), **{stem: stem for stem in contents}}
    lists = {}
    for name, images in split.items():
        if images is None or (isinstance(images, str) and name not in SPLITS):
            continue
        if name not in SPLITS:
            raise ValueError(
                f"split: unknown list {name!r}{nearest(name, SPLITS)}; allowed: {', '.join(SPLITS)}"
            )
        if not isinstance(images, list):
            raise ValueError(f"split.{name}: {images!r} is not allowed; allowed: a list of images")
        lists[name] = _stems(f"split.{name}", images, known)
    _refuse_copies(lists, contents)
    if any(lists.values()) and not lists.get("train"):
        raise ValueError("split.train: a list of images is missing; val and test may be left out")
    return lists, _groups(groups, known)


def _stems(setting: str, images: Iterable[Any], known: Mapping[str, str]) -> list[str]:
    """Return the stems of images that are given as stems or file names."""
    images = list(images)
    unknown = [image for image in images if not isinstance(image, str) or image not in known]
    if unknown:
        raise ValueError(
            f"{setting}: {len(unknown)} unknown image(s): {few(map(repr, unknown))}; allowed: "
            "names of files in images/, with or without their endings"
        )
    return [known[image] for image in images]


def _groups(groups: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Return the group of each image that has one."""
    if groups and all(isinstance(images, list) for images in groups.values()):
        pairs = [(image, group) for group, images in groups.items() for image in images]
    else:
        pairs = list(groups.items())
    stems = _stems("groups", [image for image, _ in pairs], known)
    named: dict[str, str] = {}
    for stem, (_, group) in zip(stems, pairs, strict=True):
        if isinstance(group, bool) or not isinstance(group, str | int | float):
            raise ValueError(
                f"groups: {stem!r}: {group!r} is not allowed; allowed: the name of a group, or "
                "for each group a list of its images"
            )
        if named.setdefault(stem, str(group)) != str(group):
            raise ValueError(f"groups: {stem!r} is in two groups: {named[stem]} and {group}")
    return named


def _refuse_copies(lists: Mapping[str, Sequence[str]], contents: Mapping[str, str]) -> None:
    """Raise ValueError if lists share an image or copies of one, or if a list has one twice."""
    for name, stems in lists.items():
        if len(set(stems)) < len(stems):
            twice = sorted({stem for stem in stems if stems.count(stem) > 1})
            raise ValueError(f"split.{name}: images that are listed twice: {few(twice)}")
    if pairs := _parted(lists, contents):
        raise ValueError(
            f"split: the same image is in two lists: {few(pairs)}; allowed: each image, with "
            "all of its copies, in one list"
        )


def refuse_parted(lists: Mapping[str, Sequence[str]], groups: Mapping[str, str]) -> None:
    """Raise ValueError if two lists have images of one group; groups: stem -> group."""
    if pairs := _parted(lists, groups):
        raise ValueError(
            f"split: images of one group are in two lists: {few(pairs)}; allowed: each group in "
            "one list"
        )


def _parted(lists: Mapping[str, Sequence[str]], groups: Mapping[str, str]) -> list[str]:
    """Return ``LIST/STEM and LIST/STEM`` for images of one group in two lists."""
    first: dict[str, str] = {}
    pairs = []
    for name, stems in lists.items():
        for stem in stems:
            entry = first.setdefault(groups[stem], f"{name}/{stem}")
            if entry.partition("/")[0] != name:
                pairs.append(f"{entry} and {name}/{stem}")
    return pairs


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


def source_names(groups: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """Return the source of each image: the name of its group, else its stem. Copies share one.

    groups: stem -> group, as `join_groups` returns it. named: stem -> group name.

    >>> source_names({"a": "07", "b": "07", "c": "1f", "d": "1f"}, {"a": "eye", "b": "eye"})
    {'a': 'eye', 'b': 'eye', 'c': 'c', 'd': 'c'}
    """
    names: dict[str, str] = {}
    return {stem: names.setdefault(group, named.get(stem, stem)) for stem, group in groups.items()}


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
