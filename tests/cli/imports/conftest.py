"""Copies of the files of other programs, in which site.example is a site on loopback."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.pages import PageSite
from tests.servers.program import Program

DATA = Path(__file__).parents[2] / "data" / "imports"


@pytest.fixture
def copied(tmp_path: Path, site: PageSite) -> Callable[..., Path]:
    """Copies files of tests/data/imports to a folder of the test; returns the first copy."""
    def copy(*names: str) -> Path:
        folder = tmp_path / "theirs"
        folder.mkdir(exist_ok=True)
        for name in names:
            shutil.copy(DATA / name, folder / name)
            text = (folder / name).read_bytes()
            (folder / name).write_bytes(text.replace(b"site.example/", f"{site.host}/".encode()))
        return folder / names[0]
    return copy


class Importer:
    """`pipeline import` in the folder of a program. out: what the last import printed."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.out = ""

    def __call__(self, kind: str, file: Path, *arguments: str) -> dict[str, Any]:
        """Import a file, write it, and return the tables of the new file. The variables that it asks for are set."""
        command = ("import-scrapy", str(file)) if kind == "scrapy" else ("import", kind, str(file))
        done = self.program.run(*command, "--write", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        self.out = done.stdout
        created = done.stdout.split(":")[0].removeprefix("created ")
        self.text = (self.program.folder / created).read_text("utf-8")
        for line in self.text.splitlines():
            name = line.removeprefix("#").strip().partition(":")[0]
            if name.isupper() and " " not in name:
                self.program.environment[name] = f"{name.lower()}-value"
        return tomllib.loads(self.text)

    def checked(self) -> str:
        """What `pipeline check` says about the settings, which have no problem."""
        done = self.program.run("check")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ran(self, *spiders: str) -> str:
        done = self.program.run("run", *spiders)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def imports(program: Program) -> Importer:
    program.write("")
    return Importer(program)
