"""The configuration as types: one schema for the check, the defaults and editors.

`experiments.plan.reading` reads a configuration with them; `schema` is for editors.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    create_model,
)

from experiments.errors import ConfigError
from experiments.layout import FOREGROUND
from experiments.plan.knobs import KNOBS, Knob
from experiments.plan.looks import Seeds
from experiments.plan.losses import loss_specs
from experiments.plan.types import Count, Flag, Label, Name, Text, number, whole
from experiments.plan.values import numbers, to_flag, to_folder, to_name, to_number, unique


class Settings(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def named(value: Any) -> Any:
    """Read ``NAME`` and ``{name: NAME, option: value}`` as a name with its options."""
    value = numbers(value)
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "options" not in value:
        return {
            "name": value.get("name"),
            "options": {k: v for k, v in value.items() if k != "name"},
        }
    return value


class Optimizer(Settings):
    """An optimizer of torch.optim and its options, without the learning rate."""

    name: Text = "Adam"
    options: dict[str, Any] = {}


class Schedule(Settings):
    """The learning rate over the steps: constant, half a cosine to 0, or a polynomial to 0.

    power: of the polynomial, (1 - step / steps)^power.
    """

    name: Literal["constant", "cosine", "polynomial"] = "constant"
    power: number(gt=0) = 0.9


def transforms(value: Any) -> Any:
    """Read ``[NAME, {NAME: options}]`` as a list of {NAME: options}."""
    if isinstance(value, list):
        return [{item: {}} if isinstance(item, str) else numbers(item) for item in value]
    try:
        return to_flag(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a list of transforms") from None


def one_transform(value: dict) -> dict:
    """Check that a transform is one name with its options."""
    if len(value) != 1 or not all(isinstance(options, dict) for options in value.values()):
        raise ValueError(f"{value!r} is not allowed; allowed: a name, or one name with options")
    return value


Transform = Annotated[dict[str, Any], BeforeValidator(one_transform)]


NAME_WITH_OPTIONS = {"type": ["string", "object"], "required": ["name"]}
"""JSON schema of ``NAME`` or ``{name: NAME, option: value}``."""


class Training(Settings):
    """How a model is trained: the same for every loss. A list of values makes a field an axis."""

    steps: whole(ge=1, le=10**9) = Field(
        160, title="Training steps", description="number of batches"
    )
    batch_size: whole(ge=1, le=2**16) = Field(
        4, title="Batch size", description="images of a batch"
    )
    learning_rate: number(gt=0) = Field(
        1e-3,
        title="Learning rate",
        description="of the optimizer; the first of a list is the fixed rate, and each loss's best "
        "is chosen on validation images",
    )
    optimizer: Annotated[
        Optimizer,
        BeforeValidator(named),
        WithJsonSchema(NAME_WITH_OPTIONS),
        Field(description="a class of torch.optim: a name, or {name: SGD, momentum: 0.9}"),
    ] = Field(Optimizer(), title="Optimizer")
    schedule: Annotated[
        Schedule,
        BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v),
        WithJsonSchema(NAME_WITH_OPTIONS),
        Field(description="constant, cosine or {name: polynomial, power: 0.9}"),
    ] = Field(Schedule(), title="Learning-rate schedule")
    architecture: Text = Field(
        "Unet", title="Architecture", description="of segmentation-models-pytorch"
    )
    encoder: Text = Field(
        "tu-test_resnet",
        title="Encoder",
        description="of segmentation-models-pytorch, or tu-NAME of timm",
    )
    encoder_weights: Text | None = Field(
        None, title="Encoder weights", description="name of pretrained weights, or null"
    )
    model_options: Annotated[dict[str, Any], BeforeValidator(numbers)] = Field(
        {}, title="Model options", description="further options of the architecture"
    )
    augment: Annotated[
        Flag | list[Transform],
        BeforeValidator(transforms),
        WithJsonSchema({"type": ["boolean", "array"], "items": {"type": ["string", "object"]}}),
    ] = Field(
        True,
        title="Augmentation",
        description="true: the square's symmetries; false: none; or a list of albumentations "
        "transforms, each a name or {NAME: options}",
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        title="Precision",
        description="fp32; tf32: convolutions and products with 10 bits, on CUDA only; bf16: "
        "automatic mixed precision with bfloat16",
    )
    weights: Literal["last", "recalibrated", "averaged"] = Field(
        "recalibrated",
        title="Evaluated weights",
        description="last: of the last step; recalibrated: these, with batch-norm statistics of "
        "all training images; averaged: moving average over the steps, decay 0.95",
    )


LISTS = ("augment",)
"""Training fields whose single value may be a list."""


def is_axis(field: str, value: Any) -> bool:
    """Return whether the value of a training field is a list of values.

    >>> is_axis("steps", [160, 640]), is_axis("augment", ["HorizontalFlip"])
    (True, False)
    """
    if not isinstance(value, list):
        return False
    return field not in LISTS or (
        bool(value) and all(isinstance(item, bool | list) for item in value)
    )


def _fields(*, axes: bool) -> dict[str, Any]:
    """Return Training's fields for `create_model`; with `axes` each is a value or a list."""
    fields = {}
    for name, field in Training.model_fields.items():
        if not axes and name == "learning_rate":
            continue  # only `training.learning_rate` sets it
        one = Annotated[field.annotation, *field.metadata, field.title]
        if axes:
            axis = Annotated[list[one], Field(min_length=1), BeforeValidator(unique)]
            pick = Discriminator(lambda v, name=name: "axis" if is_axis(name, v) else "one")
            one = Annotated[Annotated[one, Tag("one")] | Annotated[axis, Tag("axis")], pick]
        fields[name] = (one, Field(field.default, title=field.title, description=field.description))
    return fields


TrainingGrid = create_model("TrainingGrid", __base__=Settings, **_fields(axes=True))
TrainingPart = create_model("TrainingPart", __base__=Settings, **_fields(axes=False))


def _knob(knob: Knob) -> Any:
    """Return the type of a knob's values."""
    words = Literal[knob.choices] if knob.choices else None
    if knob.low is None:
        return words or (Name | None)
    bounds = {
        "gt" if knob.open_low else "ge": knob.low,
        "lt" if knob.open_high else "le": knob.high,
    }
    kind = whole if knob.whole else number
    value = kind(**{k: v for k, v in bounds.items() if v is not None})
    if not words:
        return value
    pick = Discriminator(lambda v: "number" if isinstance(to_number(v), float | int) else "word")
    return Annotated[Annotated[value, Tag("number")] | Annotated[words | None, Tag("word")], pick]


LevelSettings = create_model(
    "LevelSettings",
    __base__=Settings,
    __doc__="Knobs of a stress, and training fields that a level sets.",
    **{name: (_knob(knob), Field(None, description=knob.doc)) for name, knob in KNOBS.items()},
    **_fields(axes=False),
)


def class_ids(value: Any) -> dict[str, tuple[int, ...] | str]:
    """Read the classes of a dataset: name -> class ids or a target; a list of ids is one class."""
    one_class = not isinstance(value, dict)
    if value == {} or (one_class and not isinstance(value, list)):
        allowed = "a list of class ids, or names, each with class ids or a target"
        raise ValueError(f"{value!r} is not allowed; allowed: {allowed}")
    classes: dict[str, tuple[int, ...] | str] = {}
    problems = []
    for name, ids in ({FOREGROUND: value} if one_class else value).items():
        setting = "" if one_class else f".{name}"
        try:
            to_name(name)
            target = isinstance(ids, str) and not one_class
            classes[name] = to_name(ids) if target else _ids(ids)
        except ValueError as error:
            problems.append(f"{setting}: {error}")
    if problems:
        raise ConfigError(problems)
    return classes


def _ids(value: Any) -> tuple[int, ...]:
    ids = [value] if isinstance(value, int) else value
    if not isinstance(ids, list) or not ids:
        raise ValueError(f"{value!r} is not allowed; allowed: a list of class ids, or a target")
    ids = [to_number(one) for one in ids]  # a command line gives texts
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one <= 255:
            raise ValueError(
                f"{one!r} is not allowed; allowed: a whole number of at least 0 and at most 255"
            )
    return tuple(unique(ids))


class DatasetSettings(Settings):
    """A dataset: images made by the suite, a public dataset, or a prepared folder."""

    source: Name | None = None
    folder: Text | None = None
    target: Name | None = None
    classes: Annotated[
        dict[str, Any],
        BeforeValidator(class_ids),
        WithJsonSchema({"type": ["object", "array"]}),
    ] = {}
    multilabel: Flag = False
    ignore: whole(ge=0, le=255) | None = None
    train: whole(ge=1, le=10**6) = 96
    val: whole(ge=1, le=10**6) = 32
    test: whole(ge=1, le=10**6) = 64


def _held(value: Any) -> str:
    given = value if isinstance(value, Mapping) else {}
    mappings = given and all(isinstance(part, Mapping) for part in given.values())
    return "datasets" if mappings and not {*given} & {*LevelSettings.model_fields} else "all"


class ExperimentSettings(Settings):
    """Levels by name (`levels`), or one knob with its values (`knob`, `values`, `hold`).

    `values` and `hold` may differ by dataset: NAME -> values, NAME -> knobs and training fields.
    """

    knob: Literal[*KNOBS, *(f for f in Training.model_fields if f != "learning_rate")] | None = None
    values: list[Any] | dict[str, list[Any]] | None = None
    hold: (
        Annotated[
            Annotated[LevelSettings, Tag("all")]
            | Annotated[dict[Name, LevelSettings], Tag("datasets")],
            Discriminator(_held),
        ]
        | None
    ) = None
    levels: dict[Label, LevelSettings | None] | None = None


class Timeout(Settings):
    """Seconds after which a run is stopped: of one training step, and of the whole run."""

    step: number(gt=0) = 600
    run: number(gt=0) = 86400


REFUSED = {
    "mps": "the backward pass of its max pooling is not deterministic",
    "xpu": "it has never been tested",
}
"""Device of torch -> the reason why it is refused."""


def refuse_device(value: Any) -> Any:
    """Refuse a device that torch has and dicebench does not, with the reason."""
    if isinstance(value, str) and value in REFUSED:
        raise ValueError(f"{value!r} is not allowed: {REFUSED[value]}; allowed: auto, cpu, cuda")
    return value


REQUIRED = ("study", "datasets", "losses", "experiments", "seeds")


class Config(Settings):
    """A study's configuration."""

    study: Name | None = None
    results: Annotated[str, BeforeValidator(to_folder)] = Field(
        "results", description="folder of the studies' folders"
    )
    datasets: Annotated[dict[Name, DatasetSettings | None], Field(min_length=1)] | None = None
    losses: (
        Annotated[
            dict[str, dict[str, Any]],
            BeforeValidator(loss_specs),
            WithJsonSchema(
                {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
            ),
        ]
        | None
    ) = None
    reference: Annotated[
        list[Name],
        Field(min_length=1),
        BeforeValidator(unique),
        BeforeValidator(lambda v: [v] if isinstance(v, str) else v),
        WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
    ] = ["cross_entropy"]
    experiments: Annotated[dict[Name, ExperimentSettings], Field(min_length=1)] | None = None
    seeds: Seeds | None = None
    image_size: whole(ge=16, le=8192, multiple_of=8) = 64
    training: TrainingGrid = TrainingGrid()
    models: dict[Name, TrainingPart] = {}
    keep: Annotated[list[Literal["data", "predictions", "weights"]], BeforeValidator(unique)] = [
        "data"
    ]
    mirror: Text | None = None
    device: Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(refuse_device)] = "auto"
    job_per: Literal["dataset", "loss", "seed"] = "dataset"
    runs_per_job: Count | None = None
    runs_per_gpu: Count = 4
    timeout: Timeout = Timeout()
    checkpoint: number(gt=0) = 120

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={"required": list(REQUIRED)},
    )


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration."""
    return Config.model_json_schema()
