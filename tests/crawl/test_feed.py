"""Feeds of every kind become items; what leaves a feed is not gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import SpiderError
from pipeline.model import Outcome
from spiders.feed import read_feed
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

URL = "http://site.example/feed"
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>T</title>
    <item><title>A &amp; B</title><link>/a</link><guid isPermaLink='false'>id-a</guid><pubDate>Sat, 03 Feb 2001 04:05:06 +0100</pubDate>
    <description>&lt;p&gt;Hello &lt;b&gt;you&lt;/b&gt;&lt;script&gt;x()&lt;/script&gt;</description><category>c1</category>
    <enclosure url="/a.mp3" length="1" type="audio/mpeg"/></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><entry><id>id-a</id><title>A &amp; B</title>
    <link href="/a"/><updated>2001-02-03T03:05:06Z</updated><author><name>Me</name></author>
    <content type="html">&lt;p&gt;Hello &lt;b&gt;you</content></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
    <item rdf:about="http://site.example/a"><title>A &amp; B</title><link>http://site.example/a</link>
    <description>Hello you</description></item></rdf:RDF>"""
JSON_FEED = json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "T", "items": [
    {"id": "id-a", "url": "/a", "title": "A & B", "content_html": "<p>Hello <b>you", "date_published": "2001-02-03",
     "authors": [{"name": "Me"}], "attachments": [{"url": "/a.mp3"}]}, "odd"]})


@pytest.mark.parametrize("text", [RSS, ATOM, RDF, JSON_FEED, "\ufeff" + RSS.replace('<?xml version="1.0"?>', ""),
                                  RSS.replace("2.0", "0.92"), RSS[:-30], "\n\n " + ATOM])
def test_every_kind_of_feed_is_read(text: str) -> None:
    ((entry,),) = [read_feed(text.encode(), URL)]
    item = entry.item
    assert (item["title"], item["summary"], item["url"]) == ("A & B", "Hello you", "http://site.example/a")
    assert item["feed"] == URL
    assert item["published"] in (None, "2001-02-03T03:05:06+00:00", "2001-02-03")


@pytest.mark.parametrize("body", [b"", b"<html><p>no feed</p>", b"{}", b"{", b"\x00\x01", b"/etc/passwd", b"[1]"])
def test_what_is_no_feed_is_said(body: bytes) -> None:
    with pytest.raises(SpiderError, match=URL):
        read_feed(body, URL)


def test_the_encoding_of_the_xml_declaration_and_of_the_header_are_obeyed() -> None:
    text = RSS.replace("A &amp; B", "价格").replace('"1.0"', '"1.0" encoding="gb18030"')
    assert read_feed(text.encode("gb18030"), URL)[0].item["title"] == "价格"
    plain = RSS.replace("A &amp; B", "価格")
    assert read_feed(plain.encode("euc-jp"), URL, "text/xml; charset=euc-jp")[0].item["title"] == "価格"


def test_entries_are_new_once_changed_when_edited_and_never_gone(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nspider = "feed"\nstart = "{site.url}/feed"\nargs = {{ files = true }}')
    site.pages = {"/feed": Answer(RSS, headers={"Content-Type": "application/rss+xml"})}
    first = crawls.run()
    assert (first.outcome, first.progress.new) == (Outcome.SUCCEEDED, 1)
    site.pages = {"/feed": Answer(RSS.replace("Hello", "Hi"), headers={"Content-Type": "text/xml"})}
    assert crawls.run().progress.changed == 1
    site.pages = {"/feed": RSS.replace("id-a", "id-b")}
    third = crawls.run()
    assert (third.progress.new, third.progress.gone, third.suspect) == (1, 0, False)
    assert sorted(crawls.items()) == ["id-a", "id-b"]
    site.pages = {"/feed": "<p>maintenance</p>"}
    assert crawls.run().outcome is Outcome.FAILED


FEEDS = [path for root in ("/usr/share/doc", "/usr/share/xml") for suffix in ("rss", "atom", "rdf")
         for path in Path(root).rglob(f"*.{suffix}")] + list(Path("/usr/share/doc/libxml-rss-perl").rglob("2.0/*.xml"))


@pytest.mark.skipif(not FEEDS, reason="no feeds among this machine's documents: install libxml-rss-perl")
def test_real_feeds_are_read() -> None:
    """Of Slashdot, Freshmeat, Linux Today, Flickr and others: RSS 0.9, 0.91, 1.0 and 2.0."""
    for path in FEEDS:
        entries = read_feed(path.read_bytes(), URL)
        assert entries, path
        assert all((entry.item["title"] or entry.item["summary"]) and entry.item["url"].startswith("http") for entry in entries), path
        assert len({entry.item["id"] for entry in entries}) == len(entries), path  # some have no ids and share links
