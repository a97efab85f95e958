"""Imports point one way: losses <- experiments <- analysis, and analysis knows no torch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "losses": {"experiments", "analysis", "pandas", "matplotlib", "albumentations"},
    "experiments": {"analysis", "matplotlib"},
    "analysis": {"torch", "segmentation_models_pytorch", "albumentations"},
}
KNOWN_TO_ANALYSIS = {"plan", "results", "files", "objects"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & FORBIDDEN[package], path


def test_analysis_knows_plans_and_results_only():
    for path in (ROOT / "analysis").rglob("*.py"):
        for name in imports(path):
            if name.startswith("experiments."):
                assert name.split(".")[1] in KNOWN_TO_ANALYSIS, (path, name)
