"""Prepare a dataset under every stress of a study: `python -m experiments.prepare CONFIG DATASET`.

For each seed one prepared folder: generated images, or windows of a dataset, under one stress.
Training labels are the stressed ones (`masks/`), the true ones lie beside (`masks_clean/`);
validation and test labels are always the true ones.
"""

import argparse
import hashlib

import numpy as np

from experiments import controlled, prepared, stress
from experiments.plan import CONTROLLED_FRACTION, SPLITS, Study, masks_of, stable_seed

REACH = 0.25
"""By how much, relatively, the mean foreground fraction may miss the one asked for."""


def controlled_scenes(study, dataset, knobs, seed):
    """{split: [(stem, make)]}; make(fraction) draws an image and its mask, anew for each seed."""
    drawn = {k: knobs[k] for k in ("rough", "overlap") if k in knobs}
    size = knobs.get("size", "large")
    place = {k: knobs[k] for k in ("size", "fraction") if k in knobs}

    def maker(split, i):
        key = stable_seed(place, seed, split, i)
        return lambda fraction: controlled.scene(
            np.random.default_rng(key),
            study.image_size,
            CONTROLLED_FRACTION if fraction is None else fraction,
            size,
            **drawn,
        )

    return {
        split: [(f"{split}-{i:04d}", maker(split, i)) for i in range(getattr(dataset, split))]
        for split in SPLITS
    }


def read_source(study, dataset):
    """{split: {stem: (image, mask, {observer: mask})}}, None for generated images."""
    if dataset.controlled:
        return None
    source = prepared.read(dataset.folder, dataset.masks)
    others = {o: prepared.read(dataset.folder, masks_of(o)) for o in study.observers(dataset)}

    def sample(stem):
        return source.image(stem), source.mask(stem), {o: others[o].mask(stem) for o in others}

    return {split: {s: sample(s) for s in sorted(stems)} for split, stems in source.split.items()}


def windows(study, dataset, knobs, source):
    """{split: [(stem, make)]}; make(fraction) cuts a window of a real image and its mask.

    They are the same for every seed, so that the test images are. Another observer's mask, where
    the stress asks for one, comes third.
    """
    grey = all(image.ndim == 2 for items in source.values() for image, *_ in items.values())
    # Without the size: small objects are shown beside the same first window.
    place = {k: knobs[k] for k in ("fraction",) if k in knobs}

    def maker(split, stem, again):
        image, mask, others = source[split][stem]
        if image.ndim == 2 and not grey:
            image = np.repeat(image[..., None], 3, axis=2)
        other = [others[knobs["observer"]]] if "observer" in knobs else []
        key = stable_seed(dataset.name, place, stem, again)
        size = knobs.get("size", "large")
        return lambda fraction: stress.window(
            np.random.default_rng(key), (image, mask, *other), study.image_size, size, fraction
        )

    def makers(split):
        stems = list(source[split])
        for i in range(getattr(dataset, split)):
            stem, again = stems[i % len(stems)], i // len(stems)
            yield f"{stem}-{again}", maker(split, stem, again)

    return {split: list(makers(split)) for split in SPLITS}


def scenes(study, dataset, knobs, seed, source):
    """{split: [(stem, image, mask)]} before blur and noise, and with the true labels.

    Under `observer` that one's mask comes last.
    """
    drawn = (
        controlled_scenes(study, dataset, knobs, seed)
        if dataset.controlled
        else windows(study, dataset, knobs, source)
    )
    return {split: with_absence(dataset, split, makers, knobs) for split, makers in drawn.items()}


def with_absence(dataset, split, makers, knobs):
    """[(stem, image, mask, ...)], the asked share without foreground, the others as they are.

    Which ones: a fixed random order of the stems, after those that show none anyway; one that
    has no place without foreground is passed over.
    """
    shown = [(stem, *make(knobs.get("fraction"))) for stem, make in makers]
    share = knobs.get("absence", 0.0)
    wanted = round(share * len(shown)) if share else 0
    order = np.random.default_rng(stable_seed("absence", dataset.name, split))
    chosen = sorted(order.permutation(len(shown)), key=lambda i: shown[i][2].any())
    for i in chosen:
        if not wanted:
            break
        if shown[i][2].any():
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


def prepare(study, dataset, stress_name, seed, source=None):
    """Write the folder of one cell; returns what was measured on it.

    source: `read_source` of the dataset, where many cells are made of it.
    """
    source = source or read_source(study, dataset)
    knobs = dict(study.stresses(dataset.name)[stress_name])
    samples = {}
    for split, items in scenes(study, dataset, knobs, seed, source).items():
        samples[split] = []
        for stem, image, mask, *other in items:
            if "blur" in knobs:
                image = stress.blur(image, knobs["blur"])
            if "image_noise" in knobs:
                content = hashlib.sha256(image.tobytes()).hexdigest()
                rng = np.random.default_rng(stable_seed("image_noise", content))
                image = stress.image_noise(rng, image, knobs["image_noise"])
            masks = {"masks": mask}
            if stress.LABELS & set(knobs):
                masks["masks_clean"] = mask
                if split == "train":
                    rng = np.random.default_rng(
                        stable_seed("labels", dataset.name, seed, stem, stress_name)
                    )
                    masks["masks"] = stress.corrupt(rng, *other or [mask], knobs)
            samples[split].append((stem, image, masks))
    clean = {s: [m.get("masks_clean", m["masks"]) for *_, m in samples[s]] for s in SPLITS}
    measured = {
        "foreground_fraction": {s: float(np.mean(clean[s])) for s in SPLITS},
        "empty_masks": {s: sum(not mask.any() for mask in clean[s]) for s in SPLITS},
        "label_agreement": float(
            np.mean(
                [
                    np.mean(masks["masks"] == true)
                    for (*_, masks), true in zip(samples["train"], clean["train"], strict=True)
                ]
            )
        ),
    }
    reached = measured["foreground_fraction"]["train"]
    asked = knobs.get("fraction", 0) * (1 - knobs.get("absence", 0))
    if asked and abs(reached / asked - 1) > REACH:
        raise ValueError(
            f"dataset {dataset.name!r}, fraction {knobs['fraction']}: windows of "
            f"{study.image_size} pixels reach {reached:.3g} on average; allowed: a fraction that "
            "the images have (each dataset can have its own: 'values: {DATASET: [...]}')"
        )
    info = {
        "title": f"{dataset.name}, stress {stress_name}, seed {seed}",
        "stress": knobs,
        "measured": measured,
    }
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
