"""Tests that each part of the templates, the style sheet and the scripts is used somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, nodes

from pipeline import display, heartbeat, model
from pipeline.heartbeat.http import console

FOLDER = Path(console.__file__).parent
SOURCES = {str(path.relative_to(FOLDER / "templates")): path.read_text("utf-8") for path in (FOLDER / "templates").rglob("*.*")}
TREES = {name: Environment().parse(source) for name, source in SOURCES.items()}
CODE = "".join(path.read_text("utf-8") for package in (display, heartbeat, model) for path in Path(package.__file__).parent.rglob("*.py"))
STATIC = {path.name: path.read_text("utf-8") for path in (FOLDER / "static").iterdir()}


def calls(name: str) -> set[str]:
    """The names that a template calls."""
    return {call.node.name for call in TREES[name].find_all(nodes.Call) if isinstance(call.node, nodes.Name)}


def imported(name: str) -> Iterator[tuple[str, str, str]]:
    """What a template imports: the template, the macro, and its name here."""
    for found in TREES[name].find_all(nodes.FromImport):
        for each in found.names:
            macro, alias = each if isinstance(each, tuple) else (each, each)
            yield found.template.value, macro, alias


def test_each_template_is_named_by_another_one_or_by_code() -> None:
    named = "".join(SOURCES.values()) + CODE + "".join(f'"runs/{name}.html"' for name in ("pages", "rejects", "downloads", "changes"))  # RunListViews makes these names
    assert [name for name in SOURCES if f'"{name}"' not in named] == []


def test_each_macro_is_called_and_each_import_is_used() -> None:
    used = {(name, macro) for name in TREES for macro in calls(name)} | {(source, macro) for name in TREES for source, macro, alias in imported(name) if alias in calls(name)}
    assert [(name, macro.name) for name, tree in TREES.items() for macro in tree.find_all(nodes.Macro) if (name, macro.name) not in used] == []
    assert [(name, macro) for name in TREES for _, macro, alias in imported(name) if alias not in calls(name)] == []


def test_each_parameter_of_a_macro_is_read() -> None:
    assert [(name, macro.name, parameter.name) for name, tree in TREES.items() for macro in tree.find_all(nodes.Macro) for parameter in macro.args
            if parameter.name not in {each.name for each in macro.find_all(nodes.Name) if each.ctx == "load"}] == []


def test_each_class_of_the_style_sheet_is_written_by_a_template_or_by_code() -> None:
    known = set(re.findall(r"[A-Za-z][\w-]*", "".join(SOURCES.values()) + CODE)) | {"row-degraded", "row-paused"}  # row-STATE
    css = re.sub(r"/\*.*?\*/", "", STATIC["style.css"], flags=re.DOTALL)
    assert {name for selector in re.findall(r"([^{}]+){", css) for name in re.findall(r"\.([A-Za-z][\w-]*)", selector)} - known == set()
    assert {name for name in re.findall(r"(--[\w-]+):", css) if f"var({name})" not in css} == set()


def test_what_scripts_look_for_is_in_a_template_and_the_other_way_round() -> None:
    scripts = "".join(text for name, text in STATIC.items() if name.endswith(".js"))
    wanted = set(re.findall(r"\[data-([a-z]+)", scripts)) | set(re.findall(r"dataset\.([a-z]+)", scripts)) | {"took", "label"}  # `data-${name}`; a style sheet reads data-label
    written = set(re.findall(r"\bdata-([a-z]+)", "".join(SOURCES.values())))
    assert (written - wanted, wanted - written - {"shown"}) == (set(), set())  # live.js itself writes data-shown
