"""The house keeps its shape: who may import whom, and the package list is complete."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "datasets": {"datasets"},
    "engine": {"engine"},
    "reports": {"reports"},
    "exporters": {"exporters", "engine"},
    "bench": {"bench", "datasets", "engine", "exporters", "reports"},
}
SOURCES = [path for layer in ALLOWED for path in sorted((ROOT / layer).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_layer_imports_only_what_lies_below_it(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("uadbench.")}
    assert ours <= ALLOWED[layer] | {"models"}
    assert not {name.split(".")[0] for name in imported(path)} & set(ALLOWED), "import as uadbench.<layer>"


def test_data_sets_and_reports_know_no_torch() -> None:
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in ("datasets", "reports"):
            assert not any(name.split(".")[0] == "torch" for name in imported(path)), path


def test_every_file_is_under_300_lines() -> None:
    paths = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
    assert not {path: n for path in paths if (n := len(path.read_text(encoding="utf-8").splitlines())) >= 300}


def test_there_is_no_drawer_for_everything() -> None:
    assert not [path for path in SOURCES if path.stem in ("core", "common", "utils", "helpers")]


def test_every_folder_with_python_is_in_the_package_list() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    present = {"uadbench." + ".".join(folder.parts) for folder in folders}
    assert present | {"uadbench", "uadbench.models"} == listed
    missing = [name for name in listed if not (ROOT / Path(*name.split(".")[1:])).is_dir()]
    assert not missing


def test_every_file_that_the_code_ships_is_package_data() -> None:
    """A wheel holds only what package-data names; a data file that it does not name works from a checkout only."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {
        path for package, globs in data.items() for glob in globs for path in package_path(package).glob(glob)
    }
    for layer in (*ALLOWED, "models"):
        for path in (ROOT / layer).rglob("*"):
            if path.suffix in (".csv", ".toml", ".safetensors", ".html", ".j2", ".css", ".js"):
                if "results" in path.relative_to(ROOT).parts:  # committed results are not part of the package
                    continue
                assert path in shipped, path.relative_to(ROOT)


def package_path(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])
