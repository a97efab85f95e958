"""The project's shape: layers, light imports, sizes, wording, and sources against real imports."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import code
from experiments.plan.sources import sources

ROOT = Path(__file__).parents[1]
PROJECT = {"losses", "experiments", "analysis", "benchmarks", "docs", "tests"}
BELOW = {"losses": {"losses"}, "experiments": {"losses", "experiments"}}
BELOW["analysis"] = {"losses", "experiments", "analysis"}
LOSSES_NEED = {"torch", "numpy", "scipy", "jaxtyping"}
HEAVY = ("torch", "numpy", "pandas")


def modules(package):
    """Names of all modules of a package, from its files."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Top names of all absolute imports of a file, those for type checkers and in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def loaded(*names):
    """Name -> file of all modules that a fresh Python has after it imported the given ones."""
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "for name, module in list(sys.modules.items()):\n"
        "    print(name, getattr(module, '__file__', None) or '', sep='\\t')\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)


@pytest.mark.parametrize("package", BELOW)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    higher = PROJECT - BELOW[package]
    wrong = {(path.name, top) for path in files for top in imported(path) if top in higher}
    assert not wrong


def test_losses_need_arrays_and_torch_only():
    allowed = {*sys.stdlib_module_names, *LOSSES_NEED, "losses"}
    tops = {top for path in (ROOT / "losses").rglob("*.py") for top in imported(path)}
    assert tops <= allowed


def test_no_module_of_analysis_loads_torch():
    names = list(modules("analysis"))
    assert len(names) > 20
    assert "torch" not in loaded(*names)


@pytest.mark.parametrize("module", ["losses", "experiments.plan.study"])
def test_a_plan_needs_no_heavy_library(module):
    present = loaded(module)
    assert module in present
    assert [name for name in HEAVY if name in present] == []


@pytest.mark.parametrize(
    "module",
    [
        "experiments.runs.fit",
        "experiments.runs.evaluate",
        "experiments.data.prepare",
        "analysis.verdicts",
        "analysis.figures.draw",
        "analysis.report.report",
    ],
)
def test_sources_contain_every_real_import(module):
    files = {Path(file) for file in loaded(module).values() if file}
    real = {
        os.path.relpath(file)
        for file in files
        if file.is_relative_to(ROOT) and "site-packages" not in file.parts
    }
    listed = set(sources(module))
    assert os.path.relpath(ROOT / f"{module.replace('.', '/')}.py") in real
    assert real <= listed
    assert all(Path(file).is_file() for file in listed)


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("fit", {"evaluate", "truth", "records", "table", "study", "config"}),
        ("evaluate", {"fit", "models", "study"}),
    ],
)
def test_a_change_of_evaluation_needs_no_training_and_the_reverse(module, foreign):
    names = {Path(file).stem for file in sources(f"experiments.runs.{module}")}
    assert module in names
    assert not names & foreign


@pytest.fixture(scope="module")
def files():
    """All Python files of the project, measured once."""
    return code.now()


def test_no_file_is_too_long(files):
    assert [(s.path, s.lines) for s in files if s.lines > code.FILE_LINES] == []


def test_no_function_is_too_long(files):
    assert [line for s in files for line in s.long_functions] == []


def test_no_function_has_too_many_parameters(files):
    assert [line for s in files for line in s.wide_functions] == []


@pytest.mark.parametrize("package", BELOW)
def test_few_free_relative_clauses(files, package):
    own = code.by_package(files)[package]
    for pattern in (code.RELATIVE, code.ARCHAIC):
        places = [line for source in own for line in source.mentions(pattern)]
        assert code.rate(own, pattern) <= code.RELATIVES, "\n".join(places)


def test_measures_of_a_known_file():
    text = '''"""What it is."""

LIMIT = 3
"""Whose limit."""


class A:
    def __init__(self, a: int, *, b, c: str = "x"):  # told
        self.a = a

    @staticmethod
    def f(a, b, c, d, e, /, f, *rest, **more):
        """Return a."""
        # a comment
        return a

    def _hidden(self, a):
        def inner(b): ...
'''
    source = code.Source("experiments/a.py", text)
    measured = code.measures([source])
    assert measured["lines"] == "18"
    assert measured["lines of docstrings and comments"] == "4"
    assert measured["lines of code"] == "9"
    assert measured["annotated public parameters"] == "22%"  # 2 of 9
    assert source.mentions(code.RELATIVE)[1] == "experiments/a.py:4 Whose"
    assert source.wide_functions == ["experiments/a.py:12 A.f 8"]
    assert measured['"what", "whose" per 1,000 words'] == f"{1000 * 2 / 10:.1f}"
    options = ", ".join(f"o{i}=0" for i in range(9))
    wide = f"class L:\n    def __init__(self, *, {options}): ...\n"
    assert code.Source("losses/a.py", wide).wide_functions == []
    assert len(code.Source("analysis/a.py", wide).wide_functions) == 1


def test_the_plan_loads_no_heavy_library():
    code = (
        "import sys; import experiments.plan.study; "
        "bad = {'torch', 'numpy', 'pandas', 'scipy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
