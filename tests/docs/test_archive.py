"""Run the examples of docs/archive.md: archive a page, look at it, export it."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

from tests.servers.pages import PageSite
from tests.servers.program import Program

PAGE = (Path(__file__).parents[2] / "docs" / "archive.md").read_text("utf-8")


def test_the_examples_do_what_the_page_says(program: Program, site: PageSite) -> None:
    site.pages = {"/terms": "<h1>Terms</h1><p>A refund takes 14 days.</p>"}
    settings = next(iter(re.findall(r"```toml\n(\[spiders\.terms\].*?)```", PAGE, re.DOTALL)))
    program.write(settings.replace("https://shop.example", site.url) + "robots = false\n")
    first_day = f"{datetime.now(UTC):%Y-%m-%d}"
    assert program.run("run", "terms").returncode == 0
    shown, exported = (block.replace("https://shop.example", site.url) for block in re.findall(r"```sh\n(pipeline archive .*?)```", PAGE, re.DOTALL))
    exported = exported.replace("2026-12-01", first_day).replace("2026-12-31", f"{datetime.now(UTC):%Y-%m-%d}")  # the run may have passed midnight
    for line in (*shown.splitlines(), *exported.splitlines()):
        done = program.run(*shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
        assert done.stdout or "--output" in line
    assert (program.folder / "terms.html").read_text() == site.pages["/terms"]
    assert {path.name for path in program.folder.glob("*.wacz")} == {"terms.wacz", "december.wacz"}
