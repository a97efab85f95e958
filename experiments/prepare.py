"""Prepare a dataset under every stress of a study: `python -m experiments.prepare CONFIG DATASET`.

For each seed one prepared folder: generated images, or windows of a dataset, under one stress.
Training labels are the stressed ones (`masks/`), the true ones lie beside (`masks_clean/`);
validation and test labels are always the true ones. `ignored/` tells which pixels do not count.
"""

import argparse
import hashlib

import numpy as np

from experiments import controlled, prepared, stress
from experiments.plan import (
    CLEAN,
    CONTROLLED_FRACTION,
    FOREGROUND,
    IDS,
    IGNORED,
    INSTANCES,
    LABEL_KNOBS,
    LABELS,
    MASKS,
    NATURAL,
    SPLITS,
    Study,
    masks_of,
    stable_seed,
)

REACH = 0.25
"""By how much, relatively, the mean foreground fraction may miss the one asked for."""


def controlled_scenes(study, dataset, knobs, seed):
    """{split: [(stem, make)]}; make(fraction) draws an image and its mask, anew for each seed."""
    drawn = {k: knobs[k] for k in ("rough", "overlap") if k in knobs}
    size = knobs.get("size", "large")
    place = {k: knobs[k] for k in ("size", "fraction") if k in knobs}

    def maker(split, i):
        key = stable_seed(place, seed, split, i)

        def make(fraction):
            share = CONTROLLED_FRACTION if fraction is None else fraction
            rng = np.random.default_rng(key)
            image, mask = controlled.scene(rng, study.image_size, share, size, **drawn)
            return image, {MASKS: mask}

        return make

    return {
        split: [(f"{split}-{i:04d}", maker(split, i)) for i in range(getattr(dataset, split))]
        for split in SPLITS
    }


def read_source(study, dataset):
    """{split: {stem: (image, masks)}}, None for generated images.

    masks: MASKS, what is to be ignored as IGNORED, ids of objects as INSTANCES, of several classes
    their places among them as LABELS, from 1, and other observers' masks by their folders' names.
    """
    if dataset.controlled:
        return None
    source = prepared.read(dataset.folder, dataset.masks)
    observers = study.observers(dataset)

    def sample(stem):
        masks = {masks_of(name): source.mask(stem, masks_of(name)) for name in observers}
        if dataset.classes:
            labels = np.uint16(0)
            for place, (_, what) in enumerate(dataset.classes, 1):
                if isinstance(what, str):
                    region = source.mask(stem, masks_of(what)) > 0
                else:
                    region = np.isin(source.labels(stem), what)
                labels = np.where(region, np.uint16(place), labels)
            masks[MASKS] = (labels > 0).astype(np.uint8)
            if len(dataset.classes) > 1:
                masks[LABELS] = labels
        else:
            masks[MASKS] = source.mask(stem)
        if dataset.has_instances:
            masks[INSTANCES] = source.instances(stem) * masks[MASKS]
        if dataset.ignore is not None:
            ignored = source.labels(stem) == dataset.ignore
            masks = {name: mask * ~ignored for name, mask in masks.items()}
            masks[IGNORED] = ignored.astype(np.uint8)
        return source.image(stem), masks

    return {split: {s: sample(s) for s in sorted(stems)} for split, stems in source.split.items()}


def observed(knobs):
    """The folder of the observer's masks that a stress asks for, or None."""
    return masks_of(knobs["observer"]) if "observer" in knobs else None


def windows(study, dataset, knobs, source):
    """{split: [(stem, make)]}; make(fraction) cuts a window of a real image and its masks.

    They are the same for every seed, so that the test images are; those that lie anywhere also
    for every target of the same images. Fewer windows than images are of some of them by a hash
    of their content: by name they would all be of one patient, video or stain where names tell.
    """
    grey = all(image.ndim == 2 for items in source.values() for image, _ in items.values())
    # Without the size: small objects are shown beside the same first window.
    place = {k: knobs[k] for k in ("fraction",) if k in knobs}
    whose = dataset.source if knobs.get("fraction") == NATURAL else dataset.name

    def maker(split, stem, again):
        image, masks = source[split][stem]
        if image.ndim == 2 and not grey:
            image = np.repeat(image[..., None], 3, axis=2)
        key = stable_seed(whose, place, stem, again)
        size = knobs.get("size", "large")
        names = (MASKS, IGNORED, INSTANCES, LABELS, observed(knobs))
        names = [name for name in names if name in masks]
        layers = [image, *(masks[name] for name in names)]

        def make(fraction):
            rng = np.random.default_rng(key)
            cut, *masks_cut = stress.window(rng, layers, study.image_size, size, fraction)
            return cut, dict(zip(names, masks_cut, strict=True))

        return make

    def makers(split):
        stems = sorted(source[split], key=lambda stem: (_content(source[split][stem][0]), stem))
        for i in range(getattr(dataset, split)):
            stem, again = stems[i % len(stems)], i // len(stems)
            yield f"{stem}-{again}", maker(split, stem, again)

    return {split: list(makers(split)) for split in SPLITS}


def scenes(study, dataset, knobs, seed, source):
    """{split: [(stem, image, masks)]} before blur and noise, and with the true labels."""
    drawn = (
        controlled_scenes(study, dataset, knobs, seed)
        if dataset.controlled
        else windows(study, dataset, knobs, source)
    )
    return {split: with_absence(dataset, split, makers, knobs) for split, makers in drawn.items()}


def with_absence(dataset, split, makers, knobs):
    """[(stem, image, masks)], the asked share of them without foreground, the others as they are.

    Which ones: a fixed random order of the stems, after those that show none anyway; one that
    has no place without foreground is passed over.
    """
    shown = [(stem, *make(knobs.get("fraction"))) for stem, make in makers]
    share = knobs.get("absence", 0.0)
    wanted = round(share * len(shown)) if share else 0
    order = np.random.default_rng(stable_seed("absence", dataset.name, split))
    chosen = sorted(order.permutation(len(shown)), key=lambda i: shown[i][2][MASKS].any())
    for i in chosen:
        if not wanted:
            break
        if shown[i][2][MASKS].any():
            stem, make = makers[i]
            try:
                shown[i] = (stem, *make(0))
            except LookupError:
                continue
        wanted -= 1
    if wanted:
        raise ValueError(
            f"dataset {dataset.name!r}, absence {share}: only "
            f"{round(share * len(shown)) - wanted} of {len(shown)} {split} images can be without "
            f"foreground in windows of {dataset.name!r}; allowed: a share that the images have"
        )
    return shown


def subsampled(image, masks, share):
    """The masks with that share of the objects ignored; a greater share leaves out those too."""
    mask = masks[MASKS]
    rng = np.random.default_rng(stable_seed("left_out", _content(image)))
    kept = stress.missed(rng, mask, share, masks.get(INSTANCES))
    ids = {name: masks[name] * kept for name in IDS if name in masks}
    return masks | {MASKS: kept, IGNORED: masks.get(IGNORED, 0) | (mask ^ kept)} | ids


def _content(image):
    return hashlib.sha256(image.tobytes()).hexdigest()


def prepare(study, dataset, stress_name, seed, source=None):
    """Write the folder of one cell; returns what was measured on it.

    source: `read_source` of the dataset, where many cells are made of it.
    """
    source = source or read_source(study, dataset)
    knobs = dict(study.stresses(dataset.name)[stress_name])
    samples = {}
    for split, items in scenes(study, dataset, knobs, seed, source).items():
        samples[split] = []
        for stem, image, masks in items:
            if "left_out" in knobs:
                masks = subsampled(image, masks, knobs["left_out"])
            if "blur" in knobs:
                image = stress.blur(image, knobs["blur"])
            if "image_noise" in knobs:
                rng = np.random.default_rng(stable_seed("image_noise", _content(image)))
                image = stress.image_noise(rng, image, knobs["image_noise"])
            instances = masks.get(INSTANCES)
            label = masks[MASKS]
            if observed(knobs):
                label, instances = masks.pop(observed(knobs)), None
            if LABEL_KNOBS & set(knobs):
                masks[CLEAN] = masks[MASKS]
                if split == "train":
                    rng = np.random.default_rng(
                        stable_seed("labels", dataset.name, seed, stem, stress_name)
                    )
                    masks[MASKS] = stress.corrupt(rng, label, knobs, instances)
            samples[split].append((stem, image, masks))
    clean = {s: [m.get(CLEAN, m[MASKS]) for *_, m in samples[s]] for s in SPLITS}
    measured = {
        "foreground_fraction": {s: float(np.mean(clean[s])) for s in SPLITS},
        "empty_masks": {s: sum(not mask.any() for mask in clean[s]) for s in SPLITS},
        "label_agreement": float(
            np.mean(
                [
                    np.mean(masks[MASKS] == true)
                    for (*_, masks), true in zip(samples["train"], clean["train"], strict=True)
                ]
            )
        ),
    }
    reached = measured["foreground_fraction"]["train"]
    asked = knobs.get("fraction", NATURAL)
    if asked != NATURAL and abs(reached / (asked * (1 - knobs.get("absence", 0))) - 1) > REACH:
        raise ValueError(
            f"dataset {dataset.name!r}, fraction {asked}: windows of "
            f"{study.image_size} pixels reach {reached:.3g} on average; allowed: a fraction that "
            "the images have (each dataset can have its own: 'values: {DATASET: [...]}')"
        )
    info = {
        "title": f"{dataset.name}, stress {stress_name}, seed {seed}",
        "stress": knobs,
        "measured": measured,
    }
    if dataset.class_names != (FOREGROUND,):
        info["classes"] = list(dataset.class_names)
    prepared.write(study.data_folder(dataset.name, stress_name, seed), samples, info)
    return measured


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("dataset")
    args = parser.parse_args()
    study = Study.read(args.config)
    dataset = study.datasets[args.dataset]
    try:
        source = read_source(study, dataset)
        for name in study.stresses(dataset.name):
            for seed in study.seeds:
                measured = prepare(study, dataset, name, seed, source)
            say(study, dataset, name, measured)
    except ValueError as error:
        raise SystemExit(f"dicebench: {error}") from None


def say(study, dataset, name, measured):
    print(
        f"prepared {dataset.name} {name}: {len(study.seeds)} seeds, "
        f"foreground {measured['foreground_fraction']['train']:.4f}, "
        f"labels agree {measured['label_agreement']:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
