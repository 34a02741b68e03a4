"""Run the examples of docs/api.md against a service."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers.pages import PageSite
from tests.servers.program import Program

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


@pytest.mark.needs("curl")
def test_the_examples_do_what_the_page_says(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p><b>Atlas</b></p><p><b>Bible</b></p>"}
    program.write(f"""
        [spiders.books]
        start = "{site.url}/"
        robots = false
        items = {{ each = "p", key = ["name"], fields = {{ name = "b" }} }}
        """)
    assert program.run("run", "books").returncode == 0
    program.serve()
    example, = re.findall(r"```sh\n(TOKEN=.*?)```", PAGE, re.DOTALL)
    example = re.sub(r"20\d\d-01-04", f"{datetime.now(UTC).year + 2}-01-04", example)  # a pause ends in the future, whenever this runs
    script = example.replace("127.0.0.1:8000", f"127.0.0.1:{program.port}").replace("curl ", "curl -sS --fail -w '\\n' ").replace("pipeline token", f"{sys.executable} -m pipeline token")
    done = subprocess.run(["sh", "-ec", script], cwd=program.folder, env=program.variables(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    spiders, run, pause, items, document, revoked = filter(None, done.stdout.split("\n"))
    assert [spider["name"] for spider in json.loads(spiders)["items"]] == ["books"]
    assert json.loads(run)["reason"] == "manual"
    assert json.loads(pause)["pause"]["reason"] == "holidays"
    assert [item["data"]["name"] for item in json.loads(items)["items"]] == ["Atlas"]
    assert json.loads(document)["openapi"] == "3.1.0"
    assert revoked.endswith("ci: revoked")
    assert program.stop() == 0
