"""Tests of each command as docs/commands.md describes it, run as a user runs it."""

from __future__ import annotations

import csv
import email
import email.policy
import io
import json
import mailbox
import zipfile

import pytest

from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program

PAGE = '<div class=p><a href="/i/1">=HYPERLINK("x")</a><b>1,5</b></div><div class=p><a href="/i/2">Zwei 二</a><b>2</b></div>'
SETTINGS = """
    [spiders.s]
    start = "{url}/"
    robots = false
    schedule = "30 7 * * 1-5"
    [spiders.s.items]
    each = ".p"
    key = ["url"]
    [spiders.s.items.fields]
    name = "a"
    url = "a::attr(href)"
    price = {{ css = "b", type = "number" }}
    [digests.d]
    spiders = ["s"]
    to = ["me@example.com"]
    attach = ["csv"]
    """


@pytest.fixture
def crawled(program: Program, site: PageSite) -> Program:
    """A program that has run its spider once."""
    site.pages = {"/": PAGE}
    program.write(SETTINGS.format(url=site.url))
    done = program.run("run", "s")
    assert done.returncode == 0, done.stdout + done.stderr
    return program


def test_items_are_printed_as_json_lines_csv_and_xlsx(crawled: Program, site: PageSite) -> None:
    items = [json.loads(line) for line in crawled.run("items", "s").stdout.splitlines()]
    assert [item["price"] for item in items] == [1.5, 2]
    rows = list(csv.DictReader(io.StringIO(crawled.run("items", "s", "--format", "csv").stdout.removeprefix("\ufeff"))))
    assert [row["name"] for row in rows] == ["'=HYPERLINK(\"x\")", "Zwei 二"]
    assert crawled.run("items", "s", "--format", "xlsx", "--output", "items.xlsx").returncode == 0
    with zipfile.ZipFile(crawled.folder / "items.xlsx") as archive:
        assert "<f>" not in archive.read("xl/worksheets/sheet1.xml").decode()
    assert crawled.run("items", "s", "--output", "items.CSV").returncode == 0
    assert (crawled.folder / "items.CSV").read_text("utf-8").splitlines()[1:] == crawled.run("items", "s", "--format", "csv").stdout.splitlines()[1:]
    assert crawled.run("items", "s", "--output", "items.txt").returncode == 0
    assert json.loads((crawled.folder / "items.txt").read_text("utf-8").splitlines()[0]) == items[0]
    changes = [json.loads(line) for line in crawled.run("items", "s", "--changes").stdout.splitlines()]
    assert {change["change"] for change in changes} == {"new"}


def test_the_outbox_lists_unsent_and_sent_messages_wherever_settings_stands(crawled: Program) -> None:
    def listed(*arguments: str) -> list[dict[str, object]]:
        answer: list[dict[str, object]] = json.loads(crawled.run("outbox", *arguments).stdout)
        return answer

    assert crawled.run("digest", "d", "--send").returncode == 0
    (crawled.folder / "settings.toml").rename(crawled.folder / "other.toml")
    assert listed("list", "--json", "--settings", "other.toml") == []
    sent, = listed("--settings", "other.toml", "list", "--sent", "--json")
    assert (sent["state"], sent["waiting_for"], sent["accepted_for"], sent["error"]) == ("sent", [], ["me@example.com"], "")
    assert "  to me@example.com  “New: " in crawled.run("outbox", "list", "--sent", "--settings", "other.toml").stdout
    assert crawled.run("outbox", "retry", "--all", "--settings", "other.toml").stdout == "no message is waiting or parked\n"
    assert "either the number of a message or --all" in crawled.run("outbox", "retry", "--settings", "other.toml").stderr
    assert "(sent again)" in crawled.run("digest", "d", "--send", "--since", "2026-01-01 00:00", "--to", "ME@Example.com", "--settings", "other.toml").stdout


def test_history_and_next_print_text_or_json(crawled: Program) -> None:
    assert "s run 1: succeeded" in crawled.run("history").stdout
    (run,) = json.loads(crawled.run("history", "s", "--json").stdout)
    assert (run["outcome"], run["progress"]["new"]) == ("succeeded", 2)
    assert "spider s  (30 7 * * 1-5)" in crawled.run("next").stdout
    found = {entry["name"]: entry["next"] for entry in json.loads(crawled.run("next", "--json").stdout)}
    assert "07:30" in found["s"]
    assert found["d"] is None


def test_a_preview_changes_nothing_and_sending_reports_once(crawled: Program) -> None:
    for _ in range(2):
        done = crawled.run("digest", "d", "--preview", "out")
        assert [line.rpartition(".")[2] for line in done.stdout.splitlines()] == ["eml", "html", "txt"]
    message = email.message_from_bytes((crawled.folder / "out" / "d.eml").read_bytes(), policy=email.policy.default)
    assert message["Subject"].startswith("New: ")
    assert crawled.run("digest", "d", "--send").returncode == 0
    assert crawled.run("digest", "d", "--send").stdout == "d: no ended runs to report\n"
    assert len(mailbox.Maildir(crawled.data / "mail")) == 1


def test_an_unchanged_second_run_sends_no_mail(crawled: Program) -> None:
    crawled.run("digest", "d", "--send")
    assert crawled.run("run", "s").returncode == 0
    assert crawled.run("digest", "d", "--send").stdout == "d: nothing new\n"


def test_a_test_mail_lands_in_the_maildir(crawled: Program) -> None:
    done = crawled.run("mail", "test", "--to", "me@example.com")
    assert done.returncode == 0
    assert "Maildir" in done.stdout
    assert len(mailbox.Maildir(crawled.data / "mail")) == 1


def test_cookies_of_a_browser_are_imported_and_shown_masked(crawled: Program, site: PageSite) -> None:
    (crawled.folder / "cookie.txt").write_text("Cookie: session=s3cret-value; b[x]=2; theme=dark")
    assert crawled.run("cookies", "import", "s", "cookie.txt").stdout == "s: 3 cookies imported\n"
    shown = crawled.run("cookies", "show", "s").stdout
    assert "session" in shown
    assert "s3cret-value" not in shown
    site.asked.clear()
    crawled.run("run", "s")
    assert "session=s3cret-value" in site.asked[-1].headers["Cookie"]


@pytest.mark.parametrize("octets", ["José-名-Å".encode(), "José".encode("latin-1")], ids=["UTF-8", "Latin-1"])
def test_octets_of_an_imported_cookie_are_sent_unchanged(crawled: Program, site: PageSite, octets: bytes) -> None:
    (crawled.folder / "cookie.txt").write_bytes(b"Cookie: user=" + octets + b'; quoted="a, b"')
    assert crawled.run("cookies", "import", "s", "cookie.txt").stdout == "s: 2 cookies imported\n"
    assert "user = •••" in crawled.run("cookies", "show", "s").stdout
    site.asked.clear()
    crawled.run("run", "s")
    assert site.asked[-1].headers["Cookie"].encode("latin-1") == b"user=" + octets + b'; quoted="a, b"'


def test_all_spiders_run_and_report_as_json(crawled: Program, site: PageSite) -> None:
    site.pages |= {"/other": "<p>x</p>", "/down": Answer("no", 500)}
    crawled.write(SETTINGS.format(url=site.url) + f"""
    [spiders.other]
    start = "{site.url}/other"
    [spiders.down]
    start = "{site.url}/down"
    retries = 0
    """)
    done = crawled.run("run", "--all", "--json")
    assert {run["spider"]: run["outcome"] for run in json.loads(done.stdout)} == {
        "s": "succeeded", "other": "succeeded", "down": "failed"}
    assert done.returncode == 5


def test_check_connects_only_with_the_option(crawled: Program) -> None:
    done = crawled.run("check", "--connect")
    assert done.returncode == 0
    assert "database: ok" in done.stdout
    assert "mail: ok" in done.stdout


def test_the_schema_is_json(crawled: Program) -> None:
    assert "properties" in json.loads(crawled.run("schema").stdout)


def test_help_names_every_command(program: Program) -> None:
    shown = program.run("--help").stdout
    for command in ("serve", "run", "check", "status", "ping", "digest", "outbox", "history", "next", "items", "login",
                    "cookies", "mail", "init", "schema"):
        assert command in shown
