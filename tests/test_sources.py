"""A run's code: everything that its numbers come from, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.layout import FETCHED
from experiments.plan.dataset import stats
from experiments.plan.sources import closure, sources
from experiments.plan.study import Study
from tests.conftest import write_folder

ROOT = Path(__file__).parents[1]

EDITS = {
    "hit": ("experiments/runs/records.py", "HIT = 0.5", "HIT = 0.9"),
    "size": ("experiments/runs/records.py", '"small": (0, 32)', '"small": (0, 999)'),
    "prediction": ("experiments/runs/fit.py", "device, cell.val_ignored,", "device, None,"),
    "seed": ("experiments/plan/seeds.py", "digest[:8]", "digest[8:16]"),
    "mask": ("experiments/data/layers.py", "== self.foreground", "!= self.foreground"),
    "overlap": ("losses/overlap.py", "2 * s.overlap", "3 * s.overlap"),
    "figure": ("analysis/figures/style.py", "WIDTH", "WIDTHS"),
    "score": ("analysis/scores/metrics.py", "def share", "def shares"),
    "door": ("experiments/door.py", "def main", "def door"),
    "plan": ("experiments/plan/study.py", "class Study", "class Plan"),
    "another loss": ("losses/registry.py", "LOSSES: dict", "OTHERS = {}\nLOSSES: dict"),
}
"""Name -> file, text, its replacement."""
AFFECTED = {
    "hit": {"dice evaluate", "cross_entropy evaluate"},
    "size": {"dice evaluate", "cross_entropy evaluate"},
    "prediction": {"dice train", "cross_entropy train"},
    "seed": {"dice train", "cross_entropy train"},
    "mask": {
        f"{loss} {part}" for loss in ("dice", "cross_entropy") for part in ("train", "evaluate")
    },
    "overlap": {"dice train"},
    "figure": set(),
    "score": set(),
    "door": set(),
    "plan": set(),
    "another loss": set(),
}
"""Edit -> the parts of a run's code that it makes invalid."""

SCRIPT = """
import json, sys
from pathlib import Path
from experiments.runs import provenance

def codes():
    found = {loss: provenance.code({"use": loss}) for loss in ("dice", "cross_entropy")}
    return {f"{loss} {part}": c for loss, code in found.items() for part, c in code.items()}

before, changed = codes(), {}
for name, (file, old, new) in json.load(sys.stdin).items():
    text = Path(file).read_text()
    assert old in text, (file, old)
    Path(file).write_text(text.replace(old, new))
    after = codes()
    changed[name] = [part for part in before if before[part] != after[part]]
    Path(file).write_text(text)
print(json.dumps(changed))
"""


def test_a_change_makes_invalid_exactly_the_runs_that_it_affects(tmp_path):
    for package in ("losses", "experiments", "analysis"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(EDITS),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert output.returncode == 0, output.stderr
    changed = {name: set(parts) for name, parts in json.loads(output.stdout).items()}
    assert changed == AFFECTED


def test_a_module_is_made_of_its_imports():
    files = sources("experiments.data.objects")
    assert files == [
        "experiments/__init__.py",
        "experiments/data/__init__.py",
        "experiments/data/objects.py",
    ]
    assert sources("numpy", "json", "no_such_module") == []
    claims = {name for name in closure("analysis.claims") if name.startswith("analysis.claims.")}
    assert claims >= {"analysis.claims.imbalance", "analysis.claims.noise"}


def test_type_checking_imports_are_no_imports(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import two\nfrom pack import sub\n"
    )
    (tmp_path / "two.py").write_text("")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from . import other\n")
    (tmp_path / "pack" / "sub.py").write_text("from .other import x\n")
    (tmp_path / "pack" / "other.py").write_text("x = 1\n")
    assert set(closure("one")) == {"one", "pack", "pack.sub", "pack.other"}


def test_a_file_with_a_syntax_error_is_part_of_the_sources(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_text("class A(\n")
    assert set(closure("broken")) == {"broken"}


CUSTOM = {
    "alone": {"use": "brought:Loss"},
    "sum": {"sum": {"mine": {"weight": 1, "use": "brought:Loss"}}},
    "blob": {"use": "blob", "criterion": {"use": "brought:Loss"}},
    "schedule": {"use": "ce_to_dice", "last": {"use": "brought:Loss"}},
}


@pytest.mark.parametrize("edited", ["brought.py", "helping.py"])
@pytest.mark.parametrize("spec", CUSTOM)
def test_a_custom_loss_counts_wherever_it_is_used(tmp_path, monkeypatch, spec, edited):
    from experiments.runs import provenance

    (tmp_path / "helping.py").write_text("x = 1\n")
    (tmp_path / "brought.py").write_text(
        "import helping\nfrom torch import nn\nclass Loss(nn.Module):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = provenance.code(CUSTOM[spec])
    with (tmp_path / edited).open("a") as file:
        file.write("y = 2\n")
    after = provenance.code(CUSTOM[spec])
    assert after["train"] != before["train"]
    assert after["evaluate"] == before["evaluate"]


@pytest.mark.parametrize("file", ["images/1.png", "masks/1.png", "images/deeper/1.png"])
def test_a_file_that_is_corrected_in_place_changes_the_data(tiny, in_tmp, file):
    write_folder(in_tmp / "own", 6)
    (in_tmp / "own" / "images" / "deeper").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(in_tmp / "own" / "images" / "deeper" / "1.png")
    tiny["datasets"] = {"own": {"folder": "own"}}
    before = Study(tiny).data_fingerprint("own")
    assert Study(tiny).data_fingerprint("own") == before
    path = in_tmp / "own" / file
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(path)
    assert Study(tiny).data_fingerprint("own") != before


def test_a_download_alone_changes_no_data_and_a_correction_after_it_does(tiny, in_tmp):
    tiny["datasets"] = {"wbc": {}}
    before = Study(tiny).data_fingerprint("wbc")
    write_folder(in_tmp / "data" / "wbc", 6)
    folder = in_tmp / "data" / "wbc"
    (folder / "dataset.json").write_text("{}\n")
    (folder / FETCHED).write_text(json.dumps(stats(folder)))
    assert Study(tiny).data_fingerprint("wbc") == before
    path = folder / "masks" / "1.png"
    times = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Study(tiny).data_fingerprint("wbc") != before


@pytest.mark.parametrize("kind", ["site-packages", "dist-packages"])
def test_an_installed_library_is_no_part_of_the_project(tmp_path, monkeypatch, kind):
    """Debian installs into dist-packages, which no path of the environment names."""
    for folder in (kind, "mine"):
        (tmp_path / folder / f"in_{folder[:4]}").mkdir(parents=True)
        (tmp_path / folder / f"in_{folder[:4]}" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / folder)
    assert closure("in_mine").keys() == {"in_mine"}
    assert closure(f"in_{kind[:4]}") == {}


@pytest.mark.parametrize("package", ["losses", "dicebench.losses"])
@pytest.mark.parametrize(
    ("line", "modules"),
    [
        ("from {} import DiceLoss", {"overlap"}),
        ("from {}.overlap import DiceLoss", {"overlap"}),
        ("from {} import SumLoss", {"hybrid"}),
        ("from {} import build", {"overlap", "hybrid", "boundary", "objects", "size"}),
        ("from {} import nearest", set()),
    ],
)
def test_a_custom_loss_counts_with_the_losses_that_it_imports(
    tmp_path, monkeypatch, package, line, modules
):
    (tmp_path / "derived.py").write_text(line.format(package) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = closure("derived")
    stems = {path.stem for path in found.values()}
    assert {name.partition(".")[0] for name in found} == {"derived", "losses"}
    families = {"overlap", "likelihood", "hybrid", "boundary", "objects", "size"}
    assert modules <= stems
    assert modules or not families & stems
