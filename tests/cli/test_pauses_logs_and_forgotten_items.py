"""Tests of the commands that pause spiders, mute digests, show logs and forget items.

And of the help for a mistyped command.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.cli.suggestions import meant
from tests.servers.pages import PageSite
from tests.servers.program import Program, eventually

SETTINGS = """
    [spiders.books]
    start = "{url}/"
    robots = false
    schedule = "every 1h"
    [spiders.books.items]
    each = "p"
    key = ["name"]
    [spiders.books.items.fields]
    name = "b"
    price = {{ css = "i", type = "number" }}
    [digests.daily]
    spiders = ["books"]
    to = ["me@example.com"]
    """


@pytest.fixture
def crawled(program: Program, site: PageSite) -> Program:
    site.pages = {"/": "<p><b>Atlas</b><i>1</i></p><p><b>Bible</b><i>2</i></p>"}
    program.write(SETTINGS.format(url=site.url))
    assert program.run("run", "books").returncode == 0
    return program


def test_a_pause_has_an_end_and_a_reason_and_is_shown(crawled: Program) -> None:
    assert crawled.run("pause", "books", "--for", "7d", "--reason", "on holiday").stdout.startswith("books: paused until ")
    shown = crawled.run("next").stdout
    assert "paused until " in shown
    assert "paused: on holiday" in shown
    until = datetime.fromisoformat(json.loads(crawled.run("next", "--json").stdout)[1]["pause_ends"])
    assert timedelta(days=6) < until - datetime.now(UTC) < timedelta(days=7)
    assert crawled.run("pause", "books").stdout == "books: paused until `pipeline resume`\n"
    assert crawled.run("resume", "--all").stdout == "books: resumed\n"
    assert crawled.run("resume", "books").stdout == "books: was not paused\n"
    assert "paused" not in crawled.run("next").stdout


@pytest.mark.parametrize(("arguments", "why"), [
    (("pause",), "name the spiders to pause, or give --all"),
    (("pause", "books", "--all"), "name the spiders to pause, or give --all"),
    (("pause", "boks"), "no spider named 'boks' (did you mean 'books'?)"),
    (("pause", "books", "--for", "week"), "neither a duration"),
    (("pause", "books", "--until", "2020-01-01"), "in the past"),
    (("pause", "books", "--for", "1d", "--until", "18:00"), "not both"),
    (("digest", "mute", "daily"), "give --until TIME or --for DURATION"),
    (("digest", "mute", "dayly", "--for", "1d"), "no digest named 'dayly'"),
    (("logs", "boks"), "no spider named 'boks'"),
    (("logs", "99"), "there is no run 99"),
    (("items", "forget", "books"), "give the keys of the items to forget, or --all"),
    (("items", "forget", "boks", "--all"), "no spider named 'boks'"),
    (("stop", "9" * 30), "there is no run"),
    (("digest", "mut", "daily"), "did you mean `pipeline digest mute`?"),
    (("items", "forgt", "books"), "did you mean `pipeline items forget`?"),
    (("unpase", "books"), "did you mean `pipeline resume`?"),
])
def test_wrong_usage_is_refused_with_the_reason(program: Program, arguments: tuple[str, ...], why: str) -> None:
    program.write(SETTINGS.format(url="http://127.0.0.1:9"))
    done = program.run(*arguments)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def test_a_muted_digest_waits_and_reports_everything_when_the_mute_ends(crawled: Program) -> None:
    assert crawled.run("digest", "mute", "daily", "--for", "2h").stdout.startswith("daily: muted until ")
    assert "paused until " in next(line for line in crawled.run("next").stdout.splitlines() if "digest daily" in line)
    settings = crawled.folder / "settings.toml"
    settings.write_text(settings.read_text("utf-8").replace("every 1h", "every 1s"), "utf-8")
    crawled.serve()
    eventually(lambda: len([run for run in crawled.history() if run["ended"]]) > 2, within_s=60)
    assert json.loads(crawled.run("outbox", "list", "--sent", "--json").stdout) == []
    assert crawled.run("digest", "unmute", "daily").stdout == "daily: unmuted\n"
    sent, = eventually(lambda: json.loads(crawled.run("outbox", "list", "--sent", "--json").stdout), within_s=60, every_s=0.3)
    assert "Atlas" in sent["subject"]
    assert crawled.run("digest", "unmute", "daily").stdout == "daily: was not muted\n"
    assert crawled.stop() == 0


def test_a_forgotten_item_is_new_again_and_never_gone(crawled: Program, site: PageSite) -> None:
    assert crawled.run("items", "forget", "books", "Atlas").stdout == "books: forgot Atlas\n"
    done = crawled.run("items", "forget", "books", "Atlas", "Bible")
    assert (done.returncode, done.stdout) == (2, "books: forgot Bible\n")
    assert "no stored item has the key" in done.stderr
    site.pages = {"/": "<p><b>Atlas</b><i>1</i></p>"}
    assert crawled.run("run", "books").returncode == 0
    last = json.loads(crawled.run("history", "books", "--limit", "1", "--json").stdout)[0]["progress"]
    assert (last["new"], last["gone"]) == (1, 0)
    assert crawled.run("items", "forget", "books", "--all").returncode == 1  # nobody answers the question
    assert crawled.run("items", "forget", "books", "--all", "--yes").stdout == "books: 1 item forgotten\n"
    assert crawled.run("items", "books").stdout == ""


def test_the_log_of_a_run_is_printed_by_spider_number_level_and_as_json(crawled: Program) -> None:
    whole = crawled.run("logs").stdout
    assert whole == crawled.run("logs", "books").stdout == crawled.run("logs", "1", "--follow").stdout
    assert whole
    lines = [json.loads(line) for line in crawled.run("logs", "--json").stdout.splitlines()]
    assert {line["level"] for line in lines} >= {"info"}
    assert crawled.run("logs", "--lines", "1").stdout == whole.splitlines()[-1] + "\n"
    assert "none of its lines has the level error" in crawled.run("logs", "--level", "error").stderr


def test_a_mistyped_command_suggests_the_one_that_means_the_same() -> None:
    names = set(main.commands)
    told = {"pausee": "pause", "pauze": "pause", "suspend": "pause", "unpause": "resume", "kill": "stop", "crawl": "run", "stat": "status",
            "satus": "status", "validate": "check", "tail": "logs", "log": "logs", "cookie": "cookies", "retry": "outbox retry", "send": "digest --send",
            "forget": "items forget", "clean": "prune", "version": "--version", "help": "--help", "PAUSE": "pause", "frobnicate": "", "x": ""}
    assert {name: meant(name, names) for name in told} == told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_printed(program: Program, shell: str) -> None:
    assert "_PIPELINE_COMPLETE" in program.run("completion", shell).stdout


@pytest.mark.parametrize(("words", "found"), [
    ("pipeline pause b", "books"), ("pipeline items b", "books"), ("pipeline archive show b", "books"), ("pipeline digest mute d", "daily"), ("pipeline relo", "reload")])
def test_a_shell_completes_commands_spiders_and_digests(program: Program, words: str, found: str) -> None:
    program.write(SETTINGS.format(url="http://127.0.0.1:9"))
    variables = {"_PIPELINE_COMPLETE": "bash_complete", "COMP_CWORD": str(words.count(" ")), "COMP_WORDS": words}
    done = subprocess.run([Path(sys.executable).with_name("pipeline")], cwd=program.folder, env=program.variables() | variables, text=True,
                          capture_output=True, check=False)
    assert done.stdout == f"plain,{found}\n"


def test_a_token_is_shown_once_and_commands_are_audited_under_the_name_of_the_user(crawled: Program) -> None:
    created = crawled.run("token", "create", "builder", "--read-only")
    assert created.stdout.startswith("plt_")
    assert created.stdout.strip() not in crawled.run("token", "list", "--json").stdout
    assert json.loads(crawled.run("token", "list", "--json").stdout)[0]["scope"] == "read"
    assert crawled.run("token", "create", "builder").returncode == 2
    assert "did you mean 'builder'" in crawled.run("token", "revoke", "buidler").stderr
    assert crawled.run("token", "revoke", "builder").stdout == "builder: revoked\n"
    crawled.run("pause", "books")
    entries = [json.loads(line) for line in crawled.run("audit", "--json").stdout.splitlines()]
    assert [(entry["action"], entry["target"]) for entry in entries] == [
        ("run", "spider books"), ("token create", "token builder"), ("token revoke", "token builder"), ("pause", "spider books")]
    assert {(entry["source"], entry["outcome"]) for entry in entries} == {("command line", "done")}
    assert "(command line)  pause spider books: done" in crawled.run("audit", "--limit", "1").stdout
