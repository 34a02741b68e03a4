"""The built-in spider `sitemap`: indexes, gzip and plain text; URLs as items, or as pages to crawl."""

from __future__ import annotations

import gzip

import pytest

from pipeline.errors import SpiderError
from pipeline.model import Outcome
from spiders.sitemap import decompressed, read_sitemap
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

URL = "http://site.example/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*urls: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset {NS}>' + "".join(
        f"<url><loc> {url} </loc><lastmod>2001-02-03</lastmod></url>" for url in urls) + "</urlset>"


def test_an_index_of_compressed_sitemaps_gives_the_urls_of_the_site_as_items(crawls: Crawls, site: PageSite) -> None:
    site.pages = {
        "/robots.txt": Answer(f"User-agent: *\nAllow: /\nSitemap: {site.url}/index.xml\n", headers={"Content-Type": "text/plain"}),
        "/index.xml": Answer(f"<sitemapindex {NS}><sitemap><loc>{site.url}/1.xml.gz</loc></sitemap>"
                             f"<sitemap><loc>{site.url}/2.txt</loc></sitemap></sitemapindex>", headers={"Content-Type": "text/xml"}),
        "/1.xml.gz": Answer(gzip.compress(urlset(f"{site.url}/a", f"{site.url}/no/b", "http://elsewhere.example/c").encode()),
                            headers={"Content-Type": "application/x-gzip"}),
        "/2.txt": Answer(f"{site.url}/d\n", headers={"Content-Type": "text/plain"})}
    crawls.write(f'[spiders.s]\nspider = "sitemap"\nstart = "{site.url}/robots.txt"\ndeny = ["/no/"]')
    run = crawls.run()
    assert run.complete, run.error
    assert crawls.items() == {
        f"{site.url}/a": {"url": f"{site.url}/a", "lastmod": "2001-02-03", "changefreq": None, "priority": None},
        f"{site.url}/d": {"url": f"{site.url}/d", "lastmod": None, "changefreq": None, "priority": None}}


def test_with_items_the_pages_are_fetched(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/sitemap.xml": Answer(urlset(f"{site.url}/a"), headers={"Content-Type": "text/xml"}), "/a": "<h1>A</h1>"}
    crawls.write(f'[spiders.s]\nspider = "sitemap"\nstart = "{site.url}/sitemap.xml"\n[spiders.s.items]\nkey = ["h"]\n'
                 'fields = { h = "h1" }')
    assert crawls.run().complete
    assert crawls.items() == {"A": {"h": "A"}}


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"<urlset", b"just words", b"\x00" * 10,
                                  urlset("http://site.example/a", "http://site.example/b").encode()[:-30]])
def test_a_page_that_is_no_complete_sitemap_is_an_error(body: bytes) -> None:
    with pytest.raises(SpiderError, match="is not a sitemap"):
        read_sitemap(body, URL)


def test_a_bare_ampersand_in_a_url_is_read_as_an_ampersand() -> None:
    found = read_sitemap(urlset("/p?a=1&b=2", "/p?a=1&amp;b=3", "<![CDATA[/p?a=1&b=4]]>", "/p?a&copy=5").encode(), URL)
    assert [page["url"] for page in found.pages] == [
        f"http://site.example/p?a{query}" for query in ("=1&b=2", "=1&b=3", "=1&b=4", "&copy=5")]


def test_external_entities_decompression_bombs_and_invalid_links_are_refused() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>' + urlset("javascript:x", "/rel", "&b;&a;")
    assert [page["url"] for page in read_sitemap(bomb.partition("?>")[2].encode() or bomb.encode(), URL).pages] in (
        ["http://site.example/rel"], ["http://site.example/rel", "http://site.example/aaaa"])
    with pytest.raises(SpiderError, match="the decompressed sitemap is larger than"):
        decompressed(gzip.compress(b"x" * 10**6), 10**5, URL)
    with pytest.raises(SpiderError, match="truncated"):
        decompressed(gzip.compress(b"x" * 1000)[:-9], 10**5, URL)
    with pytest.raises(SpiderError, match="gzip data of the sitemap is invalid"):
        decompressed(b"\x1f\x8bnonsense nonsense", 10**5, URL)


def test_a_truncated_sitemap_does_not_fail_the_others(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/1.xml": Answer(urlset(f"{site.url}/a"), headers={"Content-Type": "text/xml"}), "/2.xml": "<p>no</p>"}
    crawls.write(f'[spiders.s]\nspider = "sitemap"\nstart = ["{site.url}/1.xml", "{site.url}/2.xml"]')
    run = crawls.run()
    assert (run.outcome, run.complete, list(crawls.items())) == (Outcome.SUCCEEDED, False, [f"{site.url}/a"])


URLS = b'<?xml version="1.0"?><urlset><url><loc>http://site.example/a</loc></url><url><loc>http://site.example/b</loc></url></urlset>'


@pytest.mark.parametrize("body", [
    gzip.compress(URLS[:60], mtime=0) + gzip.compress(URLS[60:], mtime=0), gzip.compress(URLS, mtime=0) + b"\0" * 512, gzip.compress(URLS, mtime=0) + b"garbage",
    URLS, b"\xef\xbb\xbf" + URLS, URLS.decode().encode("utf-16"), URLS.decode().encode("utf-16-be"),
    URLS.decode().replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16"),
    b"\xef\xbb\xbfhttp://site.example/a\r\n  http://site.example/b  \n", "http://site.example/a\nhttp://site.example/b".encode("utf-16")])
def test_a_sitemap_is_read_with_every_compression_and_encoding(body: bytes) -> None:
    url = "http://site.example/sitemap.xml.gz"
    assert [page["url"] for page in read_sitemap(decompressed(body, 10_000, url), url).pages] == [
        "http://site.example/a", "http://site.example/b"]


def test_the_size_limit_applies_to_all_members_of_a_gzip_together() -> None:
    with pytest.raises(SpiderError, match=r"larger than 1\.0 kB"):
        decompressed(gzip.compress(b"x" * 600) * 2, 1000, "http://site.example/s.gz")


@pytest.mark.parametrize("deny", [False, True])
def test_pages_of_a_listed_sitemap_that_answers_404_are_not_gone(crawls: Crawls, site: PageSite, deny: bool) -> None:
    xml = {"Content-Type": "text/xml"}
    site.pages = {
        "/index.xml": Answer(f"<sitemapindex {NS}><sitemap><loc>{site.url}/1.xml</loc></sitemap><sitemap><loc>{site.url}/2.xml</loc></sitemap>"
                             "</sitemapindex>", headers=xml),
        "/1.xml": Answer(urlset(f"{site.url}/a"), headers=xml), "/2.xml": Answer(urlset(f"{site.url}/b"), headers=xml)}
    settings = f'[spiders.s]\nspider = "sitemap"\nstart = "{site.url}/index.xml"\nrobots = false\n'
    crawls.write(settings)
    assert crawls.run().complete
    site.pages["/2.xml"] = Answer("no", 404)
    crawls.write(settings + ('deny = ["/2"]' if deny else ""))
    run = crawls.run()
    assert (run.complete, run.progress.gone) == ((True, 1) if deny else (False, 0))
    assert ("lists this sitemap, but the server responded with 404" in run.error) is not deny
