"""Tests of the pages of the archive.

What they say of a page, and that nothing of an archived page runs or loads.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from urllib.parse import quote

import pytest
import requests
from lxml import html
from playwright.sync_api import sync_playwright
from sqlalchemy import insert, update
from warcio.archiveiterator import ArchiveIterator

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.console import archive as views
from pipeline.model import RenderedPage
from pipeline.store.database.schema import changes, runs
from pipeline.store.files.archive_files import files_of, note_timestamp
from tests.archive.exchanges import exchange
from tests.archive.filled import add_segment, close_day
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.world import page

URL = "https://www.books.example/terms"
DAY = timedelta(days=1)
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082")


def terms(text, at, **changes):
    return [exchange("/terms", at=at, body=f"<!doctype html><title>Terms</title><link rel=stylesheet href=/a.css><h1>Terms</h1><p>{text}</p>".encode(), **changes)]


@pytest.fixture
def archived(world):
    archive_of_three_days(world)
    return world


def archive_of_three_days(world):
    """Archive a page on three days, unchanged on the second, and other contents on the last."""
    for ago, text in ((3, "A refund takes 14 days."), (2, "A refund takes 14 days."), (1, "A refund takes 30 days.")):
        at = NOW - ago * DAY
        add_segment(world.store, terms(text, at), now=at)
    close_day(world.store, f"{NOW - 3 * DAY:%Y-%m-%d}", now=NOW)
    others = [
        [exchange(path, at=NOW, body=body, response_headers=((b"Content-Type", kind.encode()), *more), **others)] for path, body, kind, more, others in (
            ("/data.json", b'{"a":"\\u003cscript>alert(1)"}', "application/json", (), {}),
            ("/list.csv", "größe;1".encode("cp1252"), "text/csv; charset=windows-1252", (), {}),
            ("/logo", PNG, "image/png", (), {}), ("/paper", b"%PDF-1.7 x", "application/pdf", (), {}), ("/old", b"", "text/html", ((b"Location", b"/terms"),), {"status": 301, "reason": b"Moved"}),
            ("/svg", b"<svg onload=alert(1)>", "image/svg+xml", (), {}), ("/packed", gzip.compress(b"<p>unpacked</p>"), "text/html", ((b"Content-Encoding", b"gzip"),), {}),
            ("/app", b"<div id=root></div>", "text/html", (), {"rendered": RenderedPage(b"<html><body><p>built by a script</p><script>alert(1)</script></body></html>", PNG)}))]
    add_segment(world.store, *others, now=NOW)


def at(url=URL, view="", **query):
    text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in {"url": url, **query}.items())
    return f"/archive/books{view}?{text}"


def frame(browser, url, view="/page", **query):
    answer = browser.get(browser.base + at(url, view, **query), timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "allow" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return answer


def test_a_page_is_shown_as_it_was_at_a_time_with_where_it_comes_from_and_what_was_redacted(browser, archived):
    found = page(browser, at(at=f"{NOW - DAY - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"))
    text = " ".join(found.text_content().split())
    assert "200 OK" in text
    assert "Set-Cookie" in text
    assert "sid=c0ffee" not in text
    assert "c0ffee" not in frame(browser, URL).text
    assert f"Unchanged since{NOW - 3 * DAY:%Y-%m-%d}" in text
    assert "Timestampnone" in text.replace(" ", ""), "no server is asked for timestamps"
    assert "Others may have seen another page. Without a timestamp, the record is as trustworthy as" in text
    assert "1 style sheet" in text
    assert [link.get("rel") for link in found.cssselect("nav.steps a[rel]")] == ["prev", "next"]
    assert [row.text_content().split()[-1] for row in found.cssselect(".captures li")] == ["200", "unchanged", "200"]
    shown, = found.cssselect("iframe")
    assert shown.get("sandbox") == ""
    assert "14 days" in browser.get(browser.base + shown.get("src"), timeout=10).text
    assert "30 days" in frame(browser, URL).text
    early = page(browser, at(at="2020-01-01")).text_content()
    assert "The archive has nothing of this page up to 2020-01-01 23:59:59" in early
    assert "The archive has no record of this page." in page(browser, at("https://www.books.example/never")).text_content()
    assert browser.get(browser.base + at(at="yesterday"), timeout=10).status_code == 400


def test_the_pages_before_and_after_a_change_are_beside_each_other_and_linked_from_the_change(browser, archived):
    run = archived.run("now", 86400)  # it begins in the second in which the page was archived
    with archived.store.write() as connection:
        connection.execute(insert(changes), [
            {"run_id": run.id, "spider": "books", "key": "terms", "kind": kind, "at": NOW - DAY, "before": {"a": 1}, "after": {"a": 2}, "page_url": url}
            for kind, url in (("changed", URL), ("new", URL), ("gone", ""))])
    rows = page(browser, f"/runs/{run.id}/changes").cssselect("tbody tr")
    links = [{link.text_content(): link.get("href") for link in row.cssselect("a[href^='/archive/']")} for row in rows]
    assert [list(each) for each in links] == [[], ["at the change"], ["before", "at the change", "compare"]]
    before, after, both = (page(browser, path) for path in links[2].values())
    assert f"Unchanged since{NOW - 3 * DAY:%Y-%m-%d}" in " ".join(before.text_content().split())
    for found, wanted in ((before, "14 days"), (after, "30 days")):
        assert wanted in browser.get(browser.base + found.cssselect("iframe")[0].get("src"), timeout=10).text
    place, = both.cssselect(".differences li")
    assert [each.text for each in place.cssselect("del, ins")] == ["A refund takes 14 days.", "A refund takes 30 days."]
    frames = [browser.get(browser.base + each.get("src"), timeout=10).text for each in both.cssselect("iframe")]
    assert ["14 days" in frames[0], "30 days" in frames[1]] == [True, True]
    with archived.store.write() as connection:  # an item that is gone from a page that its run did not fetch
        connection.execute(update(runs).where(runs.c.id == run.id).values(started_at=NOW - DAY / 2))
    gone = page(browser, at(view="/compare", at=f"{NOW:%Y-%m-%dT%H:%M:%SZ}", before_run=run.id))
    assert "The run of this change archived nothing of this page: it did not fetch the page" in (text := gone.text_content())
    assert f"The last record before it is of {NOW - DAY:%Y-%m-%d}" in text
    assert not {"The content is the same.", "The visible text is the same."} & set(text.splitlines())
    same = page(browser, at(view="/compare", at=f"{NOW - 2 * DAY:%Y-%m-%dT%H:%M:%SZ}")).text_content()
    assert "The content is the same." in same
    assert "The archive has no record of this page before" in page(browser, at(view="/compare", at=f"{NOW - 3 * DAY:%Y-%m-%dT%H:%M:%SZ}")).text_content()
    forgotten = page(browser, at(at=f"{NOW - DAY:%Y-%m-%dT%H:%M:%SZ}", before_run=999))
    assert "Unchanged since" in forgotten.text_content()


def test_other_contents_are_shown_as_text_or_pictures_or_only_saved(browser, archived):
    base = "https://www.books.example"
    data = frame(browser, f"{base}/data.json", "/text")
    assert data.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert json.loads(data.text) == {"a": "<script>alert(1)"}
    assert frame(browser, f"{base}/list.csv", "/text").text == "größe;1"
    assert frame(browser, f"{base}/packed").text == "<!doctype html><p>unpacked</p>"
    logo = browser.get(browser.base + at(f"{base}/logo", "/picture"), timeout=10)
    assert (logo.headers["Content-Type"], logo.content) == ("image/png", PNG)
    for path in ("/paper", "/svg"):
        assert browser.get(browser.base + at(base + path, "/picture"), timeout=10).status_code == 404
    assert "It can be saved" in page(browser, at(f"{base}/paper")).text_content()
    assert "has no content" in page(browser, at(f"{base}/old")).text_content()
    saved = browser.get(browser.base + at(f"{base}/paper", "/content"), timeout=10)
    assert saved.headers["Content-Type"] == "application/octet-stream"
    assert saved.headers["Content-Disposition"].startswith("attachment;")
    assert saved.content == b"%PDF-1.7 x"
    app = page(browser, at(f"{base}/app"))
    assert [each.get("src").partition("?")[0].rpartition("/")[2] for each in app.cssselect("iframe, img")] == ["screenshot", "dom", "page"]
    assert "<p>built by a script</p></body>" in frame(browser, f"{base}/app", "/dom").text
    record = browser.get(browser.base + at(URL, "/record"), timeout=10).content
    assert [each.rec_type for each in ArchiveIterator(BytesIO(record))] == ["response", "request", "metadata"]


def test_the_days_and_pages_of_an_archive_are_listed_searched_and_saved(browser, archived, monkeypatch):
    found = page(browser, "/archive/books")
    assert [link.text for link in found.cssselect("nav.subnav a[aria-current]")] == ["Archive"]
    assert len(found.cssselect(".archived li")) == 9
    assert [link.text for link in page(browser, "/archive/books?url=terms").cssselect(".archived a")] == [URL]
    assert "No archived page matches" in page(browser, "/archive/books?url=nothing").text_content()
    rows = found.cssselect("tbody tr")
    assert [row.cssselect("th")[0].text for row in rows] == [f"{NOW - days * DAY:%Y-%m-%d}" for days in range(4)]
    saved = browser.get(browser.base + rows[-1].cssselect("a")[0].get("href"), timeout=10)
    assert saved.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''books-{NOW - 3 * DAY:%Y-%m-%d}.warc.gz"
    assert [each.rec_type for each in ArchiveIterator(BytesIO(saved.content))][:2] == ["warcinfo", "response"]
    oldest = files_of(archived.store, "books")[0]
    token = oldest.key.replace(".warc.gz", ".tsr")
    archived.store.files.write(token, b"a token")
    note_timestamp(archived.store, oldest.id, token, at=NOW)
    row = page(browser, "/archive/books").cssselect("tbody tr")[-1]
    assert f"confirmed {NOW:%Y-%m-%d}" in row.text_content()
    assert browser.get(browser.base + row.cssselect("a")[1].get("href"), timeout=10).content == b"a token"
    monkeypatch.setattr(views, "FILES", 2)
    monkeypatch.setattr(views, "CAPTURES", 2)
    following, = page(browser, "/archive/books").cssselect("nav.pages a[rel=next]")
    assert [row.cssselect("th")[0].text for row in page(browser, following.get("href")).cssselect("tbody tr")] == [f"{NOW - days * DAY:%Y-%m-%d}" for days in (2, 3)]
    older, = page(browser, at()).cssselect("nav.pages a[rel=next]")
    assert len(page(browser, older.get("href")).cssselect(".captures li")) == 1
    assert browser.get(f"{browser.base}/archive/unknown", timeout=10).status_code == 404
    assert "no pages of this spider yet" in page(browser, "/archive/idle").text_content()
    assert browser.get(f"{browser.base}/archive/books/files/999", timeout=10).status_code == 404


def test_no_route_shows_records_without_a_token_or_those_of_another_spider_and_none_changes_anything(browser, archived):
    other = add_segment(archived.store, [exchange("https://idle.example/", at=NOW, body=b"<p>of another spider")], now=NOW, spider="idle")
    views = ["", "/compare", "/page", "/dom", "/text", "/picture", "/screenshot", "/content", "/record"]
    routes = [at(view=view) for view in views] + [f"/archive/books/files/{files_of(archived.store, 'books')[0].id}{part}" for part in ("", "/timestamp")]
    for route in routes:
        assert requests.get(browser.base + route, timeout=10).status_code == 403, route
        for method in ("POST", "PUT", "DELETE"):
            assert browser.request(method, browser.base + route, timeout=10).status_code == 405, route
    for route in (f"/archive/books/files/{other.id}", f"/archive/books/files/{other.id}/timestamp", *(at("https://idle.example/", view) for view in views[1:]),
                  at(view="/page").replace("/books/", "/..%2Fbooks/"), at(view="/page").replace("/books/", "/idle/")):
        assert browser.get(browser.base + route, timeout=10).status_code == 404, route
    assert browser.get(f"{browser.base}/archive/idle/files/{other.id}", timeout=10).status_code == 200


def test_an_archive_that_cannot_be_read_says_why(browser, archived):
    for path in archived.store.files.root.glob("archive/books/**/*.warc.gz"):
        path.write_bytes(b"damaged" * 100)
    answer = browser.get(browser.base + at(), timeout=10)
    assert answer.status_code == 503
    assert "archive/books/" in answer.text


HOSTILE = """<!doctype html><html manifest="{0}/manifest"><head><base href="{0}/base/"><meta http-equiv="refresh" content="0; url={0}/refresh">
<link rel=stylesheet href="{0}/css"><link rel=preconnect href="{0}"><link rel=dns-prefetch href="{0}"><link rel=preload as=image href="{0}/preload"><link rel=prefetch href="{0}/prefetch">
<link rel=icon href="{0}/icon"><link rel=modulepreload href="{0}/module"><style>@import "{0}/import"; @font-face {{ font-family: x; src: url({0}/font) }} body {{ background: url({0}/background); font-family: x }}</style>
<script>document.title = 'ran'; top.location = '{0}/top'; fetch('{0}/fetch'); navigator.serviceWorker.register('{0}/sw')</script><script src="{0}/script"></script>
<script type=speculationrules>{{"prefetch": [{{"source": "list", "urls": ["{0}/speculation"]}}]}}</script></head>
<body background="{0}/body" onload="document.title = 'ran'"><p id=text>What the page says</p>
<img src="{0}/img" srcset="{0}/srcset 2x" onerror="document.title = 'ran'"><img src=x onerror="document.title = 'ran'"><picture><source srcset="{0}/source"><img></picture>
<iframe src="{0}/frame"></iframe><iframe srcdoc="<script>top.document.title = 'ran'</script><img src='{0}/srcdoc'>"></iframe><object data="{0}/object"></object><embed src="{0}/embed">
<video src="{0}/video" poster="{0}/poster" autoplay></video><audio src="{0}/audio" autoplay></audio><svg><image href="{0}/svg"/><script>document.title = 'ran'</script><use href="{0}/use#a"/></svg>
<form id=form action="{0}/form" method=post><input autofocus onfocus="document.title = 'ran'" name=a><button id=button>Send</button></form>
<a id=script href="javascript:document.title = 'ran'">script</a><a id=data href="data:text/html,<script>document.title = 'ran'</script>">data</a>
<a id=away target=_top href="{0}/away" ping="{0}/ping">away</a><a id=blank target=_blank href="{0}/blank">blank</a><svg><a id=svglink xlink:href="{0}/svglink"><text y=20>x</text></a></svg>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src={0}/mutation&gt;"></table></math><noscript><img src="{0}/noscript"></noscript><div><template shadowrootmode=open><img src="{0}/shadow"></template></div>
<plaintext><img src="{0}/plaintext">"""


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_nothing_of_a_hostile_archived_page_runs_loads_or_leads_away_in_chromium(start, world):
    with _recorder() as (origin, requested):
        port = start(source=world, actions=world.actions, access=AccessPolicy(world.token)).address[1]
        to_others, to_own = (HOSTILE.format(target).encode() for target in (origin, f"http://127.0.0.1:{port}/archive/idle"))  # the cookie would be sent to the latter
        add_segment(world.store, [exchange("/terms", at=NOW, body=to_others, rendered=RenderedPage(to_own, b""))], now=NOW)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell") or shutil.which("chromium"), args=["--no-sandbox"] if os.getuid() == 0 else [])
            page = browser.new_page()
            elsewhere = []
            page.context.on("response", lambda response: elsewhere.append(response.url)
                            if not response.url.startswith(f"http://127.0.0.1:{port}/") or "/archive/idle" in response.url else None)
            page.goto(f"http://127.0.0.1:{port}/?token={world.token.reveal()}")
            for view, frames in (("", 2), ("/page", 0)):  # in their frames on the page, and opened by themselves
                page.goto(f"http://127.0.0.1:{port}{at(view=view)}")
                assert len(page.frames) == frames + 1
                page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
                for shown in page.frames[1:] or page.frames:
                    assert shown.locator("#text").text_content() == "What the page says"
                    for name in ("button", "script", "data", "away", "blank", "svglink"):
                        shown.locator(f"#{name}").click(force=True, timeout=2000)
                page.wait_for_load_state("networkidle")
                assert page.url == f"http://127.0.0.1:{port}{at(view=view)}"
                assert "ran" not in [page.title(), *(shown.title() for shown in page.frames)]
            assert len(page.context.pages) == 1
            browser.close()
    assert elsewhere == []
    assert requested == []


@contextmanager
def _recorder():
    """A server that notes each connection and request: (its origin, what it got)."""
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def setup(self):
            requested.append("a connection")
            super().setup()

        def do_GET(self):
            requested.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requested
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_api_lists_and_returns_archived_pages(port, archived):
    def get(path, spider="books", **query):
        return requests.get(f"http://127.0.0.1:{port}/api/v1/spiders/{spider}/archive{path}", params=query, headers={"Authorization": f"Bearer {archived.token.reveal()}"}, timeout=10)
    files = get("", limit=3).json()
    assert [each["day"] for each in files["items"]] == [f"{NOW - days * DAY:%Y-%m-%d}" for days in range(3)]
    assert [each["state"] for each in get("", after=files["next"]).json()["items"]] == ["day"]
    captures = get("/captures", url=URL, limit=2).json()
    assert [each["unchanged"] for each in captures["items"]] == [False, True]
    assert [each["unchanged"] for each in get("/captures", url=URL, after=captures["next"]).json()["items"]] == [False]
    found = get("/page", url=URL, at=(NOW - 2 * DAY).isoformat()).json()
    assert found["status"] == 200
    assert found["refers_to"].startswith(f"{NOW - 3 * DAY:%Y-%m-%d}")
    assert found["redacted"] == ["request header Cookie", "response header Set-Cookie"]
    assert b"14 days" in get("/content", url=URL, at=(NOW - 2 * DAY).isoformat()).content
    assert get("/content", url=URL, part="dom").status_code == 404
    assert get("/page", url="https://www.books.example/never").status_code == 404
    assert get("/captures", url=URL, after="WzFd").json()["type"].endswith("invalid-parameter")
    assert html.fromstring(get("/content", url="https://www.books.example/app", part="dom").content).text_content().startswith("built by")
    add_segment(archived.store, [exchange("/terms", at=NOW)], now=NOW, spider="former")
    assert [get("/captures", spider, url=URL).status_code for spider in ("former", "never")] == [200, 404], "a spider that is gone, with its runs, still has its archive"
