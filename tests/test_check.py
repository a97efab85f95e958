"""The check before training: it builds and calls everything, and reports all problems."""

import importlib
import sys

import pytest
import torch

from experiments.errors import ConfigError
from experiments.plan.study import Study
from experiments.runs import check
from losses import LOSSES

ONE_IMAGE = {"batch_size": 1, "model_options": {"encoder_depth": 3, "decoder_channels": [8, 8, 8]}}


def study_of(config, **changes):
    """A study whose first loss is its reference."""
    config = {**config, **changes}
    return Study({"reference": next(iter(config["losses"]))} | config)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": {"dice": {"smoth": 1}}}, ["losses.dice", "smoth"]),
        ({"training": {"encoder": "resnet1"}}, ["encoder 'resnet1'", "Encoders"]),
        ({"training": {"architecture": "Unett"}}, ["'Unett'", "did you mean 'Unet'"]),
        ({"training": {"optimizer": "Adm"}}, ["training.optimizer", "did you mean 'Adam'"]),
        ({"training": {"optimizer": "Muon"}}, ["training.optimizer", "Muon"]),
        ({"training": {"augment": ["Flp"]}}, ["training.augment", "'Flp'"]),
        (
            {"training": {"architecture": "DeepLabV3Plus", "batch_size": 1}},
            ["DeepLabV3Plus", "batch_size 1", "image_size 32"],
        ),
        (
            {"losses": {"l": {"use": "tests.user_losses:NotScalar"}}},
            ["losses.l", "one finite number"],
        ),
        ({"losses": {"l": {"use": "tests.user_losses:Detached"}}}, ["losses.l", "grad"]),
        ({"losses": {"l": {"use": "tests.user_losses:Raises"}}}, ["losses.l", "no such thing"]),
        ({"losses": {"l": {"use": "tests.user_losses:Nothing"}}}, ["losses.l", "'Nothing'"]),
        ({"training": {"batch_size": 1}}, ["batch_size 1", "image_size 32", "more than 1 value"]),
        ({"training": {"batch_size": [1, 4]}}, ["batch_size 1", "more than 1 value"]),
        ({"training": {"batch_size": [4, 1]}}, ["batch_size 1", "more than 1 value"]),
        (
            {"training": {"model_options": {"activation": "sigmoid"}}},
            ["training", "ends in Sigmoid", "losses take logits"],
        ),
        ({"training": {"model_options": {"activation": "tanh"}}}, ["ends in Tanh"]),
        (
            {"training": {"model_options": {"aux_params": {"classes": 2}}}},
            ["training", "returns a tuple", "one tensor of logits"],
        ),
        (
            {"training": {"architecture": "FPN", "model_options": {"upsampling": 2}}},
            ["its logits have shape (2, 1, 16, 16); allowed: (2, 1, 32, 32)"],
        ),
        (
            {"losses": {"l": {"use": "torch.nn:CrossEntropyLoss"}}},
            ["losses.l", "the value 0 and no gradient", "a softmax", "single channel"],
        ),
        (
            {"losses": {"l": {"use": "tests.user_losses:Squeezes"}}, "training": ONE_IMAGE},
            ["losses.l", "fails on logits of shape (1, 1, 32, 32)"],
        ),
        ({"losses": {"l": {"use": "tests.user_losses:NoGradient"}}}, ["losses.l", "no gradient"]),
    ],
)
def test_problems_that_only_libraries_know_are_refused_before_training(tiny, change, words):
    with pytest.raises(ConfigError) as error:
        check.check(study_of(tiny, **change))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("options", [{}, {"activation": None}, {"activation": "identity"}])
def test_a_model_without_an_activation_passes_the_check(tiny, options):
    tiny["training"]["model_options"] |= options
    check.check(Study(tiny))


def test_a_model_is_called_with_the_smallest_and_largest_images_of_the_study(tiny, monkeypatch):
    called = []
    monkeypatch.setattr(Study, "sides", [32, 48, 64])
    monkeypatch.setattr(check, "check_model", lambda training, side, *_: called.append(side))
    check.check(Study(tiny))
    assert called == [32, 64]  # batch norm may fail on the smallest, memory on the largest


def test_a_model_without_a_gradient_is_refused(tiny, monkeypatch):
    build = check.models.build

    def frozen(*args, **options):
        model = build(*args, **options)
        head = model.segmentation_head[0]
        model.requires_grad_(False), head.requires_grad_(True)
        head.register_forward_hook(lambda part, inputs, output: 0 * output)
        return model

    monkeypatch.setattr(check.models, "build", frozen)
    with pytest.raises(ConfigError, match="the gradient at its weights is 0"):
        check.check(Study(tiny))


def test_losses_are_called_with_the_batch_sizes_and_sides_of_the_study(tiny):
    study = Study(tiny | {"training": tiny["training"] | {"batch_size": [4, 2, 8]}})
    assert check.shapes(study) == [(1, False, 2, 32), (1, False, 8, 32)]
    logits, target = check._inputs(check.Shape(2, False, 8, 32), "cpu")
    assert (logits.shape, target.shape) == ((8, 3, 32, 32), (8, 32, 32))
    assert set(target.unique().tolist()) == {0, 1, 2}
    logits, _ = check._inputs(check.Shape(1, False, 64, 512), "cpu")
    assert logits.shape == (2, 1, 512, 512)  # a larger batch takes long, and shows nothing else


def test_tf32_needs_a_gpu(tiny):
    for device in ("cpu", "auto"):
        if device == "auto" and torch.cuda.is_available():
            continue
        tiny["training"]["precision"] = ["fp32", "tf32"]
        with pytest.raises(ConfigError) as error:
            check.check(Study(tiny | {"device": device}))
        assert error.value.problems == [
            "training.precision: 'tf32' needs a GPU; allowed on a CPU: fp32, bf16"
        ]


@pytest.fixture
def no_gpu(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for name in ("SLURM_JOB_ID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(name, raising=False)


def test_a_job_of_slurm_without_a_gpu_does_not_refuse_the_device_of_others(
    tiny, in_tmp, no_gpu, monkeypatch
):
    tiny |= {"device": "cuda", "training": tiny["training"] | {"precision": "tf32"}}
    study = Study(tiny)
    with pytest.raises(ConfigError, match="device: 'cuda' cannot be used"):
        check.check(study)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    check.run(study)
    with pytest.raises(ConfigError, match="'tf32' needs a GPU"):
        check.check(Study(tiny | {"device": "cpu"}))
    assert "cost unknown" in study.file("logs/checked").read_text()
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    with pytest.raises(ConfigError, match="device: 'cuda' cannot be used"):
        check.check(study)


def test_a_constant_that_stays_on_the_cpu_is_found_without_a_gpu(tiny, no_gpu, monkeypatch, caplog):
    tiny["losses"] = {"l": {"use": "tests.user_losses:LeavesConstantOnCPU"}, "dice": {}}
    use = {"use": "tests.user_losses:LeavesConstantOnCPU"}
    words = f"losses.l: a tensor of {use} stays on the CPU"
    check.check(study_of(tiny, device="cpu"))
    assert not caplog.text
    check.check(study_of(tiny, device="auto"))
    assert caplog.text.count(words) == 1
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(ConfigError, match="stays on the CPU, so it fails on a GPU") as error:
        check.check(study_of(tiny, device="cuda"))
    (problem,) = error.value.problems
    assert problem.startswith(words)


def test_every_loss_is_called_on_the_gpu_of_the_runs_too(tiny, monkeypatch):
    called = []

    def call(name, spec, shape, device):
        called.append((name, device))
        if device == "cuda" and name == "dice":
            raise ConfigError(f"losses.{name}: fails on a GPU")

    monkeypatch.setattr(check, "check_loss", call)
    monkeypatch.setattr(check.devices, "resolve", lambda wanted: "cuda")
    with pytest.raises(ConfigError, match=r"losses\.dice: fails on a GPU"):
        check.check(Study(tiny))
    assert called == [(name, kind) for name in tiny["losses"] for kind in ("cpu", "cuda")]


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_of_the_suite_passes_the_check_on_a_gpu(name):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    for classes in (1, 3):
        check.check_loss(name, {"use": name}, check.Shape(classes), device="cuda")
    check.check_loss(name, {"use": name}, check.Shape(2, multilabel=True), device="cuda")


def test_all_problems_are_reported_at_once(tiny):
    tiny["losses"]["dice"] = {"smoth": 1}
    tiny["training"]["optimizer"] = ["Adam", "LBFGS"]
    tiny["training"]["augment"] = [{"Rotate": {"limt": 3}}]
    tiny["experiments"]["models"] = {"levels": {"a": {}, "b": {"architecture": "Unett"}}}
    with pytest.raises(ConfigError) as error:
        check.check(Study(tiny))
    problems = error.value.problems
    assert len(problems) == 4
    for word in ("smoth", "LBFGS", "limt", "Unett"):
        assert sum(word in problem for problem in problems) == 1


def test_a_checked_study_leaves_a_file(tiny, in_tmp):
    study = Study(tiny)
    check.run(study)
    assert "2 losses and 1 training settings" in study.file("logs/checked").read_text()


REFUSED = {
    "Segfaults": "ended by signal 11 (SIGSEGV)",
    "ExitsHard": "ended by exit code 3",
    "Exits": "ended by SystemExit",
    "KillsItself": "ended by signal 9 (SIGKILL; out of memory?)",
    "Hangs": "ended by timeout: not finished after 4 s",
    "Interrupts": "ended by KeyboardInterrupt",
    "BadException": "Unprintable",
    "LongException": r"\ud800",
    "DisablesGrad": "",
}
HARMLESS = ("SetsDoubleDefault", "PatchesRelu", "ChangesFolder", "Prints32MB", "LeavesThread")


def test_a_custom_loss_that_harms_its_process_is_refused_and_no_other(tiny, capfd):
    tiny["timeout"] = {"step": 4}
    names = [*REFUSED, *HARMLESS]
    tiny["losses"] = {n: {"use": f"tests.hostile_losses:{n}", "at": 1} for n in names} | {
        "dice": {}
    }
    with pytest.raises(ConfigError) as error:
        check.check(study_of(tiny))
    capfd.readouterr()
    problems = dict(zip(REFUSED, error.value.problems, strict=True))
    for name, problem in problems.items():
        assert problem.startswith(f"losses.{name}: ")
        assert REFUSED[name] in problem
        assert len(problem) <= 2000
    assert "tests.hostile_losses" not in sys.modules


def test_a_module_that_harms_its_process_when_imported_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    bodies = {
        "segfaults": "import ctypes; ctypes.string_at(0)",
        "exits": "import sys; sys.exit(1)",
        "moves": "import os; os.chdir('/')\nfrom tests.user_losses import MyLoss as Loss",
    }
    for name, body in bodies.items():
        tmp_path.joinpath(f"at_import_{name}.py").write_text(f"{body}\n")
    importlib.invalidate_caches()
    tiny["losses"] = {name: {"use": f"at_import_{name}:Loss"} for name in bodies}
    with pytest.raises(ConfigError) as error:
        check.check(study_of(tiny))
    first, second = error.value.problems
    assert "losses.segfaults" in first
    assert "ended by signal 11" in first
    assert "losses.exits" in second
    assert "ended by SystemExit: 1" in second


@pytest.mark.parametrize("classes", [(1, False), (3, False), (2, True)])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_of_the_suite_passes_the_check(name, classes):
    check.check_loss(name, {"use": name}, check.Shape(*classes))
    assert check.stranded({"use": name}, [classes]) is None
