"""Tests of `pipeline archive`: list, show and export, as a user runs them."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.model import RenderedPage
from pipeline.store import open_store
from tests.archive.exchanges import NOW, exchange, warcio_check
from tests.archive.filled import add_segment, close_day
from tests.servers.program import Program

DAY = timedelta(days=1)
URL = "https://www.books.example/terms"
PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.fixture
def archived(program: Program) -> Program:
    """A program with an archive of one page on three days."""
    program.pipeline = 'timezone = "Europe/Berlin"\n'
    program.write("""
        [spiders.books]
        start = "https://www.books.example/"
        archive = { redact_params = ["session"] }
        [spiders.idle]
        start = "https://www.books.example/"
        """)
    store = open_store(program.data)
    for ago, days in ((3, 14), (2, 14), (1, 30)):
        at = NOW - ago * DAY
        body = f"<p>A refund takes {days} days.\x1b[31m</p>".encode()
        add_segment(store, [exchange("/terms", at=at, body=body, rendered=RenderedPage(b"<p>built</p>", PNG) if ago == 1 else None)], now=at)
    close_day(store, f"{NOW - 3 * DAY:%Y-%m-%d}", now=NOW)
    store.close()
    return program


@pytest.mark.parametrize("arguments", [("list", "books", "--url", URL), ("show", "books", URL), ("export", "books", "--output", "books.wacz")])
def test_without_its_extra_the_archive_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setattr("pipeline.archive.installed.find_spec", lambda module: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.toml").write_text('[spiders.books]\nstart = "https://www.books.example/"\n')
    open_store(tmp_path / "var").close()
    found = CliRunner().invoke(main, ["archive", *arguments])
    assert (found.exit_code, "pip install 'crawl-to-inbox[archive]'" in found.output + found.stderr) == (2, True)


def test_days_records_and_pages_are_listed(archived: Program) -> None:
    lines = archived.run("archive", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["2026-11-27", "2026-11-28", "2026-11-29"]
    assert "archive/books/2026-11-27.warc.gz  no timestamp" in lines[0]
    assert lines[2].endswith("the day is not closed yet")
    found = json.loads(archived.run("archive", "list", "books", "--since", "2026-11-28", "--until", "2026-11-28", "--json").stdout)
    assert [(each["day"], each["state"], each["oldest_day"]) for each in found] == [("2026-11-28", "segment", "2026-11-27")]
    records = archived.run("archive", "list", "books", "--url", f"{URL}#top").stdout.splitlines()
    assert [line.split()[:4] for line in records] == [["2026-11-29", "13:00:00", "200", "text/html"], ["2026-11-28", "13:00:00", "200", "unchanged"],
                                                     ["2026-11-27", "13:00:00", "200", "text/html"]]
    assert archived.run("archive", "list", "books", "--url", "term").stdout == f"2026-11-29 13:00:00  {URL}\n"
    assert "no archived page has 'nothing'" in archived.run("archive", "list", "books", "--url", "nothing").stderr
    assert archived.run("archive", "idle").stderr == "idle: nothing is archived\n"
    for arguments, message in ((("list", "bookz"), "no spider named 'bookz' (did you mean 'books'?)"), (("list", "--url", "x"), "--url needs the name of a spider")):
        refused = archived.run("archive", *arguments)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_a_page_is_shown_as_it_was_at_a_time(archived: Program) -> None:
    now = archived.run("archive", "show", "books", URL)
    assert now.stdout == "<p>A refund takes 30 days.\x1b[31m</p>"
    first, *others = now.stderr.splitlines()
    assert first.startswith(f"books: {URL} as of 2026-11-29 13:00:00 CET, status 200, sha256:")
    assert others == ["  records before: 2026-11-28 13:00:00 CET", "  redacted: request header Cookie, response header Set-Cookie"]
    then = archived.run("archive", "show", "books", URL, "--at", "2026-11-28")
    assert "14 days" in then.stdout
    assert "the content has not changed since the record of 2026-11-27 13:00:00 CET" in then.stderr
    early = archived.run("archive", "show", "books", URL, "--at", "2026-11-01 08:00")
    assert "nothing was archived up to 2026-11-01 08:00:00 CET; this is the first record after that" in early.stderr
    headers = archived.run("archive", "show", "books", URL, "--headers").stdout
    assert headers.startswith("HTTP 200 OK\nContent-Type: text/html")
    assert "c0ffee" not in headers
    assert archived.run("archive", "show", "books", URL, "--dom").stdout == "<p>built</p>"
    assert archived.run("archive", "show", "books", URL, "--screenshot", "--output", "page.png").returncode == 0
    assert (archived.folder / "page.png").read_bytes() == PNG
    assert archived.run("archive", "show", "books", URL, "--record", "--output", "page.warc.gz").returncode == 0
    assert warcio_check(archived.folder / "page.warc.gz") == ""
    for arguments, message in (((URL, "--at", "soon"), "--at: 'soon' is not a time"), ((URL, "--dom", "--at", "2026-11-28"), "this record has no page of a browser"), (("https://www.books.example/no",), "the archive has no record of")):
        refused = archived.run("archive", "show", "books", *arguments)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_a_record_says_if_it_answers_a_form_or_has_another_url(archived: Program) -> None:
    with closing(open_store(archived.data)) as store:
        add_segment(store, [exchange("/find", method="POST", body=b"one"), exchange("/find", after_s=1, body=b"form")], now=NOW)
    url = f"{URL.removesuffix('terms')}find"
    assert [line.split()[5:] for line in archived.run("archive", "list", "books", "--url", url).stdout.splitlines()] == [[], ["POST"]]
    assert [line.split()[5:] for line in archived.run("archive", "list", "books", "--url", f"{url}/").stdout.splitlines()] == [[url], ["POST", url]]
    shown = archived.run("archive", "show", "books", url, "--at", f"{NOW:%Y-%m-%d %H:%M:%S.%f}+00:00")
    assert (shown.stdout, shown.stderr.partition(" as of ")[0]) == ("one", f"books: POST {url}")


def test_a_spider_is_exported(archived: Program) -> None:
    done = archived.run("archive", "export", "books", "--output", "books.wacz", "--since", "2026-11-28")
    assert done.returncode == 0, done.stderr
    assert "3 files, 1 of them from earlier days, to which others refer to books.wacz" in done.stdout
    assert (archived.folder / "books.wacz").stat().st_size > 1000
    none = archived.run("archive", "export", "idle", "--output", "idle.wacz")
    assert (none.returncode, none.stderr) == (1, "idle: the archive has no pages of this spider; `pipeline archive list idle` lists its days\n")
