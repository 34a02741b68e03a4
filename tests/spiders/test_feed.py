"""The built-in spider `feed`.

Feeds of every kind become items, and an entry that leaves its feed is not gone.
"""

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
                                  RSS.replace("2.0", "0.92"), RSS[:-16], "\n\n " + ATOM])
def test_every_kind_of_feed_is_read(text: str) -> None:
    ((entry,),) = [read_feed(text.encode(), URL)]
    item = entry.item
    assert (item["title"], item["summary"], item["url"]) == ("A & B", "Hello you", "http://site.example/a")
    assert item["feed"] == URL
    assert item["published"] in (None, "2001-02-03T03:05:06+00:00", "2001-02-03")


@pytest.mark.parametrize("body", [b"", b"<html><p>no feed</p>", b"{}", b"{", b"\x00\x01", b"/etc/passwd", b"[1]"])
def test_a_page_that_is_no_feed_is_an_error(body: bytes) -> None:
    with pytest.raises(SpiderError, match=URL):
        read_feed(body, URL)


def test_a_feed_is_decoded_by_its_xml_declaration_and_by_the_header() -> None:
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
    site.pages = {"/feed": RSS.replace("id-a", "id-b").replace("/a<", "/b<")}
    third = crawls.run()
    assert (third.progress.new, third.progress.gone, third.suspect) == (1, 0, False)
    assert sorted(crawls.items()) == ["id-a", "id-b"]
    site.pages = {"/feed": "<p>maintenance</p>"}
    assert crawls.run().outcome is Outcome.FAILED


FEEDS = [path for root in ("/usr/share/doc", "/usr/share/xml") for suffix in ("rss", "atom", "rdf")
         for path in Path(root).rglob(f"*.{suffix}")] + list(Path("/usr/share/doc/libxml-rss-perl").rglob("2.0/*.xml"))


@pytest.mark.skipif(not FEEDS, reason="no feeds among this machine's documents: install libxml-rss-perl")
def test_real_feeds_are_read() -> None:
    """Feeds of Slashdot, Freshmeat, Linux Today, Flickr and others: RSS 0.9, 0.91, 1.0 and 2.0."""
    for path in FEEDS:
        entries = read_feed(path.read_bytes(), URL)
        assert entries, path
        assert all(entry.item["title"] or entry.item["summary"] for entry in entries), path
        assert all(str(entry.item["url"]).startswith("http") for entry in entries if entry.item["url"] is not None), path
        has_links = all(entry.item["url"] is not None for entry in entries)
        assert has_links or "sample-from-rssboard" in path.name, path  # two of its entries have no link
        assert len({entry.item["id"] for entry in entries}) == len(entries), path  # some have no ids and share links


def titles(text: str | bytes, kind: str = "") -> list[str]:
    body = text if isinstance(text, bytes) else text.encode()
    return [entry.item["title"] for entry in read_feed(body, URL, kind)]


def test_titles_and_summaries_of_type_text_keep_their_angle_brackets() -> None:
    rss = "".join(f"<item><title>{title}</title><guid>{n}</guid></item>" for n, title in enumerate([
        "without &lt;blink&gt;", "<![CDATA[<a> as <area>]]>", "RSS &lt;&lt;&lt;T&gt;&gt;&gt;", "Really &lt;b&gt;bold&lt;/b&gt; &amp;amp; more"]))
    assert titles(f'<rss version="2.0"><channel><title>t</title>{rss}</channel></rss>') == [
        "without <blink>", "<a> as <area>", "RSS <<<T>>>", "Really bold & more"]
    atom = ATOM.replace("<title>A &amp; B</title>", "<title>no &lt;col&gt; in &lt;x&gt;</title><summary>the &lt;meta&gt; element</summary>")
    (entry,) = read_feed(atom.encode(), URL)
    assert (entry.item["title"], entry.item["summary"]) == ("no <col> in <x>", "the <meta> element")
    assert titles(ATOM.replace("<title>A &amp; B", '<title type="html">An &amp;lt;i&amp;gt; &lt;i&gt;shown&lt;/i&gt;')) == ["An <i> shown"]
    text = json.dumps({"version": "https://jsonfeed.org/version/1", "items": [{"id": 1, "title": "<details> & <b>", "content_text": "a <b>"}]})
    (entry,) = read_feed(text.encode(), URL)
    assert (entry.item["title"], entry.item["summary"]) == ("<details> & <b>", "a <b>")


@pytest.mark.parametrize(("written", "read"), [
    ("AT&T & co", "AT&T & co"), ("AT&amp;T &#38; &eacute; &unknown;", "AT&T & é &unknown;"), ("&lt;b> &", "<b> &"),
    ("<![CDATA[R&D <T>]]>", "R&D <T>"), ("a?b=1&c=2", "a?b=1&c=2")])
def test_a_bare_ampersand_is_read_as_an_ampersand(written: str, read: str) -> None:
    assert titles(RSS.replace("A &amp; B", written)) == [read]


@pytest.mark.parametrize(("text", "kind"), [
    ('<?xml version="1.0" encoding="utf-8"?>' + RSS[21:], "application/rss+xml; charset=utf-8"), (RSS, ""), (JSON_FEED, "")])
def test_an_invalid_byte_replaces_one_character_only(text: str, kind: str) -> None:
    body = text.replace("A &amp; B", "Köln @").replace("A & B", "Köln @").encode().replace(b"@", b"\xd0")
    assert titles(body, kind) == ["Köln \ufffd"]


def test_a_feed_that_is_not_utf_8_is_read_as_windows_1252() -> None:
    assert titles(RSS.replace("A &amp; B", "Köln – Größe").encode("cp1252"), "text/xml; charset=utf-8") == ["Köln – Größe"]
    assert titles(RSS.replace("A &amp; B", "Köln").encode("cp1252"), "text/xml; charset=no-such") == ["Köln"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
def test_utf_16_is_read_with_and_without_a_byte_order_mark(encoding: str) -> None:
    for said in ("", ' encoding="UTF-16"', ' encoding="utf-8"'):
        assert titles(RSS.replace('"1.0"?', f'"1.0"{said}?').replace("A &amp; B", "价格").encode(encoding)) == ["价格"]


def entries(*items: str) -> list[dict[str, object]]:
    body = f'<rss version="2.0"><channel><title>t</title>{"".join(f"<item>{item}</item>" for item in items)}</channel></rss>'
    return [entry.item for entry in read_feed(body.encode(), URL)]


@pytest.mark.parametrize(("text", "titles", "truncated"), [
    ("<rss version='2.0'><channel><title>t</title><item><title>one</title></item><item><title>two</title><lin", ["one"], True),
    ("<rss version='2.0'><channel><item><title>one</title></item><item><title>two</title></it", ["one"], True),
    ("<rss version='2.0'><channel><item><title>one</title></item><item><title>two</title></item>", ["one", "two"], False),
    ("<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>1</id><title>one</title></entry><entry><id>2", ["one"], True),
    ("<a:feed xmlns:a='http://www.w3.org/2005/Atom'><a:entry><a:id>1</a:id><a:title>one</a:title></a:entry><a:entry><a:ti", ["one"], True),
    ("<rss version='2.0'><channel><item><title>one</title><description><![CDATA[<entry x>]]></description></item></channel></rss>", ["one"], False)])
def test_an_entry_that_a_truncated_feed_does_not_end_is_left_out_and_reported(text: str, titles: list[str], truncated: bool) -> None:
    problems: list[str] = []
    assert [entry.item["title"] for entry in read_feed(text.encode(), URL, problems=problems)] == titles
    assert problems == ["is truncated: the last entry has no end and was ignored"] * truncated


def test_ids_are_not_changed_by_the_url_of_the_feed() -> None:
    feed = '<rss version="2.0"><channel><item><title>a</title><link>/a</link></item><item><guid>/b</guid></item></channel></rss>'
    found = [[entry.item["id"] for entry in read_feed(feed.encode(), url)] for url in (URL, "https://mirror.example/x/feed")]
    assert found == [["/a", "/b"]] * 2
    assert read_feed(feed.encode(), URL)[0].item["url"] == "http://site.example/a"


def test_entries_with_the_same_link_or_id_are_distinguished_and_each_entry_has_an_id() -> None:
    one, two = entries("<title>a</title><link>/p</link>", "<title>b</title><link>/p</link>")
    assert one["id"] != two["id"]
    one, two = entries("<title>a</title><guid>1</guid>", "<title>b</title><guid>1</guid>")
    assert one["id"] != two["id"]
    (alone,) = entries("<title>a</title>")
    assert alone["id"]
    assert alone["url"] is None


def test_ids_that_change_with_each_fetch_can_be_ignored(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nspider = "feed"\nstart = "{site.url}/feed"\nargs = {{ ids = "link" }}')
    for fetch in ("x1", "x2"):
        site.pages = {"/feed": Answer(RSS.replace("id-a", fetch), headers={"Content-Type": "text/xml"})}
        run = crawls.run()
    assert (run.progress.new, run.progress.unchanged) == (0, 1)


def rss(*items: str) -> Answer:
    return Answer(f'<rss version="2.0"><channel><title>t</title>{"".join(f"<item>{item}</item>" for item in items)}</channel></rss>',
                  headers={"Content-Type": "text/xml"})


def made_up(fetch: object, *names: str, text: str = "text", dated: bool = False) -> Answer:
    """A feed with new ids, and perhaps new dates, at each fetch."""
    date = f"<pubDate>Sat, 03 Feb 2001 04:05:{fetch:02} GMT</pubDate>" if dated else ""
    return rss(*(f"<title>{name}</title><link>/{name}</link><guid>{name}-{fetch}</guid><description>{text} {name}</description>{date}"
                 for name in names))


@pytest.mark.parametrize("dated", [False, True])
def test_entries_of_a_feed_with_new_ids_at_each_fetch_are_new_once(crawls: Crawls, site: PageSite, dated: bool) -> None:
    crawls.write(f'[spiders.s]\nspider = "feed"\nstart = "{site.url}/feed"\nargs = {{ files = true }}')
    told = []
    for fetch, names in enumerate(("ab", "ab", "cab", "dcb", "dcb")):
        site.pages = {"/feed": made_up(fetch, *names, dated=dated)}
        run = crawls.run()
        told.append((run.progress.new, run.progress.changed))
        assert ("recognized by link and title" in run.error) == (fetch > 0)
    assert told == [(2, 0), (0, 0), (1, 0), (1, 0), (0, 0)]
    assert sorted(crawls.items()) == ["a-0", "b-0", "c-2", "d-3"]


def test_an_edited_entry_with_a_new_id_is_changed(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nspider = "feed"\nstart = "{site.url}/feed"')
    for fetch, text in enumerate(("one", "two")):
        site.pages = {"/feed": made_up(fetch, "a", "b", text=text)}
        run = crawls.run()
    assert (run.progress.new, run.progress.changed) == (0, 2)


@pytest.mark.parametrize("text", ["All well", "All well on day {}"])
@pytest.mark.parametrize("step", [1, 3])
def test_new_entries_with_one_link_and_title_are_new(crawls: Crawls, site: PageSite, text: str, step: int) -> None:
    """A status page: each entry has its own id, and the link and title of entries that left the feed."""
    crawls.write(f'[spiders.s]\nspider = "feed"\nstart = "{site.url}/feed"')
    for last in range(3, 10, step):
        site.pages = {"/feed": rss(*(f"<title>Status</title><link>/status</link><guid>{number}</guid><description>{text.format(number)}"
                                     f"</description><pubDate>Sat, 0{number} Feb 2001 04:05:06 GMT</pubDate>"
                                     for number in range(last - 2, last + 1)))}
        run = crawls.run()
        assert (run.progress.new, run.error) == (3 if last == 3 else step, "")


def test_entries_are_not_new_again_when_a_site_changes_all_ids_once(crawls: Crawls, site: PageSite) -> None:
    """This works also with the copies that an earlier version stored at each fetch."""
    crawls.write(f'[spiders.s]\nspider = "feed"\nstart = "{site.url}/feed"')
    site.pages = {"/feed": rss(*(f"<title>a</title><link>/a</link><guid>{copy}</guid><description>x</description>" for copy in range(3)))}
    assert crawls.run().progress.new == 3
    site.pages = {"/feed": rss("<title>a</title><link>/a</link><guid>9</guid><description>x</description>")}
    assert crawls.run().progress.new == 0


@pytest.mark.parametrize(("written", "read"), [
    ("List&lt;T&gt; is generic", "List<T> is generic"), ("<![CDATA[Map<K,V> &amp; <b>bold</b>]]>", "Map<K,V> & bold"),
    ("<![CDATA[<p>List&lt;T&gt;</p><p>two</p>]]>", "List<T>\ntwo"), ("a &lt; b and c &gt; d", "a < b and c > d"),
    ("vector&lt;int&gt; &amp;lt;p&amp;gt;", "vector<int> <p>"), ("&lt;T&gt;x&lt;/T&gt;", "<T>x</T>"), ("&lt;my-tag&gt;x&lt;/my-tag&gt;", "x"),
    ("&lt;o:p&gt;x&lt;/o:p&gt;", "x"), ("&lt;script&gt;List&lt;T&gt;&lt;/script&gt;x", "x"), ("one&lt;BR&gt;two", "one\ntwo")])
def test_in_rss_a_tag_unknown_to_html_is_text(written: str, read: str) -> None:
    (item,) = entries(f"<guid>1</guid><description>{written}</description>")
    assert item["summary"] == read


def test_all_enclosures_of_an_entry_are_downloaded_once() -> None:
    body = RSS.replace("</item>", '<enclosure url="b.mp3"/><enclosure url="/a.mp3"/></item>')
    assert dict.fromkeys(read_feed(body.encode(), URL)[0].files) == dict.fromkeys(
        ["http://site.example/a.mp3", "http://site.example/b.mp3"])
