"""Names of folders and files: of a prepared dataset, of a study, of a run. Standard library only.

A **prepared dataset** is a folder with ``images/STEM.png`` and ``masks/STEM.png`` (0 and 255) of
equal stems, further targets in ``masks_TARGET/``, class ids in ``labels/``, object ids in
``instances/``, and ``dataset.json`` with splits and groups.
"""

from pathlib import Path

from experiments.errors import ConfigError
from losses import nearest

SPLITS = ("train", "val", "test")

IMAGES, MASKS, DESCRIPTION = "images", "masks", "dataset.json"
FETCHED = ".fetched.json"
"""File of a fetched dataset: its files as they were right after the download."""
LABELS = "labels"
"""Folder of class ids; in a stressed dataset the number of each pixel's class among the targets."""
INSTANCES = "instances"
"""Folder of object ids."""
CLASS = "class_"
"""Start of the names of a stressed dataset's mask folders of classes that may overlap."""
IDS = (INSTANCES, LABELS)
"""Folders of ids (0: none). The other mask folders hold 0 and 255."""
CLEAN, IGNORED = "masks_clean", "ignored"
"""Folders of a stressed dataset: the true labels, and the pixels that are ignored."""
FOREGROUND = "foreground"
"""Name of the class of a dataset whose configuration names none."""

CONFIG, CHECKED = "config.json", "logs/checked"
DONE = "done"
"""Folder of the stamps of the steps that are done."""
DRIVER_LOCK, SWEEP_LOCK = ".lock", ".sweep"
"""Lock files of the process that runs a study, and of one that removes void stamps."""
RUNS, RECORDS, CONTROLS, STRESSES = "runs.csv", "records.json", "controls.csv", "stresses.csv"
PROBE = "probe.yaml"
MECHANISM, MAPS = "mechanism.csv", "mechanism_maps.npz"
ESTIMATES, RANKS, VERDICTS = "estimates.csv", "ranks.csv", "verdicts.csv"
CALIBRATION, SIZES_NEEDED = "calibration.csv", "sizes_needed.csv"
FIGURES, CONTACT, CAPTIONS = "figures", "contact", "captions.json"
REPORT, PAPER = "report.html", "paper"
ORIGIN, CALLS, SOURCES_FILE = "origin", "origin/calls.jsonl", "origin/datasets.json"
"""Files and folders of a study's folder."""

RECORD, COUNTS_FILE, EXAMPLES_FILE = "run.json", "counts.csv", "probabilities.png"
PREDICTIONS, WEIGHTS = "predictions.safetensors", "weights.safetensors"
CHECKPOINT, CHECKPOINT_INFO = "checkpoint", "checkpoint.json"
"""Files of a run's folder."""
RUN_LOCK = ".lock"
"""File in a run's folder that the process which trains the run holds a lock on."""


def masks_of(target: str | None) -> str:
    """Return the mask folder of a target; without a target it is ``masks``.

    >>> masks_of("nucleus"), masks_of(None)
    ('masks_nucleus', 'masks')
    """
    return f"{MASKS}_{target}" if target and target != MASKS else MASKS


def layer_of(class_name: str) -> str:
    """Return the mask folder of a class that may overlap others, in a stressed dataset.

    >>> layer_of("nucleus")
    'class_nucleus'
    """
    return f"{CLASS}{class_name}"


def check_folder(folder: Path, masks: str, setting: str) -> None:
    """Raise ConfigError if a folder is not a prepared dataset with a mask for each image.

    setting: the one that names the folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{setting}.folder: {str(folder)!r} is not allowed; allowed: an existing folder with "
            f"{IMAGES}/ and {MASKS}/"
        )
    for part in (IMAGES, masks):
        if not (folder / part).is_dir():
            present = sorted(p.name for p in folder.iterdir() if p.is_dir())
            raise ConfigError(
                f"{setting}: the folder {str(folder)!r} has no {part}/{nearest(part, present)}; "
                f"it has: {', '.join(present) or 'no folders'}"
            )
    images, labels = ({p.stem for p in (folder / part).glob("*.png")} for part in (IMAGES, masks))
    if not images:
        raise ConfigError(f"{setting}: {str(folder / IMAGES)!r} holds no PNG image")
    for present, other, part in ((images, labels, masks), (labels, images, IMAGES)):
        missing = sorted(present - other)
        if missing:
            names = ", ".join(f"{part}/{stem}.png" for stem in missing[:5])
            raise ConfigError(
                f"{setting}: {len(missing)} file(s) missing in {str(folder)!r}: {names}"
                f"{', ...' if len(missing) > 5 else ''}; every image needs a mask of equal name"
            )
