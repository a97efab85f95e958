"""Prepare a dataset under every stress of a study: `python -m experiments.prepare CONFIG DATASET`.

For each seed one prepared folder: generated images, or windows of a dataset, under one stress.
Training labels are the stressed ones (`masks/`), the true ones lie beside (`masks_clean/`);
validation and test labels are always the true ones.
"""

import argparse

import numpy as np

from experiments import controlled, prepared, stress
from experiments.plan import CONTROLLED_FRACTION, SPLITS, Study, stable_seed

REACH = 0.25
"""By how much, relatively, the mean foreground fraction may miss the one asked for."""


def scenes(study, dataset, knobs, seed):
    """{split: [(stem, image, mask)]} before blur, jitter and flips.

    Controlled images are drawn anew for each seed; the windows of a real dataset are the same
    for every seed, so that its test images are.
    """
    scene_knobs = {k: knobs[k] for k in ("size", "fraction") if k in knobs}
    if dataset.controlled:
        size, fraction = knobs.get("size", "large"), knobs.get("fraction", CONTROLLED_FRACTION)
        return {
            split: [
                (
                    f"{split}-{i:04d}",
                    *controlled.scene(
                        np.random.default_rng(stable_seed(scene_knobs, seed, split, i)),
                        study.image_size,
                        fraction,
                        size,
                    ),
                )
                for i in range(getattr(dataset, split))
            ]
            for split in SPLITS
        }
    source = prepared.read(dataset.folder, dataset.masks)
    arrays = {
        stem: (source.image(stem), source.mask(stem)) for s in SPLITS for stem in source.split[s]
    }
    grey = all(image.ndim == 2 for image, _ in arrays.values())
    cut = {}
    for split in SPLITS:
        stems = sorted(source.split[split])
        cut[split] = []
        for i in range(getattr(dataset, split)):
            stem, again = stems[i % len(stems)], i // len(stems)
            image, mask = arrays[stem]
            if image.ndim == 2 and not grey:
                image = np.repeat(image[..., None], 3, axis=2)
            rng = np.random.default_rng(stable_seed(dataset.name, scene_knobs, stem, again))
            image, mask = stress.window(rng, image, mask, study.image_size, **scene_knobs)
            cut[split].append((f"{stem}-{again}", image, mask))
    return cut


def prepare(study, dataset, stress_name, seed):
    """Write the folder of one cell; returns what was measured on it."""
    knobs = dict(study.stresses(dataset.name)[stress_name])
    samples = {}
    for split, items in scenes(study, dataset, knobs, seed).items():
        samples[split] = []
        for stem, image, mask in items:
            rng = np.random.default_rng(
                stable_seed("labels", dataset.name, seed, stem, stress_name)
            )
            label = mask
            if "blur" in knobs:
                image = stress.blur(image, knobs["blur"])
            if split == "train" and "jitter" in knobs:
                label = stress.jitter(rng, label, knobs["jitter"])
            if split == "train" and "flips" in knobs:
                label = stress.flips(rng, label, knobs["flips"])
            masks = {"masks": label}
            if {"jitter", "flips"} & set(knobs):
                masks["masks_clean"] = mask
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
    reached, asked = measured["foreground_fraction"]["train"], knobs.get("fraction")
    if asked and abs(reached / asked - 1) > REACH:
        raise ValueError(
            f"dataset {dataset.name!r}, fraction {asked}: windows of {study.image_size} pixels "
            f"reach {reached:.3g} on average; allowed: a fraction that the images have (each "
            "dataset can have its own: 'values: {DATASET: [...]}')"
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
    for name in study.stresses(dataset.name):
        for seed in study.seeds:
            try:
                measured = prepare(study, dataset, name, seed)
            except ValueError as error:
                raise SystemExit(f"dicebench: {error}") from None
        print(
            f"prepared {args.dataset} {name}: {len(study.seeds)} seeds, "
            f"foreground {measured['foreground_fraction']['train']:.4f}, "
            f"labels agree {measured['label_agreement']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
