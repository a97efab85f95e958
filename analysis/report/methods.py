"""The methods of a study as LaTeX: paragraphs from its configuration, records and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.figures import style
from analysis.report.citations import DATASETS, LOSSES, METHODS, cite
from analysis.report.latex import text
from analysis.report.provenance import axes, commit, counts, processor
from analysis.scores import draws, equivalence, statistics
from experiments import datasets
from experiments.plan.config import Training

if TYPE_CHECKING:
    import pandas as pd

    from analysis.results import Results
    from experiments.plan.dataset import Dataset
    from experiments.plan.levels import Level
    from experiments.plan.study import Study

WEIGHTS = {
    "last": "those of the last step",
    "recalibrated": "those of the last step, with batch-norm statistics of all training images",
    "averaged": "a moving average over the steps, with a decay of 0.95",
}
"""Evaluated weights in words."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def methods(results: Results) -> str:
    """Return the methods: a paragraph of LaTeX for each subject."""
    study, table = results.study, results.verdicts
    paragraphs = {
        "Losses": losses(study),
        "Data": data(study),
        "Experiments": experiments(study),
        "Model and training": training(study),
        "Evaluation": evaluation(study),
        "Statistics": inference(study, table),
        "Computation": computation(results.records),
    }
    return "\n\n".join(
        rf"\paragraph{{{title}.}}" + "\n" + " ".join(sentences)
        for title, sentences in paragraphs.items()
    )


def joined(parts: Iterable[str], separator: str = ", ") -> str:
    """Return the parts of a list in words.

    >>> joined(["a", "b", "c"]), joined("a")
    ('a, b and c', 'a')
    """
    *most, last = parts
    return f"{separator.join(most)} and {last}" if most else last


def losses(study: Study) -> Iterator[str]:
    """Yield the sentences on the losses."""
    names = [_loss(name, spec) for name, spec in study.losses.items()]
    yield f"The study has {len(names)} losses: {'; '.join(names)}."
    references = joined(text(style.name(name)) for name in study.references)
    yield f"Each loss is compared with {references}."


def _loss(name: str, spec: Mapping[str, Any]) -> str:
    """Return a loss with its publication and its options."""
    use = spec.get("use", name)
    options = {k: v for k, v in spec.items() if k not in ("use", "sum")}
    about = [f"{k} {v}" for k, v in {**options, **spec.get("sum", {})}.items()]
    if "sum" in spec:
        about.insert(0, "a weighted sum")
    elif ":" in use:
        about.insert(0, f"our own, {use}")
    elif use != name:
        about.insert(0, style.name(use))
    return text(style.name(name)) + cite(LOSSES, use) + _aside(about)


def _aside(words: Iterable[str]) -> str:
    """Return words in brackets, nothing without any."""
    found = ", ".join(map(text, filter(None, words)))
    return f" ({found})" if found else ""


def data(study: Study) -> Iterator[str]:
    """Yield the sentences on the datasets."""
    for dataset in study.datasets.values():
        number = joined(f"{getattr(dataset, part)} {word}" for part, word in SPLITS.items())
        if dataset.controlled:
            yield (
                f"{text(dataset.name)}: images that dicebench generates, {number} images, other "
                "ones for each seed."
            )
        else:
            yield f"{text(dataset.name)}: {_source(dataset)}; {number} windows."
    sides = joined(rf"${side} \times {side}$" for side in dict.fromkeys(study.sides))
    yield f"Images have {sides} pixels."
    if not all(dataset.controlled for dataset in study.datasets.values()):
        yield (
            "The datasets' own splits are kept where there are any; images of one group (patient, "
            "video or volume) are in one split. All seeds share the test images of a public "
            "dataset."
        )


def _source(dataset: Dataset) -> str:
    """Return the origin of a dataset's images and its foreground."""
    if dataset.source not in datasets.DATASETS:
        return "a dataset of our own" + _aside([_foreground(dataset)])
    about = datasets.load(dataset.source).ABOUT
    meaning = _foreground(dataset) or about.masks.get(dataset.masks, "")
    shown = [meaning and f"foreground: {meaning}", f"licence: {about.licence}"]
    return text(about.title) + cite(DATASETS, dataset.source) + _aside(shown)


def _foreground(dataset: Dataset) -> str:
    """Return the classes of a dataset; nothing for the masks of a target."""
    return "classes: " + joined(dataset.class_names) if dataset.classes else ""


def experiments(study: Study) -> Iterator[str]:
    """Yield a sentence per experiment: its levels, on each dataset if they differ."""
    for experiment in study.experiments.values():
        levels = {name: _levels(each) for name, each in experiment.levels.items() if each}
        same = len(set(levels.values())) == 1
        shown = levels if not same else {"": next(iter(levels.values()))}
        axis = experiment.axis or style.title(experiment.knob or "levels")
        values = "; ".join(": ".join(filter(None, pair)) for pair in shown.items())
        yield f"{text(style.title(experiment.name).capitalize())} ({text(f'{axis}: {values}')})."


def _levels(levels: Sequence[Level]) -> str:
    """Return the levels of an experiment with their knobs; knobs of all levels come once, last."""
    fields = [{**level.stress, **level.training} for level in levels]
    common = {k: v for k, v in fields[0].items() if all(f.get(k) == v for f in fields)}
    common = common if len(levels) > 1 else {}
    shown = ", ".join(
        level.label + _knobs({k: v for k, v in own.items() if k not in common}, level.label)
        for level, own in zip(levels, fields, strict=True)
    )
    return f"{shown}; all with {_knobs(common)[2:-1]}" if common else shown


def _knobs(fields: Mapping[str, Any], label: str = "") -> str:
    """Return knobs in brackets, without one that the label has; nothing without any."""
    words = [f"{style.title(k)} {v}" for k, v in fields.items() if str(v) != label]
    return f" ({', '.join(words)})" if words else ""


def training(study: Study) -> Iterator[str]:
    """Yield the sentences on the model and its training, at the reference setting."""
    chosen = study.training
    options = [f"{style.title(k)} {v}" for k, v in chosen.model_options.items()]
    yield (
        f"The model is {text(chosen.architecture)}{cite(METHODS, chosen.architecture)} with the "
        f"encoder {text(chosen.encoder)}{_aside(options)} of segmentation-models-pytorch, with "
        f"{joined(f'{number:,}' for number in parameters(study))} parameters for grey images. "
        f"Its encoder starts from {text(chosen.encoder_weights or 'random weights')}."
    )
    optimizer, schedule = chosen.optimizer, text(chosen.schedule.name)
    own = _aside(f"{k} {v}" for k, v in optimizer.options.items())
    yield (
        f"{text(optimizer.name)}{cite(METHODS, optimizer.name)}{own} trains each model for "
        f"{chosen.steps} steps of {style.counted(chosen.batch_size, 'image')} at a learning rate "
        f"of {chosen.learning_rate:g} ({schedule} schedule), in {chosen.precision}."
    )
    if len(study.rates) > 1:
        rates = joined(f"{rate:g}" for rate in study.rates)
        yield f"Validation images choose each loss's best learning rate of {rates}."
    augment = {True: "the symmetries of the square", False: "none"}
    if isinstance(chosen.augment, list):
        yield f"Augmentation: {text(', '.join(map(str, chosen.augment)))}."
    else:
        yield f"Augmentation: {augment[chosen.augment]}."
    yield f"The evaluated weights are {WEIGHTS[chosen.weights]}."
    for axis, values in axes(study):
        title = Training.model_fields[axis].title if axis in Training.model_fields else axis
        yield f"{text(title)}, in different runs: {text(values)}."


def parameters(study: Study) -> list[int]:
    """Return the numbers of parameters of a study's models for grey images, smallest first."""
    from experiments.runs import models  # loads torch, which no other part of the analysis needs

    plain = [t.model_copy(update={"encoder_weights": None}) for t in study.trainings]
    built = (models.build(t, 1, *classes) for t in plain for classes in study.class_counts)
    return sorted({sum(p.numel() for p in model.parameters()) for model in built})


def evaluation(study: Study) -> Iterator[str]:
    """Yield the sentences on thresholds and scores."""
    yield (
        "Scores are Dice scores (DSC) of test images unless a table names another metric; an image "
        "counts as one value. A score at the tuned threshold uses the threshold with the greatest "
        "Dice score of all validation pixels; the other threshold is 0.5. An image without "
        "foreground scores 0 if anything is predicted, and is left out if nothing is."
    )


def inference(study: Study, table: pd.DataFrame) -> Iterator[str]:
    """Yield the sentences on seeds, intervals, tests and smallest differences."""
    if study.adaptive:
        numbers = [sum(map(len, study.looks[: k + 1])) for k in range(len(study.looks))]
        yield (
            f"Verdicts are looked at with {joined(map(str, numbers))} seeds; runs get more seeds "
            "where a primary verdict is undecided, and each look spends a share of the error in "
            "proportion to its seeds."
        )
    else:
        yield f"Each run is repeated with {style.seeds(study)}."
    level, holm = f"{statistics.LEVEL:.0%}".replace("%", r"\%"), cite(METHODS, "holm")
    yield (
        "Seeds are paired: all losses of a seed share images, initial weights and batches. An "
        "effect is the mean difference over test images and seeds. Its error has a part from the "
        "seeds and, where all seeds share the test images, a part from the sources of the images; "
        r"intervals are Student's $t$, of 95\%. A claim is supported if the effect is at least "
        "the smallest difference that matters, contradicted if it is below, by one-sided tests at "
        f"{level} (two-sided where the reason of a verdict says so), and undecided otherwise. A "
        f"verdict needs {statistics.LEAST} seeds, or both of a study that has two. Holm's "
        f"method{holm} corrects the $p$ values of each family of verdicts."
    )
    words = [
        f"{style.title(row.claim)} {'±' if row.rule == equivalence.WITHIN else ''}"
        f"{row.smallest:g} {row.unit}"
        for row in table[table["level"] != "mechanism"].drop_duplicates("claim").itertuples()
    ]
    if words:
        yield f"Smallest differences: {text('; '.join(words))}."
    yield (
        f"The advised loss has the least expected regret over {draws.DRAWS} draws of all losses' "
        f"mean scores; another loss may be as good if it is within {draws.NEAR:g} DSC of the best "
        f"with a probability of at least {1 - draws.SURE:.0%}".replace("%", r"\%")
        + "."
    )


def computation(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the sentences on devices, time, versions and code."""
    hours = sum(sum(record["seconds"].values()) for record in records) / 3600
    devices = counts(record["device"] for record in records)
    yield (
        f"{style.counted(len(records), 'run')} took {hours:.1f} hours in total, one thread per "
        f"run, on {text(devices)} ({text(counts(map(processor, records)))})."
    )
    packages = sorted({package for record in records for package in record["versions"]})
    versions = [
        f"{package} {counts(r['versions'][package] for r in records if package in r['versions'])}"
        for package in packages
    ]
    yield f"Versions: {text(', '.join(versions))}."
    yield f"Code of dicebench: commit {text(counts(map(commit, records)))}."
