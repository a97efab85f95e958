"""The wheel: losses that need torch only, the command `dicebench`, and a study with it."""

import json
import re
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import dicebench
import losses
from analysis.report.provenance import commit
from experiments.runs import provenance
from tests.workflow import output

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
SITE = Path(sysconfig.get_paths()["purelib"])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
READ_MAPS = {"boundary", "hausdorff", "blob", "inverse_size_dice", "dice_boundary"}


def run(*words, folder, ok=True, **variables):
    """Run a command outside the repository; return its output."""
    return output(folder, words, variables, ok)


def build(source, folder, *options):
    words = ("build", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    run(UV, *words, *options, source, folder=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "--wheel")


def environment(folder, wheel):
    """An environment with the wheel alone: path of its Python and of its packages."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder, folder=folder.parent)
    python = folder / "bin" / "python"
    run(UV, *("pip", "install", "--offline", "--no-deps", "--python", python, wheel), folder=folder)
    packages = python.parents[1] / SITE.relative_to(sys.prefix)
    assert (packages / "dicebench").is_dir()
    return python, packages


def link(packages, *names):
    """Link installed packages and all that they require into a folder."""
    waiting, done = list(names), set()
    while waiting:
        name = waiting.pop()
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        if name in done:
            continue
        done.add(name)
        tops = {Path(file).parts[0] for file in package.files}
        for top in tops - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(SITE / top)
        required = map(Requirement, package.requires or ())
        waiting += [r.name for r in required if not r.marker or r.marker.evaluate({"extra": ""})]
    assert done >= set(names)


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """Python of an environment with the wheel, torch and all that torch requires."""
    python, packages = environment(tmp_path_factory.mktemp("bare") / "venv", wheel)
    link(packages, "torch")
    return python


ARTICLE = """
import importlib.util, torch
absent = ("numpy", "scipy", "jaxtyping", "experiments", "snakemake")
assert not any(map(importlib.util.find_spec, absent))
from dicebench.losses import DiceLoss

model = torch.nn.Conv2d(3, 1, 1)
outputs, labels = model(torch.rand(2, 3, 8, 8)), torch.ones(2, 8, 8)
loss_fn = DiceLoss()
loss = loss_fn(outputs, labels)
loss.backward()
assert model.weight.grad.abs().sum() > 0
import losses
assert losses.mine
"""


def test_the_article_s_loop_runs_with_torch_alone(bare, tmp_path):
    """A module `losses` of the user is left alone."""
    (tmp_path / "losses.py").write_text("mine = True\n")
    run(bare, "-c", ARTICLE, folder=tmp_path)


EVERY = """
import json, torch
from dicebench.losses import LOSSES, build

found = {}
for name in LOSSES:
    logits, target = torch.randn(2, 1, 8, 8).requires_grad_(), torch.zeros(2, 8, 8).long()
    target[:, 2:5, 2:5] = 1
    try:
        build(name)(logits, target).backward()
        found[name] = bool(logits.grad.abs().sum() > 0)
    except ImportError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def every(python, folder, **variables):
    return json.loads(run(python, "-W", "ignore", "-c", EVERY, folder=folder, **variables))


def test_every_loss_without_maps_needs_torch_only(bare, tmp_path):
    found = every(bare, tmp_path)
    assert found.keys() == losses.LOSSES.keys()
    assert {name for name in found if found[name] is not True} == READ_MAPS
    for name in READ_MAPS:
        assert "pip install 'dicebench[maps]'" in found[name]


def test_numpy_alone_is_not_enough_for_maps_and_with_scipy_every_loss_runs(bare, tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "both").mkdir()
    link(tmp_path / "numpy", "numpy")
    link(tmp_path / "both", "scipy")
    found = every(bare, tmp_path, PYTHONPATH=str(tmp_path / "numpy"))
    assert {name for name in found if found[name] is not True} == READ_MAPS
    assert all("dicebench[maps]" in found[name] for name in READ_MAPS)
    assert set(every(bare, tmp_path, PYTHONPATH=str(tmp_path / "both")).values()) == {True}


def test_the_command_names_the_extra_that_it_needs(bare, tmp_path):
    command = bare.with_name("dicebench")
    assert run(command, "--version", folder=tmp_path) == f"dicebench {dicebench.__version__}\n"
    assert "dicebench run" in run(command, "--help", folder=tmp_path)
    for words in (("run",), ("report", "results/quick")):
        output = run(command, *words, folder=tmp_path, ok=False)
        assert "pip install 'dicebench[suite]'" in output
        assert output.count("\n") == 1


def test_a_wheel_of_the_source_archive_is_the_same(wheel, tmp_path):
    again = build(ROOT, tmp_path)  # the source archive first, then the wheel from it
    assert next(tmp_path.glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        content = {name: one.read(name) for name in one.namelist()}
        assert content == {name: two.read(name) for name in two.namelist()}
    tracked = [
        path.relative_to(ROOT).as_posix()
        for package in ("losses", "experiments", "analysis")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert {f"dicebench/{name}" for name in tracked} <= content.keys()


def test_the_extras_allow_the_pinned_versions():
    lines = (ROOT / "requirements.in").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    extras = PROJECT["optional-dependencies"]
    suite = {r.name: r for r in map(Requirement, extras["suite"])}
    assert suite.keys() == {pin.name for pin in pins}
    for pin in pins:
        assert suite[pin.name].extras == pin.extras
        assert bool(suite[pin.name].specifier) == bool(pin.specifier)
    texts = [*PROJECT["dependencies"], *extras["maps"], *extras["suite"]]
    for requirement in map(Requirement, texts):
        assert requirement.specifier.contains(metadata.version(requirement.name))


STUDY = {
    "study": "tiny",
    "datasets": {"controlled": {"train": 8, "val": 4, "test": 4}},
    "losses": {"cross_entropy": {}, "dice": {}, "mine": {"use": "my_losses:Mine"}},
    "experiments": {"noise": {"knob": "flips", "values": [0, 0.3]}},
    "seeds": [0, 1],
    "image_size": 32,
    "device": "cpu",
    "training": {
        "steps": 3,
        "batch_size": 2,
        "model_options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    },
}
MINE = """
from dicebench.losses import DiceLoss
import losses

assert DiceLoss is losses.DiceLoss  # and not another copy of the module

class Mine(DiceLoss):
    def __init__(self, **options):
        super().__init__(smooth=1, **options)
"""


@pytest.fixture(scope="module")
def studied(wheel, tmp_path_factory):
    """The command of an installed suite, and a folder of a user where it ran a study.

    The folder is in a git repository, and has modules with the names of the suite's packages.
    """
    python, packages = environment(tmp_path_factory.mktemp("suite") / "venv", wheel)
    (packages / "shared.pth").write_text(f"{SITE}\n")
    command = python.with_name("dicebench")
    folder = tmp_path_factory.mktemp("user")
    (folder / "losses.py").write_text("raise ImportError('of the user')\n")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "__init__.py").write_text("raise ImportError('of the user')\n")
    (folder / "my_losses.py").write_text(MINE)
    (folder / "config.yaml").write_text(yaml.safe_dump(STUDY))
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "first")):
        run("git", *words, folder=folder)
    run(command, "run", "collect", "--cores", "2", folder=folder)
    return command, folder


def test_an_installed_suite_runs_a_study_in_the_current_folder(studied):
    _, folder = studied
    assert list((folder / "results").iterdir()) == [folder / "results" / "tiny"]
    table = (folder / "results" / "tiny" / "runs.csv").read_text()
    assert all(name in table for name in STUDY["losses"])


def test_runs_of_an_installed_suite_have_the_repository_s_code_and_the_release(studied):
    _, folder = studied
    paths = list((folder / "results" / "tiny" / "runs").rglob("run.json"))
    assert len(paths) == 12
    for path in paths:
        record = json.loads(path.read_text())
        assert record["status"] == "ok"
        assert record["commit"] is record["dirty"] is None
        assert commit(record) == record["release"] == f"dicebench {dicebench.__version__}"
        if record["run"]["loss"] == {"use": "dice"}:
            assert record["code"] == provenance.code({"use": "dice"})
    call = json.loads((folder / "results/tiny/origin/calls.jsonl").read_text())
    assert call["command"] == "dicebench run collect --cores 2"
    assert call["commit"] is None
    assert call["losses"]["files"] == ["my_losses.py"]
    assert call["reason"] == f"the code is the installed package dicebench {dicebench.__version__}"


def test_the_command_runs_one_step_again_and_refuses_an_unknown_one(studied):
    command, folder = studied
    table = folder / "results" / "tiny" / "runs.csv"
    before = table.read_bytes()
    table.unlink()
    run(command, "collect", "results/tiny", folder=folder)
    assert table.read_bytes() == before
    output = run(command, "reprot", "results/tiny", folder=folder, ok=False)
    assert re.search(r"'reprot' is not a command \(did you mean 'report'\?\); allowed: run", output)
