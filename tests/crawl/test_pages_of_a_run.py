"""Tests of what is kept of each page that a crawl requests: its status, its outcome and its changes."""

from __future__ import annotations

from pipeline.store.console import run_rows
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite


def test_every_request_of_a_crawl_is_kept_with_what_became_of_it(crawls: Crawls, site: PageSite) -> None:
    def constant(asked: Asked) -> Answer:
        return Answer(status=304) if asked.headers.get("If-None-Match") == '"1"' else Answer("<b>c</b><p>same</p>", headers={"ETag": '"1"'})
    price = ["<b>p</b><p>one</p>"]
    site.pages = {"/robots.txt": Answer("User-agent: *\nDisallow: /secret", headers={"Content-Type": "text/plain"}), "/constant": constant,
                  "/": "".join(f"<a href=/{name}>{name}</a>" for name in ("constant", "price", "missing", "secret", "error")),
                  "/price": lambda asked: Answer(price[0]), "/error": Answer("broken", status=500)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nretries = 0\n[spiders.s.items]\nkey = ["k"]\n[spiders.s.items.fields]\nk = "b"\nx = "p"')
    crawls.run()
    price[0] = "<b>p</b><p>two</p>"
    run = crawls.run()
    found = {row.url.removeprefix(site.url): row for row in run_rows.pages_of(crawls.store, run.id, limit=20).rows}
    assert {path: (row.status, row.outcome.value, row.changes) for path, row in found.items()} == {
        "/": (200, "fetched", 0), "/constant": (200, "not_modified", 0), "/price": (200, "fetched", 1), "/missing": (404, "failed", 0),
        "/secret": (0, "forbidden", 0), "/error": (500, "failed", 0)}
    assert found["/secret"].error.startswith(f"{site.url}/secret: robots.txt forbids this URL; set robots = false")
    assert found["/missing"].error == f"HTTP 404 from {site.url}/missing"
    assert found["/price"].size_bytes == len("<b>p</b><p>two</p>")
    assert found["/secret"].duration_ms is None
    assert all(row.duration_ms is not None and row.duration_ms < 60_000 for path, row in found.items() if path != "/secret")
    assert run.progress.pages == len(found)
