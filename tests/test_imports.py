"""Tests of the modules: imports without circles, import contracts, short first lines."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules() -> dict[str, Path]:
    found = {}
    for path in [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("spiders/*.py")]:
        if "versions" not in path.parts:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of this program that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                for name in (f"{node.module}.{alias.name}", node.module):
                    if name in known:
                        yield name
                        break


def test_the_first_line_of_each_module_says_in_100_characters_what_it_is() -> None:
    of_tests = (path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
                if not any(part in ("data", "node_modules") or part.startswith(".") for part in path.relative_to(ROOT).parts))  # what is installed there
    found = {str(path.relative_to(ROOT)): re.match(r'(?:#.*\n)*r?"""(.*?)(?:"""|\n)', path.read_text("utf-8")) for path in (*modules().values(), *of_tests)}
    lines = {path: match[1] if match else "" for path, match in found.items()}
    assert len(lines) > 1000
    assert {path: line for path, line in lines.items() if not 0 < len(line) <= 100} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    assert len(known) > 100
    graph = {name: {other for other in imports(path, known) if other != name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import each other: {' <- '.join(error.args[1])}")


def test_every_package_is_in_the_layers_of_the_import_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")
    named = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    packages = {path.stem for path in (ROOT / "pipeline").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert packages - {"__init__", "__main__"} == named
