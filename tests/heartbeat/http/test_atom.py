"""Tests of the Atom feeds with a feed reader's library."""

from __future__ import annotations

import feedparser
import pytest
import requests

from tests.heartbeat.http.console.conftest import browser, port, world
from tests.heartbeat.http.console.world import EVERY_SECRET, page

__all__ = ["browser", "port", "world"]


@pytest.fixture
def feed(port, world):
    """Reads a feed by its address alone, as a feed reader does."""
    world.fill()

    def feed(path, key=world.token.feed_key):
        answer = requests.get(f"http://127.0.0.1:{port}{path}", params={"key": key}, timeout=10)
        return feedparser.parse(answer.content, response_headers={name.lower(): value for name, value in answer.headers.items()}), answer
    return feed


def test_a_feed_reader_reads_the_changes_of_a_spider(feed):
    found, _ = feed("/spiders/books/feed.atom")
    assert (found.bozo, found.version, found.feed.title) == (False, "atom10", "books: changes")
    titles = [entry.title for entry in found.entries]
    assert titles[-1] == "changed: A Light in the Attic"
    assert "price: 51.77 → 49.5" in found.entries[-1].summary
    assert found.entries[-1].link == "https://books.example/1"
    assert len({entry.id for entry in found.entries}) == 3
    assert [entry.id for entry in found.entries] == [entry.id for entry in feed("/spiders/books/feed.atom")[0].entries]


def test_a_feed_reader_reads_how_runs_ended(feed, port):
    found, _ = feed("/feed.atom")
    assert not found.bozo
    assert found.entries[0].title == "books: failed"
    assert found.entries[1].title == "books: succeeded"
    assert found.entries[0].link.startswith(f"http://127.0.0.1:{port}/runs/")
    assert found.entries[0].updated_parsed > found.entries[1].updated_parsed


def test_a_feed_escapes_scraped_text_and_contains_no_secret(feed):
    for path in ("/feed.atom", "/spiders/books/feed.atom"):
        found, answer = feed(path)
        assert answer.headers["Content-Type"].startswith("application/atom+xml")
        assert not any(secret in answer.text for secret in EVERY_SECRET)
        assert not any(entry.content[0].type != "text/plain" for entry in found.entries)
        assert not any(entry.get("link", "").startswith("javascript:") for entry in found.entries)


def test_a_feed_needs_its_key_and_the_key_opens_nothing_else(feed, port, world):
    for wrong in ("", "x", world.token.reveal()):
        assert feed("/feed.atom", wrong)[1].status_code == 403
    for path in ("/spiders/books", "/digests", "/outbox", "/runs/1"):
        assert feed(path)[1].status_code == 403
    assert requests.post(f"http://127.0.0.1:{port}/spiders/books/run", params={"key": world.token.feed_key},
                         timeout=10).status_code == 403
    assert feed("/spiders/nobody/feed.atom")[1].status_code == 404


def test_the_pages_name_their_feeds(browser, world):
    world.fill()
    for path, expected in (("/", "/feed.atom?key="), ("/spiders/books", "/spiders/books/feed.atom?key=")):
        href, = page(browser, path).xpath("//link[@rel='alternate']/@href")
        assert href.startswith(expected)
        assert browser.get(browser.base + href, timeout=10, cookies={}).status_code == 200
