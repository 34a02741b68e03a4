"""Tests of commands that act on a running service.

What they print, do and record is the same as without one.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.program import Program

SETTINGS = """
    [spiders.books]
    start = "{url}/"
    robots = false
    items.fields.title = "h1"
    items.key = ["title"]
    [digests.daily]
    spiders = ["books"]
    to = ["me@books.example"]
    schedule = "0 7 1 1 *"
    [mail]
    maildir = "mails"
    from = "me@books.example"
    [spiders.slow]
    start = [{many}]
    concurrency = 1
    robots = false
    items.fields.title = "h1"
    """
COMMANDS = (
    ("pause", "books", "--until", "2100-01-01", "--reason", "on  holiday"), ("pause", "books", "slow"), ("resume", "books"), ("resume", "books"),
    ("resume", "--all"), ("stop", "books"), ("stop", "99"), ("pause", "boks"), ("digest", "daily", "--send"),
    ("run", "books", "--json"), ("digest", "daily", "--send"), ("digest", "daily", "--send"), ("stop", "1"), ("audit",))
VARIABLE = re.compile(r"\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d|\d+\.\d+( s|\b)|\"(due|started|ended)\": \"[^\"]*\"")


def settings_for(url: str) -> str:
    return SETTINGS.format(url=url, many=", ".join(f'"{url}/slow?{number}"' for number in range(100)))


@pytest.fixture(scope="module")
def pages() -> Iterator[PageSite]:
    with PageSite() as site:
        site.pages = {"/": "<h1>Atlas</h1>", "/slow": "<h1>Late</h1>"}
        yield site


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, pages: PageSite) -> Iterator[Program]:
    """A program whose service is up."""
    found = Program(tmp_path_factory.mktemp("served"), free_port())
    found.write(settings_for(pages.url))
    found.serve()
    yield found
    found.close()


def test_each_command_prints_the_same_and_exits_the_same_with_and_without_a_service(served: Program, program: Program, pages: PageSite) -> None:
    program.write(settings_for(pages.url))
    for arguments in COMMANDS:
        with_service, without = served.run(*arguments), program.run(*arguments)
        shown = [VARIABLE.sub("…", done.stdout.replace(", 127.0.0.1", "").replace(str(at.folder), ""))
                 for done, at in ((with_service, served), (without, program))]
        assert (with_service.returncode, shown[0]) == (without.returncode, shown[1]), (arguments, with_service.stderr, without.stderr)
        errors = [VARIABLE.sub("…", done.stderr).replace(str(at.folder), "") for done, at in ((with_service, served), (without, program))]
        assert arguments[0] == "run" or errors[0] == errors[1], arguments
    assert "performs the run" in served.run("run", "books").stderr
    assert "(command line, 127.0.0.1)  run spider books: done" in served.run("audit").stdout


def test_a_reload_prints_what_has_changed_what_waits_and_what_is_wrong(served: Program, pages: PageSite, tmp_path: Path) -> None:
    settings = served.folder / "settings.toml"
    before = settings.read_text()
    settings.write_text(before.replace("[digests.daily]", 'delay = "1s"\n[digests.daily]').replace("[heartbeat]", 'timezone = "Asia/Tokyo"\n[heartbeat]'))
    try:
        ran = served.run("run", "books")
        assert "uses other settings than the files have now" in ran.stderr
        done = served.run("reload")
        assert (done.returncode, done.stdout) == (0, "reloaded; changed: spiders.books.delay\nwaiting for a restart of the service: pipeline.timezone\n")
        settings.write_text(before.replace("items.fields", "itms.fields"))
        done = served.run("reload")
        assert (done.returncode, done.stdout, done.stderr.count("spiders.books.itms")) == (2, "", 1), done.stderr
    finally:
        settings.write_text(before)
        assert served.run("reload").returncode == 0


def test_ctrl_c_stops_the_run_of_the_service_at_a_checkpoint(served: Program, pages: PageSite) -> None:
    asked = threading.Event()

    def late(_: Asked) -> Answer:
        asked.set()
        threading.Event().wait(0.1)
        return Answer("<h1>Late</h1>")

    pages.pages["/slow"] = late
    with subprocess.Popen([sys.executable, "-m", "pipeline", "run", "slow"], cwd=served.folder, env=served.variables(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert asked.wait(20)
        command.send_signal(signal.SIGINT)
        out, _ = command.communicate(timeout=30)
    assert "slow run " in out
    assert "stopped after" in out
    assert command.returncode == 1


def test_without_a_service_a_reload_says_how_to_start_one(program: Program) -> None:
    program.write(settings_for("http://127.0.0.1:9"))
    done = program.run("reload")
    assert (done.returncode, "start it with `pipeline serve`" in done.stderr) == (9, True)
