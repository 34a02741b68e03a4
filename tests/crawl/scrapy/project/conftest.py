"""A Scrapy project of a test's own, beside settings.toml, whose spiders run in the real child process."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from tests.servers.pages import PageSite
from tests.servers.program import Program

SETTINGS = 'BOT_NAME = "shop"\nSPIDER_MODULES = ["shop.spiders"]\nNEWSPIDER_MODULE = "shop.spiders"\n'


class Project:
    """The folder `project` of a Scrapy project with the package `shop`."""

    def __init__(self, program: Program, site: PageSite) -> None:
        self.program = program
        self.site = site
        self.folder = program.folder / "project"
        self.write("scrapy.cfg", "[settings]\ndefault = shop.settings\n")
        self.write("shop/__init__.py", "")
        self.write("shop/spiders/__init__.py", "")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project. SITE stands for the URL of the site."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).replace("SITE", self.site.url), "utf-8")

    def settings(self, more: str = "") -> None:
        self.write("shop/settings.py", SETTINGS + textwrap.dedent(more))

    def toml(self, more: str = "", *, spider: str = "products") -> None:
        self.program.write(f'[spiders.s]\nproject = "project"\nspider = "{spider}"\nrobots = false\n' + textwrap.dedent(more))

    def run(self, *, succeeds: bool = True) -> str:
        """Run the spider once, and return what the program printed."""
        done = self.program.run("run", "s")
        assert (done.returncode == 0) == succeeds, self.log() + done.stdout + done.stderr
        return done.stdout + done.stderr

    def items(self) -> list[dict[str, object]]:
        lines = self.program.run("items", "s", "--format", "jsonl").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def log(self) -> str:
        """The logs of all runs."""
        return "".join(file.read_text("utf-8") for file in sorted((self.program.data / "logs" / "runs").glob("*.log")))

    def file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def project(program: Program, site: PageSite) -> Project:
    return Project(program, site)
